# ruff: noqa: E501
"""How would a person ask for this scene?

``caption`` says a scene in words: each sound in one of many wordings, joined as the
captions of sound libraries are ("a siren over rain", "footsteps, then thunder"), with
level and pace said, hinted at or left out, and with words that mean nothing here.

The vocabulary below is the only thing the scene reader ever learns about English. Words
for sounds that no scene has (``OTHERS``) teach it to say that it does not know.
"""

from __future__ import annotations

import random
from typing import Final

from safegen.generation.scenes import DISTANT_DB, Scene, SoundLayer
from safegen.generation.sounds import EVENT_NAMES, NAMES

NOUNS: Final[dict[str, tuple[str, ...]]] = {
    "rain": ("rain", "rainfall", "raindrops", "rain on a roof", "rain pattering on a window", "rain hitting leaves", "falling rain", "rain on a tent", "a rain shower", "rainy weather", "rain splashing on the pavement", "the sound of rain", "rain against the glass", "a wet rainy street", "rain on a tin roof", "monsoon rain", "rain drumming on an umbrella"),
    "wind": ("wind", "howling wind", "gusts of wind", "a breeze", "wind whistling through the trees", "a windy day", "blowing wind", "wind in the mountains", "a gale", "wind noise", "wind moaning around a house", "a gusty storm wind", "the wind sweeping over the desert", "air rushing past", "a blizzard", "a draft through a window"),
    "waves": ("ocean waves", "sea waves", "waves crashing on the shore", "the sea", "surf", "waves lapping at the beach", "the ocean", "a beach", "waves breaking on rocks", "breakers", "the seaside", "rolling surf", "the tide coming in", "water washing over the sand", "a seashore", "swell rolling in", "waves"),
    "fire": ("fire", "a crackling fire", "a campfire", "a fireplace", "burning wood", "flames", "a bonfire", "logs burning", "a fire crackling", "crackling flames", "wood crackling in the hearth", "a burning log", "a blazing fire", "a wood stove", "embers popping", "a forest fire"),
    "applause": ("applause", "clapping", "an audience clapping", "a crowd clapping", "people clapping their hands", "a round of applause", "handclaps", "an ovation", "a clapping audience", "a standing ovation", "hands clapping", "the audience applauding", "a theater applauding", "clapping people", "spectators applauding"),
    "siren": ("a siren", "an ambulance siren", "a police siren", "a fire truck siren", "sirens", "an emergency siren", "a wailing siren", "a police car with its siren on", "an ambulance", "an air raid siren", "emergency vehicles", "a squad car siren", "an ambulance passing", "a fire engine siren", "a siren blaring"),
    "engine": ("an engine", "a car engine", "a motor", "a running engine", "an idling engine", "a diesel engine", "a motorcycle", "a truck engine", "a tractor", "a motor humming", "an engine rumbling", "a lawn mower", "a car", "a revving engine", "a motorbike", "a boat engine", "an idling truck", "a generator", "a vehicle"),
    "helicopter": ("a helicopter", "a chopper", "helicopter blades", "rotor blades", "a helicopter hovering", "a helicopter flying over", "a military helicopter", "whirring rotors", "a helicopter overhead", "a chopper circling", "a rescue helicopter", "the rotor of a helicopter", "copter blades"),
    "thunder": ("thunder", "a thunderclap", "rolling thunder", "a thunderstorm", "rumbling thunder", "claps of thunder", "thunder rumbling", "a lightning strike", "peals of thunder", "a crack of thunder", "thunder in the sky", "lightning and thunder", "booming thunder", "an electrical storm"),
    "bell": ("a church bell", "a bell", "bells tolling", "church bells", "a bell ringing", "a tolling bell", "a bell tower", "cathedral bells", "a large bell", "a bronze bell", "a ringing bell", "the bells of a church", "a belfry", "a chiming bell", "a temple bell", "bells chiming", "bells pealing", "big ben", "a minster bell", "a school bell"),
    "footsteps": ("footsteps", "someone walking", "a person walking", "steps", "footfalls", "steps on gravel", "footsteps on a wooden floor", "shoes on stone", "a man walking down a corridor", "heels on the pavement", "boots walking", "walking feet", "steps in a hallway", "someone pacing", "high heels clicking", "footsteps on the stairs"),
    "dripping": ("dripping water", "a dripping tap", "water drops", "drips", "a leaky faucet", "a water drip", "drops of water", "water dripping in a cave", "dripping", "a leaking pipe", "a dripping faucet", "droplets falling into a bucket", "drops in a cave", "a drip drip sound", "plinking drops", "water droplets"),
    "laser": ("a laser", "laser shots", "a laser gun", "a ray gun", "laser zaps", "sci-fi blasters", "a laser blast", "pew pew sounds", "zapping lasers", "a space gun", "a blaster", "laser fire", "an arcade laser", "a phaser weapon", "a raygun firing", "spaceship lasers", "zaps"),
    "alarm": ("an alarm", "a beeping alarm", "an alarm clock", "a beeper", "a smoke alarm", "a smoke detector", "electronic beeps", "a digital alarm", "beeping", "an alarm going off", "a warning beep", "an electronic beeper", "a timer beeping", "a microwave beep", "an alert beeping", "beeps"),
    "clock": ("a clock", "a ticking clock", "a clock ticking", "tick tock", "a grandfather clock ticking", "a wall clock", "the ticking of a watch", "a stopwatch ticking", "clockwork", "ticking", "a pocket watch", "a metronome-like clock", "a wristwatch ticking", "a mantel clock", "the tick of a clock"),
    "telephone": ("a telephone", "a ringing phone", "a phone ringing", "a telephone ring", "an old rotary phone", "a phone call coming in", "a landline ringing", "an office phone", "a ringing telephone", "a phone", "a vintage telephone bell", "an incoming call", "a desk phone", "ringtone of an old phone", "a phone booth ringing"),
    "birds": ("birds", "birdsong", "chirping birds", "a bird singing", "birds chirping", "songbirds", "tweeting birds", "a dawn chorus", "a robin singing", "sparrows", "a bird", "a blackbird song", "birds twittering", "bird calls", "tweets", "a canary", "a nightingale", "finches chirping"),
    "dog": ("a dog", "a dog barking", "barking", "a barking dog", "dogs", "a hound baying", "a puppy barking", "woofing", "a guard dog", "an angry dog", "a dog bark", "a small dog yapping", "dogs barking", "a terrier barking", "woof woof", "a barking hound", "a german shepherd barking", "a poodle yapping", "a chihuahua", "a labrador barking"),
    "knocking": ("knocking", "a knock on the door", "someone knocking", "knocks on wood", "door knocking", "knuckles on a door", "a door knock", "rapping on a door", "a visitor knocking", "knock knock", "pounding on a door", "somebody at the door knocking", "a knock", "wooden knocks", "knocking at the door"),
    "heartbeat": ("a heartbeat", "a beating heart", "a heart beating", "heartbeats", "a pulse", "a thumping heart", "a pounding heart", "cardiac sounds", "a heart", "lub dub", "a heart through a stethoscope", "the thump of a heart", "a nervous heartbeat", "an ultrasound heartbeat"),
    "crow": ("a crow", "crows", "a cawing crow", "a raven", "ravens cawing", "a crow cawing", "cawing", "a murder of crows", "caw caw", "a raven croaking", "a rook", "a black crow calling", "jackdaws"),
    "tabla": ("tabla", "tabla drums", "indian drums", "hand drums", "a tabla groove", "a tabla player", "indian percussion", "a tabla rhythm", "tablas", "a hand drum pattern", "a tabla solo", "bongo-like indian drums", "eastern percussion"),
    "vinyl": ("vinyl crackle", "a record player crackling", "vinyl noise", "an old record", "record crackle", "a dusty record", "vinyl hiss", "the crackle of an lp", "a scratchy record", "vinyl surface noise", "a gramophone needle", "a turntable with no music", "vinyl", "phonograph noise", "a needle on a record"),
    "swoosh": ("a swoosh", "a whoosh", "swooshes", "whooshes", "a swish", "something whooshing by", "a sword swish", "a fast pass-by whoosh", "a transition whoosh", "an object flying past", "swishing", "a swinging stick", "a whip of air", "whooshing"),
    "boom": ("a boom", "a cinematic boom", "a deep impact", "a trailer hit", "booms", "an explosion", "a big bass hit", "a cinematic impact", "a deep boom", "sub drop hits", "a low impact", "a massive hit", "a dramatic boom", "an explosion in the depth", "a cannon shot"),
}  # fmt: skip
CLAUSES: Final[dict[str, tuple[str, ...]]] = {
    "rain": ("it is raining", "it's pouring", "rain falls", "it rains", "rain patters on the roof", "rain comes down", "raining outside"),
    "wind": ("the wind blows", "the wind is howling", "it is windy", "wind howls", "the wind picks up", "a gust blows through", "it is very windy"),
    "waves": ("waves roll in", "waves crash on the beach", "the sea is rolling", "the surf breaks", "waves wash ashore", "waves crash against the cliffs"),
    "fire": ("a fire crackles", "wood burns and pops", "flames crackle", "the campfire burns", "something is burning", "the fireplace crackles"),
    "applause": ("an audience claps", "people are clapping", "the crowd applauds", "everyone applauds", "the public claps", "a crowd is applauding"),
    "siren": ("a siren wails", "an ambulance drives by with its siren on", "sirens blare", "a police car rushes past", "the siren howls", "a fire truck goes by"),
    "engine": ("an engine runs", "a car idles", "an engine revs", "a motor is running", "a truck is idling", "a motorcycle idles", "a car drives", "an engine is humming"),
    "helicopter": ("a helicopter flies over", "a helicopter hovers", "rotors chop the air", "a chopper passes overhead", "a helicopter is circling"),
    "thunder": ("thunder rolls", "it thunders", "thunder rumbles", "lightning strikes", "thunder cracks", "a thunderstorm rages"),
    "bell": ("a bell tolls", "church bells ring", "a bell rings", "the bell chimes", "bells are ringing", "a church bell strikes"),
    "footsteps": ("someone walks", "a man walks by", "somebody is walking on gravel", "a woman walks in heels", "someone is running", "a person walks up the stairs", "feet shuffle along"),
    "dripping": ("water drips", "a tap drips", "drops fall into water", "a faucet is dripping", "water is dripping", "a pipe leaks"),
    "laser": ("lasers fire", "a laser zaps", "a ray gun shoots", "someone fires a laser", "blasters go pew pew", "a spaceship shoots"),
    "alarm": ("an alarm beeps", "an alarm goes off", "a device beeps", "the smoke detector beeps", "something is beeping", "a beeper sounds"),
    "clock": ("a clock ticks", "the clock is ticking", "a watch ticks", "a clock goes tick tock", "time ticks away"),
    "telephone": ("a phone rings", "the telephone is ringing", "someone calls on the phone", "the phone won't stop ringing", "a landline rings"),
    "birds": ("birds sing", "birds are chirping", "a bird sings", "birds tweet", "sparrows chirp", "birds twitter in the trees"),
    "dog": ("a dog barks", "dogs are barking", "the dog won't stop barking", "a puppy yaps", "a dog is woofing"),
    "knocking": ("someone knocks", "somebody knocks at the door", "a visitor knocks", "someone is pounding on the door", "someone raps on wood"),
    "heartbeat": ("a heart beats", "a heart is pounding", "my heart is beating", "the pulse throbs", "a heart thumps"),
    "crow": ("a crow caws", "crows are cawing", "a raven croaks", "ravens call", "crows call from a tree"),
    "tabla": ("someone plays the tabla", "tablas play", "a tabla is played", "hands play indian drums", "a drummer taps a tabla"),
    "vinyl": ("a record crackles", "vinyl crackles", "an old record spins", "the needle crackles", "a turntable hisses"),
    "swoosh": ("something whooshes past", "an object swishes by", "a sword swings", "a blade swooshes", "things fly past"),
    "boom": ("something explodes", "a deep boom hits", "a cinematic impact hits", "explosions go off", "a bomb goes off"),
}  # fmt: skip
RATED: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "rain": {"slow": ("light rain", "drizzle", "a gentle drizzle", "soft rain", "a sprinkle of rain", "a few drops of rain", "it is drizzling"),
             "fast": ("heavy rain", "a downpour", "pouring rain", "torrential rain", "a cloudburst", "it is pouring", "it's raining cats and dogs", "hard rain", "a rainstorm")},
    "wind": {"slow": ("a gentle breeze", "light wind", "a soft breeze", "a mild wind"),
             "fast": ("strong wind", "a storm wind", "fierce gusts", "a hurricane", "stormy wind", "violent wind", "a raging gale")},
    "waves": {"slow": ("calm waves", "gentle waves", "a lazy sea", "slow waves", "a calm sea"),
              "fast": ("rough sea", "choppy waves", "stormy waves", "wild surf", "waves crashing quickly", "a rough ocean")},
    "fire": {"slow": ("a small fire", "a dying fire", "a few crackles of a fire", "glowing embers"),
             "fast": ("a big fire", "a roaring fire", "a blazing inferno", "a wildly crackling fire")},
    "applause": {"slow": ("a few people clapping", "polite applause", "sparse clapping", "scattered applause", "a handful of people clapping"),
                 "fast": ("thunderous applause", "a huge crowd clapping", "wild applause", "a big ovation", "massive applause", "a stadium applauding")},
    "siren": {"slow": ("a slowly wailing siren", "a long wailing siren", "an air raid siren rising and falling", "a slow wail of a siren"),
              "medium": ("a two-tone siren", "a hi-lo siren", "a nee-naw siren", "a european ambulance siren", "an alternating siren"),
              "fast": ("a yelping siren", "a fast yelp siren", "a rapid siren", "a quickly warbling siren", "a frantic police siren")},
    "engine": {"slow": ("an idling engine", "a slow old motor", "a chugging tractor", "a truck idling"),
               "fast": ("a revving engine", "a racing engine", "a screaming engine", "an engine at high rpm", "a motorcycle revving up", "a race car")},
    "helicopter": {"slow": ("a heavy helicopter with slow blades", "a helicopter starting up", "slowly thumping rotors"),
                   "fast": ("a small fast helicopter", "fast rotor blades", "a light helicopter at full speed")},
    "thunder": {"slow": ("a single thunderclap", "occasional thunder", "one roll of thunder"),
                "fast": ("constant thunder", "thunderclap after thunderclap", "a violent thunderstorm")},
    "bell": {"slow": ("a slowly tolling bell", "a funeral bell", "a single tolling bell", "a bell tolling slowly"),
             "fast": ("bells pealing quickly", "a wedding peal", "rapid bells", "a bell rung fast")},
    "footsteps": {"slow": ("slow footsteps", "creeping steps", "someone walking slowly", "careful steps", "a leisurely stroll"),
                  "fast": ("someone running", "running footsteps", "hurried steps", "a person running", "a jogger", "quick footsteps", "someone sprinting")},
    "dripping": {"slow": ("a slow drip", "an occasional drop of water", "a slowly dripping tap"),
                 "fast": ("a fast drip", "water dripping quickly", "trickling drops", "rapid dripping")},
    "laser": {"slow": ("single laser shots", "an occasional laser blast"),
              "fast": ("rapid laser fire", "a laser battle", "a machine gun of lasers", "a space battle", "a barrage of lasers")},
    "alarm": {"slow": ("a slow alarm beep", "an occasional beep"), "fast": ("a frantic alarm", "an urgent alarm", "rapid beeping", "quick beeps")},
    "clock": {"slow": ("a slowly ticking grandfather clock", "a slow clock"), "fast": ("a fast ticking stopwatch", "a ticking time bomb", "a rapidly ticking clock", "a racing clock")},
    "telephone": {"slow": ("a phone with long pauses between rings", "a slowly ringing phone"), "fast": ("an insistently ringing phone", "a phone ringing rapidly", "a phone ringing nonstop")},
    "birds": {"slow": ("a lone bird", "an occasional chirp", "a few birds now and then"), "fast": ("many birds", "lots of birds chirping", "a lively dawn chorus", "birds chattering excitedly")},
    "dog": {"slow": ("a dog barking now and then", "an occasional bark"), "fast": ("a dog barking furiously", "frantic barking", "a dog barking nonstop")},
    "knocking": {"slow": ("a slow knock on the door", "hesitant knocking"), "fast": ("frantic knocking", "urgent knocking", "someone hammering at the door", "impatient knocking")},
    "heartbeat": {"slow": ("a slow heartbeat", "a calm heartbeat", "a resting heart"), "fast": ("a racing heart", "a fast heartbeat", "a panicked heartbeat", "a rapid pulse")},
    "crow": {"slow": ("a lone crow", "a crow cawing now and then"), "fast": ("a flock of crows", "crows cawing wildly")},
    "tabla": {"slow": ("slow tabla", "a relaxed tabla pattern"), "fast": ("fast tabla", "a furious tabla solo", "rapid tabla strokes")},
    "vinyl": {"slow": ("faint vinyl crackle", "a slowly turning record"), "fast": ("a very crackly record", "a 78 rpm shellac record")},
    "swoosh": {"slow": ("an occasional whoosh", "slow swooshes"), "fast": ("rapid swooshes", "quick sword swings", "whoosh after whoosh")},
    "boom": {"slow": ("a single deep boom", "an occasional boom"), "fast": ("boom after boom", "a series of explosions", "a bombardment")},
}  # fmt: skip
PACES: Final[dict[str, tuple[str, ...]]] = {
    "slow": ("slow", "unhurried", "sparse", "leisurely", "occasional", "lazy", "slow-paced"),
    "medium": ("steady", "regular", "moderate", "normal", "even"),
    "fast": (
        "fast",
        "rapid",
        "quick",
        "frantic",
        "hectic",
        "hurried",
        "intense",
        "speedy",
        "non-stop",
    ),
}
PACE_ENDINGS: Final[dict[str, tuple[str, ...]]] = {
    "slow": ("slowly", "at a slow pace", "now and then", "once in a while", "from time to time"),
    "medium": ("steadily", "at a steady pace", "at a normal pace"),
    "fast": (
        "quickly",
        "rapidly",
        "at a fast pace",
        "again and again",
        "in quick succession",
        "constantly",
    ),
}
STRENGTHS: Final[dict[str, tuple[str, ...]]] = {
    "slow": ("gentle", "calm", "light", "mild", "slow", "thin", "weak"),
    "medium": ("steady", "moderate", "normal", "even"),
    "fast": ("intense", "strong", "heavy", "furious", "fast", "wild", "fierce", "violent"),
}
STRENGTH_ENDINGS: Final[dict[str, tuple[str, ...]]] = {
    "slow": ("gently", "softly and slowly", "calmly"),
    "medium": ("steadily", "at a steady pace"),
    "fast": ("heavily", "at full force", "very fast", "with great intensity"),
}
FAR: Final = ("distant", "faraway", "faint", "muffled", "remote", "soft", "quiet")
FAR_ENDINGS: Final = ("in the distance", "far away", "from afar", "in the background", "barely audible", "off in the distance", "in the far background")  # fmt: skip
NEAR: Final = ("loud", "close", "nearby", "very loud", "close-up", "prominent")
NEAR_ENDINGS: Final = (
    "close by",
    "right next to me",
    "up close",
    "in the foreground",
    "loud and clear",
)
OPENINGS: Final = ("", "", "", "", "", "", "the sound of ", "sound of ", "a recording of ", "sfx: ", "sound effect: ", "please make ", "I need ", "i want to hear ", "give me ", "generate ", "ambience with ", "foley: ", "ambient noise of ", "a field recording of ", "audio of ", "we hear ", "make a sound effect of ", "background noise: ")  # fmt: skip
TOGETHER: Final = (" and ", " and ", " with ", ", ", " over ", " plus ", " along with ", " together with ", " while ", " as ", " mixed with ", " & ", " + ", " accompanied by ", " during ")  # fmt: skip
BEHIND: Final = ("{a} with {b} in the background", "{a} over {b}", "{a}, {b} in the background", "{a} and {b} in the distance", "{a} with distant {b}", "{a}, with {b} far away", "{a} in front of {b}", "{b} in the background and {a} in the foreground", "{a} and, behind it, {b}", "{a} with faint {b}", "in the foreground {a}, in the background {b}")  # fmt: skip
THEN: Final = ("{a}, then {b}", "{a} then {b}", "{a} followed by {b}", "first {a}, then {b}", "{a} and then {b}", "{a}, after that {b}", "{b} after {a}", "{a} before {b}", "{a}, and later {b}", "{a}; suddenly {b}", "at first {a}, afterwards {b}", "{a} ... next {b}", "starts with {a} and ends with {b}")  # fmt: skip
FILLERS: Final = ("at night", "in the morning", "outside", "in a city", "in the countryside", "in a dark forest", "for a horror movie", "for my game", "recorded outdoors", "in an empty street", "high quality", "for a podcast intro", "no music", "realistic", "stereo", "in a big room", "10 seconds", "loopable", "on a summer day", "somewhere in the woods", "for a documentary", "lo-fi", "in an old house", "cinematic", "atmospheric", "at dusk", "for a film scene", "in winter", "in a small village")  # fmt: skip
OTHERS: Final = ("a cat meowing", "a piano", "a violin melody", "people talking", "a baby crying", "a train passing", "frying bacon", "a guitar solo", "a cow mooing", "a horse galloping", "a door creaking", "typing on a keyboard", "a vacuum cleaner", "laughter", "a jazz song", "a crowd cheering", "a rooster", "frogs croaking", "crickets", "a chainsaw", "glass breaking", "a gunshot", "a jet plane", "a speech", "a man singing", "a hair dryer", "sheep bleating", "a washing machine", "a zipper", "snoring", "a techno beat", "a river flowing", "a waterfall", "coins jingling", "a camera shutter", "pouring a drink", "paper rustling", "a coffee machine", "a sneeze", "ducks quacking", "a lion roaring", "a harp glissando", "a choir", "drums and bass", "a synth pad", "a whistle", "a basketball game", "cutlery", "a sad song in a minor", "flute at 90 bpm", "something nice", "hello", "a joke", "chewing", "a bicycle", "a computer fan", "a mosquito", "bees buzzing", "a snake hissing", "a woman whispering", "children playing", "a printer", "drum and bass at 170 bpm", "a hip hop beat", "a river", "water flowing in a stream", "an orchestra", "a trumpet fanfare", "a bass line", "an elephant", "a pig", "a violin in d minor", "rock music", "a bus stop announcement", "a crowd murmuring", "a swimming pool", "a car horn", "a cash register", "a kettle boiling", "a wind chime", "a trombone", "rolling dice", "chopping vegetables")  # fmt: skip
NEGATIONS: Final = (
    " but no {x}",
    ", no {x}",
    " without {x}",
    ", without any {x}",
    ", and no {x} please",
    " (no {x})",
)


