"""Why does the classifier say so? One picture: the spectrum's lines, and when it heard what.

Above, what stands still in the spectrum, with the lines that stand out and the comb they
lie on; below, the classifier's timeline over the stretches that carry our marks, on one
axis of time.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import Interval, WatermarkFinding
from detectors.decoder_mark import DecoderMarkFinding
from detectors.synthetic import traces
from detectors.synthetic.finding import SyntheticFinding
from detectors.synthetic.judging import UnheardError, hear
from safegen.audio import Audio
from safegen.synthesis import Origin, synthesis_json
from safegen.synthesis_words import cells, headline, sentences

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK: Final = "#1b1f27"
_SOFT: Final = "#5d6675"
_GRID: Final = "#e2e6ec"
_SCORE: Final = "#c62f3b"
_MARK: Final = "#7c5cff"
_COMB: Final = "#b9770e"
_LABELED: Final = 6
_LABEL_HZ: Final = 400.0
"""Width of a label on the axis of frequency."""
_DRAWN_COMBS: Final = 1
_LAST_PRINTABLE: Final = 0x24F
"""The font has no more letters than these in common."""


def explanation_png(
    audio: Audio,
    finding: SyntheticFinding,
    origin: Origin,
    *,
    name: str,
    mark: WatermarkFinding | None,
    root: DecoderMarkFinding | None,
) -> bytes:
    """Draw an answer as PNG, about 1300 by 900 pixels.

    Args:
        audio: What was heard.
        finding: What the classifier said of it.
        origin: The answer.
        name: Of the file, as people know it.
        mark: Of our watermark; None if nobody listened for it.
        root: Of the mark of the shipped codec; likewise.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    written = synthesis_json(finding, origin)
    with mpl.rc_context({"font.size": 9, "text.parse_math": False, "axes.edgecolor": _SOFT}):
        figure = Figure(figsize=(11, 7.4), dpi=120)
        spectrum = figure.add_axes((0.105, 0.425, 0.87, 0.305))
        timeline = figure.add_axes((0.105, 0.19, 0.87, 0.145))
        strips = figure.add_axes((0.105, 0.085, 0.87, 0.09))
        figure.text(0.02, 0.955, _plain(name), fontsize=10, color=_SOFT)
        figure.text(0.02, 0.905, headline(written) or "no answer", fontsize=16, color=_INK)
        lines = "\n".join(sentences(written))
        figure.text(0.02, 0.888, lines, fontsize=9.5, color=_INK, va="top", linespacing=1.35)
        _draw_spectrum(spectrum, _residual(audio), finding)
        _draw_timeline(timeline, written)
        _draw_marks(
            strips,
            {
                "our watermark": None if mark is None else (mark.detected, mark.intervals),
                "codec's mark": None if root is None else (root.detected, root.intervals),
            },
            audio.seconds,
        )
        for axes in (timeline, strips):
            axes.set_xlim(0, max(audio.seconds, 1e-3))
        strips.set_xlabel("time in seconds")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _residual(audio: Audio) -> npt.NDArray[np.float32] | str:
    """Measure what stands still in the spectrum, or say why that cannot be measured."""
    try:
        heard = hear(audio.waveform, audio.sample_rate)
    except UnheardError as error:
        return str(error)
    return np.asarray(heard.windows.residual.mean(axis=0), dtype=np.float32)


