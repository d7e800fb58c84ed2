# ruff: noqa: E501
"""How would a person ask for this piece?

``caption`` describes a plan in words: attributes are left out at random, said in many
ways, put in any order, and mixed with words that mean nothing for the music, so that a
text encoder trained on captions has to find the words that matter.

The vocabulary below is the only thing the text encoder ever learns about English.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from safegen.generation.compose import ROOTS, Plan

FLATS: Final = {1: "D", 3: "E", 6: "G", 8: "A", 10: "B"}

INSTRUMENT_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "piano": ("piano", "grand piano", "piano keys", "upright piano", "pianist", "concert piano", "ivory keys", "felt piano", "keyboard"),
    "electric piano": ("electric piano", "rhodes", "wurlitzer", "e-piano", "fender rhodes", "rhodes keys", "electric keys", "suitcase piano"),
    "music box": ("music box", "musical box", "toy box melody", "celesta-like music box", "wind-up music box", "tinkling music box", "toy piano", "glockenspiel", "celesta", "bells"),
    "vibraphone": ("vibraphone", "vibes", "vibraharp", "mallet vibraphone", "metallophone"),
    "marimba": ("marimba", "xylophone", "wooden mallets", "balafon", "mallets", "kalimba"),
    "organ": ("organ", "hammond organ", "drawbar organ", "church organ", "hammond", "pipe organ", "b3 organ"),
    "accordion": ("accordion", "squeezebox", "concertina", "bandoneon", "musette accordion", "harmonium", "harmonica"),
    "acoustic guitar": ("acoustic guitar", "nylon guitar", "classical guitar", "spanish guitar", "guitar", "nylon string guitar", "fingerpicked guitar", "steel string guitar", "ukulele", "unplugged guitar", "folk guitar", "banjo"),
    "electric guitar": ("electric guitar", "clean electric guitar", "clean guitar", "stratocaster", "jazz guitar", "telecaster", "twangy guitar", "hollow-body guitar", "surf guitar"),
    "distorted guitar": ("distorted guitar", "overdriven guitar", "heavy guitar", "fuzz guitar", "metal guitar", "crunchy guitar", "distortion guitar", "lead guitar with distortion", "shredding guitar", "power guitar", "gritty guitar"),
    "violin": ("violin", "fiddle", "solo violin", "violinist", "viola", "string solo"),
    "cello": ("cello", "violoncello", "cellist", "solo cello", "bowed cello", "low strings"),
    "harp": ("harp", "harpist", "plucked harp", "celtic harp", "concert harp", "lyre"),
    "strings": ("strings", "string section", "string orchestra", "orchestra", "orchestral strings", "string ensemble", "symphonic strings", "violins", "string quartet"),
    "choir": ("choir", "choral voices", "vocal choir", "chorus of voices", "oohs and aahs", "voices", "vocals", "a cappella choir", "wordless choir", "singers", "humming voices"),
    "trumpet": ("trumpet", "horn", "brass", "cornet", "muted trumpet", "trumpeter", "flugelhorn", "brass lead", "bugle", "trombone"),
    "saxophone": ("saxophone", "sax", "alto sax", "tenor sax", "saxophonist", "smooth sax", "sax solo"),
    "clarinet": ("clarinet", "woodwind", "reed", "clarinetist", "oboe", "bassoon", "klezmer clarinet"),
    "flute": ("flute", "flutist", "wooden flute", "pan flute", "recorder", "whistle", "tin whistle", "piccolo", "ocarina", "bamboo flute"),
    "synth lead": ("synth lead", "synthesizer", "synth", "saw lead", "sawtooth synth", "analog synth", "lead synth", "electronic lead", "moog", "retro synth", "chiptune lead", "keytar", "synthesiser", "square lead"),
}  # fmt: skip
COMP_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "piano": ("piano chords", "piano accompaniment", "piano backing", "comping piano"),
    "guitar": ("strummed guitar", "guitar chords", "rhythm guitar", "strumming acoustic guitar", "guitar backing"),
    "strings": ("string backing", "string chords", "sustained strings underneath", "lush strings behind it", "string pads"),
    "electric piano": ("electric piano chords", "rhodes chords", "rhodes backing", "soft electric keys underneath"),
    "synth pad": ("synth pad", "warm pads", "pad chords", "airy pad underneath", "synth pads", "atmospheric pads"),
}  # fmt: skip
MOOD_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "happy": ("happy", "cheerful", "joyful", "upbeat", "sunny", "bright", "merry", "uplifting", "feel-good", "jolly", "optimistic", "positive", "gleeful", "light-hearted", "cheery", "joyous", "elated", "festive", "celebratory", "carefree", "smiling", "good-natured", "summery", "hopeful"),
    "sad": ("sad", "melancholic", "melancholy", "sorrowful", "mournful", "gloomy", "tearful", "heartbroken", "wistful", "somber", "bittersweet", "grieving", "lonely", "downcast", "plaintive", "blue", "despairing", "lamenting", "forlorn", "aching", "regretful", "moody"),
    "calm": ("calm", "peaceful", "relaxing", "gentle", "serene", "soothing", "tranquil", "chill", "quiet", "mellow", "soft", "relaxed", "meditative", "restful", "laid-back", "still", "placid", "unhurried", "lazy", "cozy", "sleepy", "delicate", "tender", "spa-like", "chilled-out", "easygoing"),
    "energetic": ("energetic", "lively", "driving", "powerful", "high-energy", "pumping", "vigorous", "dynamic", "exciting", "intense", "fiery", "adrenaline-fueled", "punchy", "hard-hitting", "explosive", "hyper", "energizing", "rousing", "frantic", "wild", "banging"),
    "dark": ("dark", "brooding", "ominous", "sinister", "menacing", "haunting", "eerie", "spooky", "grim", "shadowy", "creepy", "gothic", "evil", "foreboding", "scary", "macabre", "bleak", "night-time", "cold"),
    "dreamy": ("dreamy", "ethereal", "floating", "hazy", "otherworldly", "atmospheric", "ambient", "spacey", "hypnotic", "airy", "shimmering", "magical", "mystical", "nostalgic", "misty", "weightless", "celestial", "surreal", "cosmic"),
    "tense": ("tense", "suspenseful", "anxious", "nervous", "urgent", "dramatic", "restless", "agitated", "uneasy", "thrilling", "gripping", "edgy", "stressful", "pressing", "dangerous", "racing", "nail-biting", "stormy"),
    "romantic": ("romantic", "loving", "warm", "sentimental", "intimate", "passionate", "heartfelt", "tender-hearted", "affectionate", "amorous", "sensual", "lyrical", "sweet", "longing", "emotional", "touching", "yearning", "expressive"),
    "heroic": ("heroic", "epic", "triumphant", "majestic", "proud", "victorious", "grand", "bold", "noble", "cinematic", "inspiring", "anthemic", "stirring", "motivational", "glorious", "regal", "courageous", "soaring", "patriotic"),
    "playful": ("playful", "quirky", "whimsical", "bouncy", "funny", "mischievous", "comic", "cute", "silly", "cartoonish", "childlike", "jaunty", "perky", "goofy", "humorous", "sprightly", "frolicking", "cheeky", "zany"),
}  # fmt: skip
MAJOR_WORDS: Final = (
    "major-key",
    "in a major key",
    "major tonality",
    "bright-sounding harmony",
    "major harmony",
    "in major",
    "major scale",
)
MINOR_WORDS: Final = (
    "minor-key",
    "in a minor key",
    "minor tonality",
    "dark harmony",
    "minor harmony",
    "in minor",
    "minor scale",
)
DRUM_WORDS: Final = (
    "with drums", "with a drum beat", "drums", "with percussion", "with a beat", "with a steady beat", "with a drum kit",
    "with a drum groove", "with kick and snare", "driven by drums", "over a drum loop", "with punchy drums", "with live drums",
    "backed by drums", "with a solid backbeat", "with a rhythm section", "with a groove", "with beats", "with a drummer",
    "with hi-hats and a kick", "plus drums", "drums included", "featuring drums and percussion", "with percussive drive",
    "with full drums", "add drums", "with a drum machine", "on top of a beat", "there should be drums", "drum-driven",
    "with steady percussion", "with a pounding beat", "kick, snare and hats", "groovy drums", "with crisp snare hits",
    "a drummer keeps time", "with cymbals and toms", "with bass drum", "with hand percussion", "a full band with drums",
    "with a strong rhythm", "drums playing", "and a drum part", "with rolling drums", "i want drums", "rhythmic drums",
    "beat-driven", "supported by a drum pattern", "percussion on every beat", "with snares", "with big drums", "has drums",
    "and percussion", "and drums", "and a beat", "and a groove", "a kit keeping the pulse", "with tight drumming", "drumming",
    "with stick work on the hats", "a thumping kick", "kick drum", "snare", "hi-hat pattern", "let the drums play",
)  # fmt: skip
DRUM_STYLE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "rock": ("rock beat", "rock drums", "backbeat", "straight rock groove", "boom-bap drums", "hard-hitting drums", "eighth-note hats", "pop drums", "funk drums", "driving drums"),
    "four": ("four on the floor", "four-on-the-floor kick", "dance beat", "house beat", "club beat", "disco drums", "techno beat", "claps", "electronic beat", "handclaps", "danceable beat", "clubby kick drum"),
    "soft": ("soft drums", "light percussion", "gentle shaker", "shakers", "brushed drums", "subtle percussion", "quiet drums", "tambourine", "brushes", "maracas", "minimal percussion", "delicate percussion"),
    "half": ("half-time beat", "half-time drums", "slow drum groove", "hip hop beat", "trap beat", "lo-fi beat", "trip hop drums", "laid-back drums", "sparse drums", "lofi drums", "boom bap"),
}  # fmt: skip
NO_DRUM_WORDS: Final = (
    "no drums", "without drums", "no percussion", "without percussion", "without a beat", "drumless", "no beat",
    "beatless", "no drum kit", "percussion-free", "drum-free", "free of drums", "minus the drums", "leave out the drums",
    "no drums please", "no rhythm section", "skip the drums", "not a single drum", "unaccompanied by drums", "sans drums",
    "without any drums", "without any percussion", "no drums at all", "no percussion at all", "there are no drums",
    "no beats", "and no drums", "but no drums", "but without percussion", "nothing percussive", "no kick or snare",
    "no drummer", "drums off", "mute the drums", "omit percussion", "zero drums", "absolutely no drums", "never any drums",
    "don't add drums", "do not use drums", "keep it drumless", "no drum track", "instruments only, no drums", "no cymbals, no drums",
    "without the drums", "without beats", "without drum machine", "avoid drums", "avoid percussion", "drums absent", "unplugged, no drums",
    "leave drums out", "no hits, no beats", "lacking drums", "with no drums", "with no percussion", "with no beat", "with no beats",
    "it has no drums", "non-percussive", "percussionless", "hold the drums", "exclude drums", "nobody on drums", "only melody and chords, no drums",
    "free of percussion", "free of any beat", "without kick or snare", "without a drummer", "without a rhythm section", "no snare", "no hi-hats",
)  # fmt: skip
BASS_WORDS: Final = (
    "with bass",
    "with a bass line",
    "with bass guitar",
    "deep bass",
    "with a warm bass",
    "with a walking bass",
    "and bass",
    "with electric bass",
    "bass-heavy",
    "fat bass",
)
NO_BASS_WORDS: Final = ("no bass", "without bass", "bassless", "no low end", "without a bass line")
DENSITY_WORDS: Final = (
    ("sparse", "minimal", "simple", "spacious", "minimalist", "with long notes", "few notes", "stripped-down", "uncluttered", "bare", "slow-moving", "drawn-out notes", "held notes", "open"),
    ("steady", "moderately busy", "flowing", "balanced", "even", "regular"),
    ("busy", "dense", "fast notes", "intricate", "many notes", "rapid", "arpeggiated", "rippling", "with running eighth notes", "full of notes", "ornate", "virtuosic", "arpeggios", "broken chords"),
)  # fmt: skip
TEMPO_WORDS: Final = (
    (60, 76, ("very slow", "slow", "largo", "slow tempo", "crawling", "glacial", "adagio", "really slow", "drowsy pace", "slowly", "dragging", "larghetto", "lento", "ballad tempo", "slow burn")),
    (70, 92, ("slow", "unhurried", "relaxed tempo", "slow tempo", "adagio", "downtempo", "easy pace", "laid-back tempo", "slowish", "leisurely", "lento", "ballad", "loping", "slow-paced")),
    (86, 112, ("moderate", "mid-tempo", "medium tempo", "walking pace", "andante", "moderate tempo", "medium pace", "steady pace", "midtempo", "strolling", "moderato", "medium-speed")),
    (108, 138, ("moderately fast", "brisk", "upbeat tempo", "allegretto", "up-tempo", "lively tempo", "quick-ish", "snappy", "danceable tempo", "jogging pace", "bouncing along")),
    (128, 160, ("fast", "quick", "allegro", "fast tempo", "uptempo", "fast-paced", "rapid tempo", "speedy", "swift", "hurried", "vivace", "running pace")),
    (150, 181, ("very fast", "fast", "presto", "breakneck", "extremely fast", "furious tempo", "super fast", "blazing", "frenetic", "lightning-fast", "prestissimo", "really fast", "high-speed", "racing tempo")),
)  # fmt: skip
TEMPO_FORMS: Final = (
    "{n} bpm", "{n}bpm", "{n} BPM", "at {n} bpm", "around {n} beats per minute", "{n} beats per minute", "tempo {n}",
    "tempo of {n}", "tempo: {n}", "at a tempo of {n} bpm", "about {n} bpm", "roughly {n} bpm", "bpm {n}", "bpm: {n}", "BPM={n}",
    "{n} beats a minute", "~{n} bpm", "at {n}", "moving at {n} bpm", "clocking in at {n} bpm", "{n}-bpm", "quarter note = {n}",
    "metronome at {n}", "set to {n} beats per minute", "pulse of {n} bpm", "approx. {n} bpm", "exactly {n} bpm", "played at {n} bpm",
    "running at {n} bpm", "a {n} bpm", "tempo is {n} bpm", "steady {n} bpm", "near {n} bpm", "close to {n} bpm", "sitting at {n} bpm",
    "tempo about {n}", "somewhere around {n} bpm", "{n} clicks a minute", "click at {n}", "ticking along at {n}", "{n} to the minute",
)  # fmt: skip
KEY_FORMS: Final = (
    "in {k}", "in the key of {k}", "key of {k}", "key: {k}", "{k}", "{k} tonality", "written in {k}", "centered on {k}", "set in {k}",
    "in {k} please", "tonal center {k}", "the key is {k}", "harmonized in {k}", "played in {k}", "based in {k}", "a {k} piece",
    "key {k}", "staying in {k}", "rooted in {k}", "using the {k} scale", "{k} scale", "{k} key", "tuned around {k}", "home key {k}",
    "tonic {k}", "resolving to {k}", "around {k}", "{k} throughout", "built on {k}", "chords in {k}",
)  # fmt: skip
NOUNS: Final = (
    "piece", "track", "song", "tune", "instrumental", "melody", "loop", "composition", "music", "theme", "number", "jam", "cue", "soundtrack",
    "groove", "sketch", "background music", "arrangement", "recording", "clip", "ballad", "solo", "something", "jingle", "score", "interlude",
)  # fmt: skip
FILLERS: Final = (
    "for a rainy afternoon", "like a film score", "for my podcast intro", "for a video game menu", "reminiscent of long train rides",
    "with a hint of nostalgia", "as if played in a small room", "for studying", "for a documentary about the sea", "good for driving at night",
    "inspired by old movies", "to play at a wedding", "for a yoga class", "perfect for a cafe", "for a commercial", "high quality",
    "well mixed", "recorded in a studio", "that loops nicely", "with a catchy hook", "with a simple melody", "and nothing else",
    "for a 30 second ad", "about 10 seconds long", "80s style", "90s vibe", "in the style of the 70s", "in 4/4 time", "for two players",
    "4/4", "instrumental only", "no vocals", "without vocals", "no singing", "with reverb", "with a clear ending", "with some echo", "two chords", "three layers",
    "for children", "for the closing credits", "to fall asleep to", "to wake up to", "on a sunday morning", "as an opening theme",
    "mastered loud", "with warm tone", "in a big hall", "slightly detuned", "vintage sound", "lo-fi texture", "crystal clear", "I love this",
    "please", "thanks", "if possible", "for an elevator", "boss level", "for a chase scene", "at sunset", "under the stars", "by the fireplace",
    "with an emotional arc", "that builds slowly", "with gentle dynamics", "played by a street musician", "one take", "16 bars", "8 bar phrase",
    "verse and chorus", "no lyrics", "stereo", "acoustic feel", "modern production", "a little bit of swing", "with a walking feel", "live feel",
    "from the 60s", "for a 2 minute video", "take 3", "version 2", "with 3 chords", "chord progression I-V-vi-IV", "with seventh chords",
)  # fmt: skip
OPENINGS: Final = (
    "", "", "", "", "a ", "an ", "a short ", "give me a ", "make a ", "create a ", "I need a ", "compose a ", "generate a ", "please write a ",
    "play ", "looking for a ", "can you do a ", "I'd like a ", "some ", "produce a ", "write ", "need: ", "one ", "how about a ",
)  # fmt: skip
LEADS: Final = (
    "{i}", "{i}", "solo {i}", "{i} melody", "{i} lead", "with {i}", "featuring {i}", "led by {i}", "played on {i}", "{i} playing the tune",
    "melody on {i}", "for {i}", "{i} in front", "lead {i}", "{i} carries the melody", "with a {i} lead", "{i} solo", "{i} takes the lead",
    "sung by {i}", "starring {i}", "main instrument {i}", "a {i}", "on the {i}",
)  # fmt: skip
JOINTS: Final = (", ", ", ", ", ", " ", " ", "; ", " - ", ". ", " and ", ", and ", " / ", "\n")

# A genre may be named when the plan could be it: words, instruments, drums or none, tempo.
GENRES: Final[tuple[tuple[tuple[str, ...], tuple[str, ...], str, int, int], ...]] = (
    (("techno", "edm", "trance", "house music", "dance music", "club track", "electro", "eurodance", "rave"), ("synth lead", "electric piano", "organ"), "yes", 110, 165),
    (("synthwave", "electronic", "synth-pop", "electronica", "retrowave"), ("synth lead", "electric piano"), "yes", 80, 140),
    (("chiptune", "8-bit", "video game music", "arcade music"), ("synth lead",), "any", 100, 180),
    (("rock", "indie rock", "hard rock", "punk", "garage rock", "classic rock", "grunge"), ("distorted guitar", "electric guitar"), "yes", 95, 180),
    (("heavy metal", "metal", "thrash"), ("distorted guitar",), "yes", 120, 180),
    (("jazz", "smooth jazz", "lounge", "bossa nova", "swing", "cocktail jazz", "bebop"), ("saxophone", "trumpet", "vibraphone", "piano", "electric guitar", "clarinet", "electric piano"), "any", 70, 170),
    (("classical", "chamber music", "baroque", "romantic era", "sonata", "nocturne", "concerto", "etude"), ("piano", "violin", "cello", "strings", "flute", "clarinet", "harp"), "no", 60, 150),
    (("lullaby", "bedtime song", "cradle song"), ("music box", "harp", "piano", "flute", "choir", "acoustic guitar"), "no", 60, 100),
    (("ambient", "drone-like", "new age", "meditation music", "spa music"), ("synth lead", "strings", "choir", "harp", "flute", "piano", "electric piano", "vibraphone"), "no", 60, 95),
    (("folk", "country", "bluegrass", "americana", "singer-songwriter"), ("acoustic guitar", "violin", "accordion", "flute"), "any", 70, 160),
    (("celtic", "irish jig", "medieval", "reel"), ("violin", "flute", "harp", "accordion"), "any", 80, 170),
    (("tango", "polka", "french cafe", "chanson"), ("accordion", "violin", "clarinet"), "any", 80, 150),
    (("lo-fi hip hop", "lofi", "chillhop", "hip hop", "rap instrumental", "r&b", "soul", "neo-soul", "trip hop"), ("electric piano", "piano", "electric guitar", "saxophone", "vibraphone"), "yes", 66, 110),
    (("funk", "disco", "pop", "pop song", "soul groove"), ("electric guitar", "electric piano", "saxophone", "trumpet", "synth lead", "piano"), "yes", 95, 135),
    (("film score", "orchestral", "symphonic", "cinematic score", "trailer music"), ("strings", "trumpet", "choir", "cello", "violin"), "any", 60, 170),
    (("gospel", "hymn", "sacred music", "church music"), ("organ", "choir"), "any", 60, 120),
    (("latin", "salsa", "calypso", "caribbean", "tropical"), ("marimba", "trumpet", "acoustic guitar", "flute"), "yes", 90, 170),
    (("reggae", "ska", "dub"), ("organ", "electric guitar", "trumpet"), "yes", 70, 160),
    (("march", "fanfare", "marching band"), ("trumpet", "flute"), "yes", 95, 140),
    (("waltz-like ballad", "ballad", "serenade", "elegy"), ("piano", "violin", "cello", "saxophone", "acoustic guitar", "strings"), "no", 60, 92),
)  # fmt: skip


def caption(plan: Plan, dice: random.Random) -> str:
    """Describe a plan in words a user might type.

    Args:
        plan: What is described.
        dice: Draws which attributes are named and how.

    Returns:
        One prompt, often with attributes missing, never with a wrong one.
    """
    parts: list[str] = []
    if dice.random() < 0.62:
        parts.append(_tempo_number(plan, dice))
    elif dice.random() < 0.55:
        parts.append(_tempo_word(plan, dice))
    if dice.random() < 0.62:
        parts.append(dice.choice(KEY_FORMS).format(k=key_name(plan, dice)))
    elif dice.random() < 0.35:
        parts.append(dice.choice(MAJOR_WORDS if plan.mode == "major" else MINOR_WORDS))
    if dice.random() < 0.65:
        parts.append(_drums(plan, dice))
    genre = _genre(plan, dice) if dice.random() < 0.25 else ""
    if dice.random() < 0.7:
        words = dice.choice(INSTRUMENT_WORDS[plan.instrument])
        parts.append(dice.choice(LEADS).format(i=words))
    if dice.random() < 0.2:
        parts.append(dice.choice(COMP_WORDS[plan.comp]))
    if dice.random() < 0.15:
        parts.append(dice.choice(BASS_WORDS if plan.bass else NO_BASS_WORDS))
    if dice.random() < 0.2:
        parts.append(dice.choice(DENSITY_WORDS[plan.density]))
    for _ in range(dice.choice((0, 0, 0, 1, 1, 2))):
        parts.append(dice.choice(FILLERS))
    if dice.random() < 0.25:
        # Words nobody taught: the encoder must learn to walk past them.
        parts.append(" ".join(_nonsense(dice) for _ in range(dice.choice((1, 1, 2)))))
    dice.shuffle(parts)
    moods = ""
    if dice.random() < 0.6:
        count = dice.choice((1, 1, 1, 2))
        moods = dice.choice((", ", " and ", " ")).join(dice.sample(MOOD_WORDS[plan.mood], count))
    noun = dice.choice(NOUNS) if dice.random() < 0.75 else ""
    head = " ".join(word for word in (moods, genre, noun) if word)
    if dice.random() < 0.25 and head:
        parts.append(head)
        text = _join(parts, dice)
    else:
        text = dice.choice(OPENINGS) + _join([head, *parts] if head else parts, dice)
    return _roughen(text.strip(), dice) or "music"


def key_name(plan: Plan, dice: random.Random) -> str:
    """Spell a key in one of the ways people do: F# minor, Gbm, "g flat minor"."""
    root = ROOTS[plan.root]
    if plan.root in FLATS and dice.random() < 0.5:
        natural, sign = FLATS[plan.root], "b"
    else:
        natural, sign = root[0], "#" if len(root) > 1 else ""
    spelled = {
        "": ("",),
        "#": ("#", "#", "♯", " sharp", "-sharp", " # "),
        "b": ("b", "b", "♭", " flat", "-flat"),
    }[sign]
    name = natural + dice.choice(spelled).rstrip()
    short = len(name) <= 2
    roll = dice.random()
    if plan.mode == "minor":
        if short and roll < 0.2:
            return name + dice.choice(("m", "m", "min", "-minor"))
        return name + dice.choice((" minor", " minor", " minor", " Minor", " min", "-minor"))
    if roll < 0.15:
        return name
    if short and roll < 0.2:
        return name + "maj"
    return name + dice.choice((" major", " major", " major", " Major", " maj", "-major"))


