"""Does a prompt name somebody we know, or ask for somebody's voice?

Both questions are answered on folded text (no case, accents, punctuation, invisible
characters or look-alike letters), so that "Beyonce", "BEYONCÉ" and "B-e-y-o-n-c-e"
are one word.

A name of two or more words counts wherever it stands. A name of one word could be
any word ("Air", "Queen", "Yes"), so it counts only where the prompt treats it as a
name: in quotation marks, after words like "by", "like" or "in the style of", or
before words like "style" or "type beat". What is missed here is still compared with
the catalog as sound; this rule is about intent, not about evidence.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_LOOK_ALIKES: Final = str.maketrans(
    "аеорсухіѕјѵԁһӏвкмнтαορνιτκøłđŧħı",
    "aeopcyxisjvdhlbkmhtaopvitkoldthi",
) | {ord("æ"): "ae", ord("œ"): "oe", ord("þ"): "th", ord("ð"): "d"}
_ARTICLES: Final = frozenset(
    ["the", "a", "an", "los", "las", "el", "la", "le", "les", "die", "der", "das"]
)
_LEGAL_FORMS: Final = frozenset(
    [
        "ltd",
        "limited",
        "inc",
        "incorporated",
        "llc",
        "llp",
        "plc",
        "gmbh",
        "kg",
        "ag",
        "sa",
        "sarl",
        "srl",
        "spa",
        "bv",
        "nv",
        "ab",
        "oy",
        "co",
        "corp",
        "corporation",
        "company",
    ]
)
_PLACEHOLDERS: Final = frozenset(
    {
        "unknown",
        "unknown artist",
        "various",
        "various artists",
        "va",
        "anonymous",
        "traditional",
        "trad",
        "public domain",
        "none",
        "na",
        "n a",
        "untitled",
    }
)
_LEAST_LETTERS: Final = 4
_LEAST_JOINED: Final = 4

_FILLERS: Final = (
    r"(?:(?:the|a|an|early|late|classic|old|new|young|great|legendary|famous|iconic|modern|late-era|"
    r"band|group|artist|singer|rapper|composer|producer|duo|dj|mr|ms|called|named|\d+s?) ){0,4}"
)
_LIST: Final = r"(?:(?:\w+ ){1,4}(?:, (?:and |or )?|and |or |meets |plus |x |with )){0,4}"
_ARTISTIC: Final = (
    r"(?:(?:style|styles|manner|vein|sound|voice|vocals|songs?|music|works?) of|a la|"
    r"sounds? like|sounding like|(?:similar|akin|tribute|homage) to|reminiscent of|"
    r"(?:covers?|remix|copy|clone|version|imitation|impression) (?:of|by)|"
    r"(?:songs?|tracks?|hits?|albums?|vocals?|lyrics|music|written|composed|produced|performed|"
    r"played|sung|voiced|made) by|feat|ft|featuring|artists?|imitat\w+|impersonat\w+|"
    r"emulat\w+|mimic\w*|channell?ing)"
)
_MILD: Final = r"(?:by|like|from|inspired by|influenced by|spirit of|vibe of|mood of|think)"
_AFTER: Final = (
    r"(?:style|styles|styled|esque|inspired|type|tribute|cover|covers|remix|soundalike|"
    r"sound alike|impression|impersonation|impersonator|voice|vocals|album|albums|hit|hits|"
    r"discography|song|songs)"
)
_QUOTED: Final = re.compile(r"(?<!\w)[\"“”„«»‘'`*]+\s*([^\"“”„«»`*]{1,80}?)\s*[\"“”„«»’'`*]+(?!\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Name:
    """A registered name, folded.

    Attributes:
        core: Its words without a leading article and a trailing legal form.
        needs_context: Whether it could be an everyday word.
    """

    core: tuple[str, ...]
    needs_context: bool


def named_in(prompt: str, names: Iterable[str]) -> tuple[str, ...]:
    """List the names that the prompt mentions, as they are registered, each once.

    Args:
        prompt: What a user asked for.
        names: Artists and rights-holders of the registry, in any spelling. An artist
            credit such as "A feat. B" is also looked for as "A" and as "B".
    """
    readings = _readings(prompt)
    if not readings:
        return ()
    quoted = {_core(_words(span)) for span in _QUOTED.findall(prompt)}
    found: dict[str, None] = {}
    for name in names:
        for part in _credits(name):
            folded = _folded_name(part)
            if folded is not None and _is_named(folded, readings, quoted):
                found[name] = None
    return tuple(found)


def voice_clone_request(prompt: str) -> str:
    """Return the words that ask to imitate a particular voice, "" if there are none.

    Asking for "a human voice", "a choir" or "a robot voice" is not such a request: the
    patterns want a verb of copying together with a voice, the voice *of* somebody, or a
    singer's name after "sung by".
    """
    spaced = " ".join(_join_letters(_words(prompt)))
    for pattern in _VOICE_PATTERNS:
        for hit in pattern.finditer(spaced):
            if not _GENERIC_VOICE.search(hit.group()):
                return hit.group().strip()
    for hit in _NAMED_SINGER.finditer(prompt):
        return " ".join(hit.group().split())
    return ""


_COPY: Final = (
    r"(?:clon\w+|imitat(?:e|es|ed|ing)|imitation of|mimic\w*|impersonat\w+|replicat\w+|"
    r"recreat\w+|reproduc\w+|duplicat\w+|"
    r"copy|copies|copying|emulat\w+|simulat\w+|fak(?:e|ing|ed)|deepfak\w+|steal\w*|"
    r"imita[rns]?|imitando|clona\w*|copia\w*|imite\w*|clone\w*|imitier\w*|klon\w*|nachahm\w*|nachmach\w*)"
)
_VOICE: Final = (
    r"(?:voices?|vocals?|singing|timbre|vocal tone|speech|speaking|rapping|"
    r"voz|voix|stimme|voce)"
)
_VOICE_PATTERNS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b{_COPY} (?:\w+ ){{0,6}}?{_VOICE}\b(?: of (?:\w+ ?){{1,3}})?",
        r"\b(?:voice|vocals?|speech|singer) (?:clon\w+|deepfakes?|swap\w*|imitation|impersonation|"
        r"impression|double|replica|conversion|likeness)\b",
        r"\b(?:cloned|deepfaked?|fake|replicated|imitated) (?:voices?|vocals?|singer|speech)\b",
        r"\bdeepfak\w*\b",
        r"\brvc\b|\bai (?:voice|vocal) (?:model|cover)s?\b|\bai cover\b",
        r"\b(?:in|with|using|use|has|have|having|give it|featuring) the "
        r"(?:exact |real |actual |same |original )?(?:singing |speaking )?"
        r"(?:voice|vocals|timbre) of (?:\w+ ?){1,3}",
        r"\b(?:con|en) la voz de (?:\w+ ?){1,3}|\bavec la voix de (?:\w+ ?){1,3}|"
        r"\bmit der stimme von (?:\w+ ?){1,3}|\bcon la voce di (?:\w+ ?){1,3}",
        r"\bsound(?:s|ing)? (?:exactly |just )?like (?:my|his|her|their|our|this|that) "
        r"(?:\w+ ){0,2}?(?:singing|speaking|talking|rapping|voice)",
        r"\b(?:my|his|her|this|that) (?:\w+ ){0,2}?voice (?:from|in) (?:this|the|that) "
        r"(?:clip|sample|file|recording|video|song)",
        r"\b(?:voice|vocals|singing|singer|rapper) (?:that |which |who )?"
        r"(?:is |are )?(?:indistinguishable from|identical to|the same as|matching) (?:\w+ ?){1,3}",
    )
)
_GENERIC_VOICE: Final = re.compile(
    r"\b(?:human|humans|choir|choral|choirs|bird|birds|animal|animals|robot|robots|robotic|angel|"
    r"angels|angelic|ghost|ghostly|wind|nature|instrument|synthetic|operatic|crowd|god|whale|"
    r"whales|people|child|children|woman|man|copying)\b"
)
_NAMED_SINGER: Final = re.compile(
    r"\b(?:(?i:sung|singing|sings|vocals?|voice|rapped|rapping|narrated|spoken|voiced|voice-?over)"
    r"\s+(?:(?i:exactly|just)\s+)?(?i:by|like|of|as)\s+[A-Z][\w’'.-]+"
    r"|(?:(?i:in|with|using|has|have))\s+[A-Z][\w.-]+(?:\s+[A-Z][\w.-]+)*['’]s?\s+"
    r"(?:\w+\s+)?(?i:voice|vocals|timbre|singing))"
)


def _readings(prompt: str) -> tuple[str, ...]:
    """Write the prompt in every way its words could be meant, each padded with spaces."""
    split = _words(prompt, commas=True)
    joined = _words(re.sub(r"(?<=\w)[^\w\s]+(?=\w)", "", _fold(prompt)), commas=True)
    spelled = _join_letters(split)
    distinct = dict.fromkeys((tuple(split), tuple(joined), tuple(spelled)))
    return tuple(f" {' '.join(words)} " for words in distinct if words)


def _is_named(name: _Name, readings: tuple[str, ...], quoted: set[tuple[str, ...]]) -> bool:
    words = " ".join(name.core)
    if not name.needs_context:
        joined = "".join(name.core)
        return any(
            f" {words} " in reading or (len(joined) >= _LEAST_JOINED and f" {joined} " in reading)
            for reading in readings
        )
    if name.core in quoted:
        return True
    if not any(f" {words} " in reading for reading in readings):
        return False
    if len(words) < 2 or words in _ARTICLES:
        return False
    patterns = _context_patterns(words)
    return any(pattern.search(reading) for pattern in patterns for reading in readings)


def _context_patterns(words: str) -> tuple[re.Pattern[str], ...]:
    word = re.escape(words)
    return (
        re.compile(rf" {_ARTISTIC} {_LIST}{_FILLERS}{word} "),
        re.compile(rf" {word} {_AFTER} "),
        re.compile(rf" {_MILD} {_FILLERS}{word} "),
    )


@lru_cache(maxsize=200_000)
def _folded_name(name: str) -> _Name | None:
    words = _words(name)
    core = _core(words)
    if not core or " ".join(words) in _PLACEHOLDERS:
        return None
    return _Name(
        core=core,
        needs_context=len(core) < 2 or sum(map(len, core)) < _LEAST_LETTERS,
    )


def _core(words: list[str]) -> tuple[str, ...]:
    """Drop a leading article and trailing legal forms, but never the last word left."""
    kept = list(words)
    if len(kept) > 1 and kept[0] in _ARTICLES:
        kept = kept[1:]
    while len(kept) > 1 and kept[-1] in _LEGAL_FORMS:
        kept = kept[:-1]
    return tuple(kept)


def _credits(name: str) -> tuple[str, ...]:
    """Split "A feat. B" and "A; B" into their parts, the whole first."""
    parts = re.split(r"\s+(?:feat|ft|featuring)\.?\s+|\s*;\s*|\s+/\s+", name, flags=re.IGNORECASE)
    return tuple(dict.fromkeys((name, *(part for part in parts if part))))


def _words(text: str, *, commas: bool = False) -> list[str]:
    folded = re.sub(r"['’ʼ´`]s\b", "", _fold(text))
    folded = re.sub(r"['’ʼ´`]", "", folded).replace("&", " and ")
    return re.findall(r"[^\W_]+|," if commas else r"[^\W_]+", folded)


def _join_letters(words: list[str]) -> list[str]:
    """Join three or more single letters in a row: "a d e l e" is a word."""
    joined: list[str] = []
    run: list[str] = []
    for word in [*words, ""]:
        if len(word) == 1 and word != ",":
            run.append(word)
            continue
        joined += ["".join(run)] if len(run) >= 3 else run
        run = []
        if word:
            joined.append(word)
    return joined


@lru_cache(maxsize=200_000)
def _fold(text: str) -> str:
    """Fold case, accents, width, invisible characters and look-alike letters."""
    wide = unicodedata.normalize("NFKC", text).casefold()
    bare = unicodedata.normalize("NFKD", wide)
    kept = "".join(c for c in bare if unicodedata.category(c) not in ("Mn", "Cf"))
    return kept.translate(_LOOK_ALIKES)