def caption(scene: Scene, dice: random.Random) -> str:
    """Describe a scene in words.

    Args:
        scene: What is heard.
        dice: Draws the wording; the same dice give the same words.

    Returns:
        A caption that names every sound of the scene and no other, except to say that it
        is not wanted.
    """
    layers = scene.layers
    parts = [_said(layer, dice, alone=len(layers) == 1) for layer in layers]
    if len(layers) == 1:
        text = parts[0]
    elif layers[1].start_step > 0:
        text = dice.choice(THEN).format(a=parts[0], b=_plain(layers[1], dice))
        if dice.random() < 0.5:
            text = dice.choice(THEN).format(a=parts[0], b=parts[1])
    elif len(layers) == 2 and layers[1].level_db <= -6 and dice.random() < 0.75:
        behind = _plain(layers[1], dice)
        text = dice.choice(BEHIND).format(a=parts[0], b=behind)
    else:
        dice.shuffle(parts)
        text = parts[0]
        for place, part in enumerate(parts[1:], 2):
            last = place == len(parts)
            text += (dice.choice(TOGETHER) if last else ", ") + part
    text = dice.choice(OPENINGS) + text
    if dice.random() < 0.3:
        text += dice.choice((", ", " ")) + dice.choice(FILLERS)
    if dice.random() < 0.1:
        unwanted = dice.choice([name for name in NAMES if name not in scene.sounds])
        text += dice.choice(NEGATIONS).format(x=_bare(dice.choice(NOUNS[unwanted])))
    return roughened(text, dice)