def _tempo_number(plan: Plan, dice: random.Random) -> str:
    number = str(plan.tempo_bpm)
    if dice.random() < 0.1:
        number = spell(plan.tempo_bpm)
    return dice.choice(TEMPO_FORMS).format(n=number)


def _tempo_word(plan: Plan, dice: random.Random) -> str:
    fitting = [words for low, high, words in TEMPO_WORDS if low <= plan.tempo_bpm < high]
    return dice.choice(dice.choice(fitting))


def _drums(plan: Plan, dice: random.Random) -> str:
    if not plan.has_drums:
        return dice.choice(NO_DRUM_WORDS)
    if dice.random() < 0.3:
        words = dice.choice(DRUM_STYLE_WORDS[plan.drums])
        return dice.choice(("", "with ", "with a ", "over ", "and ")) + words
    return dice.choice(DRUM_WORDS)


def _genre(plan: Plan, dice: random.Random) -> str:
    fitting = [
        words
        for words, leads, drums, low, high in GENRES
        if plan.instrument in leads
        and low <= plan.tempo_bpm <= high
        and (drums == "any" or plan.has_drums == (drums == "yes"))
    ]
    return dice.choice(dice.choice(fitting)) if fitting else ""


def _join(parts: Sequence[str], dice: random.Random) -> str:
    text = ""
    same = dice.choice(JOINTS) if dice.random() < 0.6 else ""
    for part in parts:
        text += (same or dice.choice(JOINTS)) + part if text else part
    return text


def _nonsense(dice: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(dice.choice(letters) for _ in range(dice.randrange(3, 9)))


def _roughen(text: str, dice: random.Random) -> str:
    """Change case and drop letters, as hurried people do."""
    roll = dice.random()
    if roll < 0.1:
        text = text[:1].upper() + text[1:] + "."
    elif roll < 0.13:
        text += "!"
    if dice.random() < 0.08:
        words = text.split(" ")
        place = dice.randrange(len(words))
        word = words[place]
        if word.isalpha() and len(word) > 5:
            cut = dice.randrange(1, len(word) - 1)
            words[place] = word[:cut] + word[cut + 1 :]
        text = " ".join(words)
    return text


_ONES: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS: Final = (
    "",
    "",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
)


def spell(number: int) -> str:
    """Spell a number below 200: "one hundred and twenty-four"."""
    if number >= 100:
        rest = number - 100
        return "one hundred" + (f" and {spell(rest)}" if rest else "")
    if number < 20:
        return _ONES[number]
    return _TENS[number // 10] + (f"-{_ONES[number % 10]}" if number % 10 else "")
