"""How do people read what was screened? One HTML page or one CSV table.

Everything in a report may have been chosen by whoever uploaded the file, names first
of all. The page is written by a template that escapes every value, carries no script,
loads nothing, and forbids both; the table's cells cannot start a formula.
"""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from safegen.pages import page
from safegen.policy import Policy, Verdict
from safegen.policy.judges import SYNTHETIC, p_text
from safegen.screening import Screening
from safegen.synthesis_words import cells, headline, sentences
from safegen.tables import safe_cell

MAX_PICTURES: Final = 300
"""Pictures are about 60 kB each; the worst verdicts get theirs first."""

_WIDTH: Final = 1000.0
_QUOTE: Final = "#22d3ee"
_LICENSED: Final = "#86efac"
_SYNTHETIC: Final = "#c62f3b"
_MARK: Final = "#7c5cff"
_UNDECIDED: Final = "#8a93a2"
_CHART_HEIGHT: Final = 44.0
_SHOWN_PEAKS: Final = 6
_ORDER: Final = (Verdict.FLAGGED, Verdict.INCONCLUSIVE, Verdict.UNDECODABLE, Verdict.CLEAR)
_COLUMNS: Final = (
    *("file", "verdict", "reasons", "seconds", "synthetic_probability", "abstained"),
    *("synthetic_verdict", "because", "generator", "log_likelihood_ratio", "p_value"),
    *("watermark_payload", "c2pa_state", "works", "rights_holders", "sha256", "record_id"),
)
_SYNTHETIC_CELLS: Final = ("verdict", "because", "generator", "llr", "p_value")
_TICK_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200)
_MAX_TICKS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A stretch of time on the picture, in its units of 1/1000 of the width."""

    x: float
    width: float
    color: str
    opacity: float = 1.0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    """What the classifier says of a stretch of time."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """The classifier's timeline; ``prior_y`` is where it knows nothing."""

    color: str
    height: float
    prior_y: float
    bars: tuple[_Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Strip:
    """A row of boxes below the picture; ``note`` says why there are none."""

    name: str
    note: str
    boxes: tuple[_Box, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What is said of synthetic sound.

    ``kind`` is the verdict, for its color; ``is_open`` shows the evidence unasked.
    """

    kind: str
    headline: str
    sentences: tuple[str, ...]
    peaks: tuple[dict[str, Any], ...]
    heads: tuple[dict[str, Any], ...]
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tick:
    """A mark of the time axis."""

    x: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """One upload, laid out."""

    row: dict[str, Any]
    picture: str
    quotes: tuple[_Box, ...]
    origin: _Origin | None
    chart: _Chart | None
    strips: tuple[_Strip, ...]
    ticks: tuple[_Tick, ...]
    facts: tuple[tuple[str, str], ...]


def write_report(found: Sequence[Screening], path: Path, *, policy: Policy, at: datetime) -> None:
    """Write a report; the suffix, .html or .csv, says which."""
    text = html(found, policy=policy, at=at) if path.suffix == ".html" else table(found)
    path.write_text(text, encoding="utf-8", newline="")


def html(found: Sequence[Screening], *, policy: Policy, at: datetime) -> str:
    """Lay out one page, worst verdicts first, that stands alone in one file."""
    ordered = sorted(found, key=lambda each: (_ORDER.index(each.verdict), each.file))
    pictured = [each for each in ordered if each.picture][:MAX_PICTURES]
    shown = {id(each) for each in pictured}
    return page(
        "screening.html",
        filters={"clock": _clock},
        total=len(ordered),
        policy=policy,
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        counts=[(v.value, sum(each.verdict is v for each in ordered)) for v in _ORDER],
        cards=[_card(each, with_picture=id(each) in shown) for each in ordered],
        without_picture=sum(bool(each.picture) for each in ordered) - len(pictured),
    )


def table(found: Sequence[Screening]) -> str:
    """Write one line for each upload, for spreadsheets."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for each in found:
        row = each.to_json()
        matches = row["matches"]
        cells = [
            row["file"],
            row["verdict"],
            "; ".join(f"{reason['rule']}: {reason['problem']}" for reason in row["reasons"]),
            row["seconds"],
            row["synthetic"]["probability"],
            row["synthetic"]["abstained"],
            *(row["synthetic"].get(name) for name in _SYNTHETIC_CELLS),
            row["watermark"]["payload"],
            row["c2pa"]["state"],
            "; ".join(dict.fromkeys(match["title"] for match in matches)),
            "; ".join(dict.fromkeys(match["rights_holder"] for match in matches)),
            row["sha256"],
            row["record_id"],
        ]
        writer.writerow([safe_cell(cell) for cell in cells])
    return buffer.getvalue()


def _card(found: Screening, *, with_picture: bool) -> _Card:
    row = found.to_json()
    seconds = float(row["seconds"])
    return _Card(
        row=row,
        picture=base64.b64encode(found.picture).decode() if with_picture else "",
        quotes=tuple(
            _box(
                match["query_start_seconds"],
                match["query_end_seconds"],
                seconds,
                color=_LICENSED if match["license_id"] else _QUOTE,
                name=str(number),
            )
            for number, match in enumerate(row["matches"], start=1)
        ),
        origin=_origin(row["synthetic"]),
        chart=_chart(row["synthetic"], seconds),
        strips=_strips(row, seconds),
        ticks=_ticks(seconds),
        facts=_facts(row),
    )


def _origin(written: dict[str, Any]) -> _Origin | None:
    """Say in plain words what the classifier and the marks say; None of old records."""
    said = headline(written)
    if not said:
        return None
    peaks = written.get("peaks", [])
    return _Origin(
        kind=str(written["verdict"]),
        headline=said,
        sentences=sentences(written),
        peaks=tuple(peaks[:_SHOWN_PEAKS]),
        heads=tuple(written.get("heads", [])),
        is_open=written["verdict"] in SYNTHETIC,
    )


def _chart(written: dict[str, Any], seconds: float) -> _Chart | None:
    """Draw the classifier's timeline, unless it means nothing."""
    if not written["segments"] or written.get("out_of_domain"):
        return None
    bars = []
    for cell in cells(written["segments"]):
        box = _box(cell.start_seconds, cell.end_seconds, seconds, color="")
        height = round(min(1.0, max(0.0, cell.score)) * _CHART_HEIGHT, 1)
        y = round(_CHART_HEIGHT - height, 1)
        bars.append(_Bar(x=box.x, y=y, width=box.width, height=height))
    return _Chart(
        color=_UNDECIDED if written["abstained"] else _SYNTHETIC,
        height=_CHART_HEIGHT,
        prior_y=round(_CHART_HEIGHT * (1.0 - float(written.get("prior") or 0.5)), 1),
        bars=tuple(bars),
    )


def _strips(row: dict[str, Any], seconds: float) -> tuple[_Strip, ...]:
    """Lay out where our marks were heard, on the classifier's axis of time."""
    strips = []
    for name, found in (
        ("our watermark", row["watermark"]),
        ("mark of the shipped codec", row["decoder_mark"]),
    ):
        if found["detected"] is None:
            continue
        parts = found["intervals"]
        strips.append(
            _Strip(
                name=name,
                note="" if parts else "heard" if found["detected"] else "none was heard",
                boxes=tuple(
                    _box(part["start_seconds"], part["end_seconds"], seconds, color=_MARK)
                    for part in parts
                ),
            )
        )
    return tuple(strips)


def _facts(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    synthetic, mark, manifest = row["synthetic"], row["watermark"], row["c2pa"]
    facts: list[tuple[str, str]] = []
    if synthetic["abstained"]:
        facts.append(("Synthetic score", f"abstained: {synthetic['reason']}"))
    elif synthetic["probability"] is not None:
        facts.append(("Synthetic score", f"{synthetic['probability']:.2f}"))
    if mark["detected"]:
        facts.append(
            ("Watermark", f"{mark['payload'] or 'unreadable'}, p {p_text(mark['p_value'])}")
        )
    elif mark["detected"] is not None:
        facts.append(("Watermark", "none of ours"))
    if row["decoder_mark"]["detected"]:
        facts.append(("Codec mark", f"heard, p {p_text(row['decoder_mark']['p_value'])}"))
    if row["verdict"] != Verdict.UNDECODABLE.value:
        signed = f"{manifest['state']} {manifest['issuer']} {manifest['generator']}"
        facts.append(("Content Credentials", " ".join(signed.split())))
    if row["scan"]:
        facts.append(("Catalog scan", f"{row['scan']['kind']}, {row['scan']['variants']} variants"))
    facts += [("SHA-256", row["sha256"]), ("Record", row["record_id"])]
    facts.append(("Log entry", str(row["log"]["index"])))
    return tuple(facts)


def _box(
    start: float, end: float, seconds: float, *, color: str, opacity: float = 1.0, name: str = ""
) -> _Box:
    """Place a stretch; whatever lies outside the sound is cut off."""
    scale = _WIDTH / seconds if seconds > 0 else 0.0
    left = min(max(start * scale, 0.0), _WIDTH)
    right = min(max(end * scale, left), _WIDTH)
    return _Box(
        x=round(left, 1),
        width=round(max(right - left, 2.0), 1),
        color=color,
        opacity=opacity,
        name=name,
    )


def _ticks(seconds: float) -> tuple[_Tick, ...]:
    if seconds <= 0:
        return ()
    step = next((s for s in _TICK_STEPS if seconds / s <= _MAX_TICKS), _TICK_STEPS[-1])
    return tuple(
        _Tick(
            x=round(at / seconds * _WIDTH, 1),
            text=_clock(at, digits=0),
            anchor="start" if at == 0 else "end" if at / seconds > 0.97 else "middle",
        )
        for at in range(0, int(seconds) + 1, step)
    )


def _clock(seconds: float, *, digits: int = 1) -> str:
    """Write seconds as 1:02.5."""
    minutes, rest = divmod(round(float(seconds), digits), 60)
    return f"{int(minutes)}:{rest:0{3 + digits if digits else 2}.{digits}f}"
