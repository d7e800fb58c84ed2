"""Under which license is a public checkpoint, and who must say yes to it first?

What is told in the folder counts first: ``license:`` at the head of its README, as the hub
writes it. Then what is known of a repository of that name, then what the operator says.
What nobody tells stays unknown, and R3 answers for it.

Free licenses need no consent. For all others the operator accepts the license, and the day
of it goes into records and manifests. This is a list of names, not legal advice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from safegen.errors import InputError

UNKNOWN: Final = "unknown"
ACCEPT: Final = " --accept-license"
"""How commands say yes."""
FREE: Final = frozenset(
    {
        *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unlicense"),
        *("CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0"),
    }
)
"""Licenses that let anybody use the model for anything; nobody is asked to accept them."""
_STABILITY: Final = "Stability AI Community License"
_KNOWN: Final = (
    ("facebook/musicgen-*", "CC-BY-NC-4.0"),
    ("facebook/audiogen-*", "CC-BY-NC-4.0"),
    ("facebook/encodec_*", "CC-BY-NC-4.0"),
    ("suno/bark*", "MIT"),
    ("descript/dac_*", "MIT"),
    ("kyutai/mimi", "CC-BY-4.0"),
    ("stabilityai/*", _STABILITY),
    ("ACE-Step/*", "MIT"),
    ("cvssp/audioldm2*", "CC-BY-NC-SA-4.0"),
    ("laion/*clap*", "Apache-2.0"),
)
"""Repositories -> what their authors said in November 2026. EnCodec's weights count as
non-commercial unless their own card says otherwise: their authors told both."""
_SPDX: Final = {
    name.lower(): name
    for name in (
        *FREE,
        *(f"CC-BY-{terms}-{v}" for terms in ("NC", "NC-SA", "NC-ND", "ND") for v in ("3.0", "4.0")),
    )
}
"""As the hub writes it -> as SPDX does."""
_HUB_WORDS: Final = {
    "stable-audio-community": _STABILITY,
    "stabilityai-ai-community": _STABILITY,
    "stability-ai-community": _STABILITY,
}
_PAGES: Final = {
    _STABILITY: "https://stability.ai/license",
    "MIT": "https://opensource.org/license/mit",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
}
_HEAD_LINES: Final = 200
_HEAD_BYTES: Final = 1 << 16
_LINE: Final = re.compile(r"(license|license_name)\s*:\s*(.*)")
_TEXT: Final = re.compile(r"[A-Za-z0-9][ -~]{0,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class License:
    """A license, and who told.

    Attributes:
        name: SPDX id or the name its authors give it, ``UNKNOWN`` if nobody told.
        source: "its model card", "known for facebook/musicgen-*", "the operator", "".
    """

    name: str
    source: str


def license_of(folder: Path, *, repository: str, told: str) -> License:
    """Find the license of a checkpoint.

    Args:
        folder: With its README, if it has one.
        repository: "owner/name" as it is called, "" for none.
        told: By the operator; counts only where nobody else says something.

    Raises:
        InputError: If ``told`` is no name of a license.
    """
    if told and not _TEXT.fullmatch(told):
        raise InputError(
            f"{told[:80]!r} is no name of a license",
            remedy='Give an SPDX id such as "CC-BY-4.0", or its name in plain letters.',
        )
    if named := _in_card(folder / "README.md"):
        return License(name=named, source="its model card")
    for pattern, name in _KNOWN:
        if fnmatchcase(repository.lower(), pattern.lower()):
            return License(name=name, source=f"known for {pattern}")
    if told:
        return License(name=_SPDX.get(told.lower(), told), source="the operator")
    return License(name=UNKNOWN, source="")


def known_license(repository: str) -> str:
    """Say under which license a repository is known to be, without looking at it."""
    found = (name for pattern, name in _KNOWN if fnmatchcase(repository.lower(), pattern.lower()))
    return next(found, UNKNOWN)


def asks_for_consent(license_: str) -> bool:
    """Tell whether a license must be accepted before its model is used."""
    return license_ not in FREE and license_ != UNKNOWN


def consent_to(repository: str) -> str:
    """Write the option that installing a repository is known to need, "" if none."""
    return ACCEPT if asks_for_consent(known_license(repository)) else ""


def page_of(license_: str, *, repository: str) -> str:
    """Say where the text of a license is read."""
    if license_ in _PAGES:
        return _PAGES[license_]
    if match := re.fullmatch(r"CC-(BY(?:-NC)?(?:-SA|-ND)?)-(\d\.\d)", license_):
        return f"https://creativecommons.org/licenses/{match[1].lower()}/{match[2]}/"
    return f"https://huggingface.co/{repository}" if repository else "its authors' page"


def refuse(name: str, license_: str, *, repository: str, command: str) -> InputError:
    """Write the refusal of a model whose license was not accepted."""
    return InputError(
        f"{name} is under {license_}, which was not accepted",
        remedy=f"Read {page_of(license_, repository=repository)}; if you accept it, run "
        f"`{command}{ACCEPT}`. The day goes into the records of what it makes.",
    )


def _in_card(path: Path) -> str:
    """Read ``license`` from the lines between ``---`` at the head of a model card."""
    try:
        with path.open("rb") as file:
            lines = file.read(_HEAD_BYTES).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    if not lines or lines[0].strip() != "---":
        return ""
    told: dict[str, str] = {}
    for number, line in enumerate(lines[1:_HEAD_LINES], 2):
        if line.strip() == "---":
            break
        if match := _LINE.fullmatch(line.rstrip()):
            value = match[2] or (lines[number : number + 1] or [""])[0].strip().removeprefix("- ")
            told[match[1]] = value.strip().strip("'\"[]")
    else:
        return ""
    named = told.get("license", "")
    if named.lower() in ("", UNKNOWN):
        return ""
    if named.lower() == "other":
        named = told.get("license_name", "")
    if not _TEXT.fullmatch(named):
        return ""
    return _SPDX.get(named.lower()) or _HUB_WORDS.get(named.lower()) or named