def stranger(dice: random.Random) -> str:
    """Write a prompt that names no sound of any scene."""
    parts = [dice.choice(OTHERS) for _ in range(dice.choice((1, 1, 2)))]
    if dice.random() < 0.15:
        parts = [_nonsense(dice) for _ in range(dice.randrange(1, 4))]
    text = dice.choice(OPENINGS) + dice.choice((" and ", ", ", " with ")).join(parts)
    if dice.random() < 0.4:
        text += dice.choice((", ", " ")) + dice.choice(FILLERS)
    return roughened(text, dice)


def roughened(text: str, dice: random.Random) -> str:
    """Change case, drop or swap letters and add strange words, as hurried people do."""
    if dice.random() < 0.15:
        text += " " + _nonsense(dice)
    words = text.split(" ")
    if dice.random() < 0.12:
        place = dice.randrange(len(words))
        word = words[place]
        if word.isalpha() and len(word) > 4:
            cut = dice.randrange(1, len(word) - 1)
            swapped = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
            words[place] = dice.choice((word[:cut] + word[cut + 1 :], swapped))
        text = " ".join(words)
    roll = dice.random()
    if roll < 0.2:
        text = text[:1].upper() + text[1:]
    elif roll < 0.24:
        text = text.upper()
    if dice.random() < 0.15:
        text += dice.choice((".", "!", "..."))
    return text