def _draw_spectrum(
    axes: "Axes", residual: npt.NDArray[np.float32] | str, finding: SyntheticFinding
) -> None:
    low, high = traces.FIRST_BIN * traces.BIN_HZ, traces.LAST_BIN * traces.BIN_HZ
    axes.set_xlim(low, high)
    axes.set_title(
        "What stands still in the spectrum",
        loc="left",
        fontsize=9.5,
        color=_SOFT,
    )
    axes.set_xlabel("frequency in Hz", labelpad=2)
    axes.set_ylabel("dB over surroundings")
    if isinstance(residual, str):
        axes.set_yticks([])
        _say(axes, residual)
        return
    for comb in finding.combs[:_DRAWN_COMBS]:
        multiples = np.arange(1, int(high / comb.spacing_hz) + 1) * comb.spacing_hz
        axes.vlines(
            multiples[multiples >= low],
            0,
            1,
            transform=axes.get_xaxis_transform(),
            color=_COMB,
            linewidth=0.6,
            alpha=0.35,
            zorder=0,
            label=f"multiples of {comb.spacing_hz:.2f} Hz"
            + (f": {comb.reading}" if comb.reading else ", of no decoder known here"),
        )
    hz = (np.arange(len(residual)) + traces.FIRST_BIN) * traces.BIN_HZ
    axes.plot(hz, residual, color=_INK, linewidth=0.7)
    axes.axhline(0, color=_GRID, linewidth=0.8, zorder=0)
    top = max(2.0, float(residual.max()) * 1.3)
    axes.set_ylim(min(-1.0, float(residual.min()) * 1.1), top)
    if finding.peaks:
        axes.plot(
            [peak.hz for peak in finding.peaks],
            [peak.excess_db for peak in finding.peaks],
            "o",
            color=_SCORE,
            markersize=4,
            label="lines that stand out",
        )
    labeled: list[float] = []
    for peak in finding.peaks:
        if any(abs(peak.hz - hz) < _LABEL_HZ for hz in labeled) or len(labeled) == _LABELED:
            continue
        labeled.append(peak.hz)
        stride = "" if peak.stride is None else f"\nstride {peak.stride}"
        axes.annotate(
            f"{peak.hz:.0f} Hz{stride}",
            (peak.hz, peak.excess_db),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=7.5,
            color=_SCORE,
        )
    if finding.peaks or finding.combs:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 0.99),
            borderaxespad=0.1,
            ncols=2,
            fontsize=8,
            frameon=False,
        )


def _draw_timeline(axes: "Axes", written: Mapping[str, Any]) -> None:
    axes.set_ylim(0, 1)
    axes.set_ylabel("synthetic\nprobability")
    resolution = written["resolution_seconds"]
    axes.set_title(
        "When: the classifier, in windows"
        + (f" of {resolution:g} s; nothing shorter is located" if resolution else ""),
        loc="left",
        fontsize=9.5,
        color=_SOFT,
    )
    axes.tick_params(labelbottom=False)
    if written["out_of_domain"] or not written["segments"]:
        _say(axes, written["out_of_domain"] or written["reason"] or "nothing was heard")
        return
    if written["prior"] is not None:
        axes.axhline(written["prior"], color=_SOFT, linewidth=0.7, linestyle=":")
    color = _SOFT if written["abstained"] else _SCORE
    for cell in cells(written["segments"]):
        span = (cell.start_seconds, cell.end_seconds)
        axes.fill_between(span, 0, cell.score, color=color, alpha=0.25, linewidth=0)
        axes.plot(span, (cell.score, cell.score), color=color, linewidth=1.4)


def _draw_marks(
    axes: "Axes",
    heard: Mapping[str, tuple[bool, Sequence[Interval]] | None],
    seconds: float,
) -> None:
    """Draw a strip for each mark, on the classifier's axis of time."""
    axes.set_ylim(len(heard) - 0.4, -0.6)
    axes.set_yticks(range(len(heard)), list(heard))
    axes.tick_params(axis="y", length=0)
    for row, found in enumerate(heard.values()):
        axes.axhspan(row - 0.36, row + 0.36, color="#edf0f4", linewidth=0)
        if found is None or not found[0]:
            text = "nobody listened for it" if found is None else "none was heard"
            axes.text(seconds / 2, row, text, ha="center", va="center", fontsize=8, color=_SOFT)
            continue
        for interval in found[1]:
            axes.broken_barh(
                [(interval.start_seconds, interval.end_seconds - interval.start_seconds)],
                (row - 0.36, 0.72),
                color=_MARK,
                linewidth=0,
            )


def _say(axes: "Axes", text: str) -> None:
    axes.text(
        0.5,
        0.5,
        _plain(text),
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=_SOFT,
        fontsize=10,
    )


def _plain(text: str) -> str:
    """Keep what the font can draw; names of uploads hold anything."""
    return "".join(c if c.isprintable() and ord(c) <= _LAST_PRINTABLE else "?" for c in text)[:140]