def _said(layer: SoundLayer, dice: random.Random, *, alone: bool) -> str:
    """Say one layer, with its pace and its distance now and then."""
    text, paced = _named(layer, dice)
    if not paced and dice.random() < 0.35:
        words, endings = (
            (PACES, PACE_ENDINGS) if layer.sound in EVENT_NAMES else (STRENGTHS, STRENGTH_ENDINGS)
        )
        text = _with(text, words[layer.rate], endings[layer.rate], dice)
    if layer.level_db <= DISTANT_DB and dice.random() < (0.9 if alone else 0.6):
        text = _with(text, FAR, FAR_ENDINGS, dice)
    elif layer.level_db == 0 and dice.random() < 0.15:
        text = _with(text, NEAR, NEAR_ENDINGS, dice)
    return text


def _plain(layer: SoundLayer, dice: random.Random) -> str:
    return _bare(_named(layer, dice)[0]) if dice.random() < 0.3 else _named(layer, dice)[0]


def _named(layer: SoundLayer, dice: random.Random) -> tuple[str, bool]:
    """Name a sound; the second value says whether the wording tells the pace."""
    rated = RATED[layer.sound].get(layer.rate, ())
    if rated and dice.random() < 0.35:
        return dice.choice(rated), True
    if dice.random() < 0.22:
        return dice.choice(CLAUSES[layer.sound]), False
    text = dice.choice(NOUNS[layer.sound])
    return (_bare(text) if dice.random() < 0.25 else text), False


def _with(text: str, before: tuple[str, ...], after: tuple[str, ...], dice: random.Random) -> str:
    """Put a word before a noun phrase, or a few words after it."""
    article, _, rest = text.partition(" ")
    is_noun = article in ("a", "an", "the") and rest
    if is_noun and dice.random() < 0.6:
        word = dice.choice(before)
        joined = "the" if article == "the" else "an" if word[0] in "aeiou" else "a"
        return f"{joined} {word} {rest}"
    if not is_noun and not article.endswith("one") and dice.random() < 0.4:
        return f"{dice.choice(before)} {text}"
    return f"{text} {dice.choice(after)}"


def _bare(text: str) -> str:
    """Leave out the article."""
    article, _, rest = text.partition(" ")
    return rest if article in ("a", "an", "the") and rest else text


def _nonsense(dice: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(dice.choice(letters) for _ in range(dice.randrange(3, 9)))
