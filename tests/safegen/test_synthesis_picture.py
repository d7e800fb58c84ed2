"""The picture that shows why the classifier says so."""

import io
import json
from dataclasses import replace

import matplotlib.image as mpimg
import numpy as np
import numpy.typing as npt
import pytest

from detectors.base import Interval, WatermarkFinding
from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding
from detectors.synthetic.judging import judge
from safegen.audio import Audio
from safegen.synthesis import origin_of, synthesis_json
from safegen.synthesis_picture import explanation_png
from tests.safegen.evaluation.synthetic_bench.rosters import roster
from tests.safegen.synthesis_help import HIFIGAN, MARK, ROOT

MARK_COLOR = (0x7C, 0x5C, 0xFF)
SCORE_COLOR = (0xC6, 0x2F, 0x3B)
HALF_MARKED = replace(MARK, intervals=(Interval(start_seconds=0.0, end_seconds=4.0, score=9.0),))


def noise(seconds: float = 8.0) -> Audio:
    # It swells: steady noise is not judged.
    swell = 1.0 + 0.5 * np.sin(np.arange(round(seconds * 16_000)) * 12.0 / 16_000)
    samples = np.random.default_rng(3).normal(0, 0.1, (1, len(swell))) * swell
    return Audio(waveform=samples.astype(np.float32), sample_rate=16_000)


def draw(
    audio: Audio,
    finding: SyntheticFinding = HIFIGAN,
    *,
    name: str = "a.wav",
    mark: WatermarkFinding | None = None,
) -> npt.NDArray[np.uint8]:
    png = explanation_png(
        audio,
        finding,
        origin_of(finding, mark=mark),
        name=name,
        mark=mark,
        root=replace(ROOT, detected=False),
    )
    return np.asarray(mpimg.imread(io.BytesIO(png))[..., :3] * 255 + 0.5, dtype=np.uint8)


def columns(picture: npt.NDArray[np.uint8], color: tuple[int, int, int]) -> npt.NDArray[np.int64]:
    """Where a color stands, from the left."""
    return np.unique(np.flatnonzero((picture == color).all(axis=2)) % picture.shape[1])


def test_the_watermark_lies_on_the_classifiers_axis_of_time() -> None:
    finding = replace(
        HIFIGAN,
        peaks=(),
        segments=tuple(
            Interval(start_seconds=s, end_seconds=s + 4.0, score=0.9) for s in (0.0, 2.0)
        ),
    )

    picture = draw(noise(), finding, mark=HALF_MARKED)

    marked, scored = columns(picture, MARK_COLOR), columns(picture, SCORE_COLOR)
    # 4 of 8 seconds are marked and 6 are scored, from the same left edge.
    assert abs(int(marked[0]) - int(scored[0])) <= 3
    assert np.ptp(marked) / np.ptp(scored) == pytest.approx(4 / 6, abs=0.02)


def test_without_a_mark_none_is_drawn() -> None:
    assert len(columns(draw(noise(), mark=replace(MARK, detected=False)), MARK_COLOR)) == 0


def test_outside_its_domain_no_timeline_is_drawn() -> None:
    finding = replace(
        HIFIGAN,
        verdict=SynthesisVerdict.INCONCLUSIVE,
        abstained=True,
        out_of_domain="unlike it",
        peaks=(),
    )

    assert len(columns(draw(noise(), finding), SCORE_COLOR)) == 0


def test_a_line_that_stands_out_is_marked_at_its_frequency() -> None:
    bare = replace(HIFIGAN, segments=(), combs=())
    low, high = (
        columns(
            draw(noise(), replace(bare, peaks=(replace(HIFIGAN.peaks[0], hz=hz, excess_db=0.5),))),
            SCORE_COLOR,
        )
        for hz in (2756.0, 6000.0)
    )

    # 3244 Hz further on an axis of 7461 Hz that is nearly as wide as the picture.
    assert int(high[0]) - int(low[0]) == pytest.approx(0.87 * 1320 * 3244 / 7461, abs=15)


@pytest.mark.parametrize("seconds", [0.0625, 1.0])
def test_a_sound_too_short_to_measure_still_gets_its_answer(seconds: float) -> None:
    silent = replace(
        HIFIGAN,
        verdict=SynthesisVerdict.INCONCLUSIVE,
        abstained=True,
        reason="too short: 1.0 s, at least 4 s",
        segments=(),
        peaks=(),
        combs=(),
    )

    assert draw(noise(seconds), silent).shape[1] > 1000


def test_a_name_that_is_no_text_for_a_picture_is_drawn_all_the_same() -> None:
    draw(noise(), name="$\\frac{1}{0}$ \u202e\U0001f525 日本\n" + "x" * 300 + ".wav")


def test_the_same_answer_gives_the_same_bytes() -> None:
    first, second = (
        explanation_png(noise(), HIFIGAN, origin_of(HIFIGAN), name="a", mark=None, root=None)
        for _ in range(2)
    )

    assert first == second


def test_a_finding_of_the_judging_room_is_written_and_drawn() -> None:
    audio = noise(12.0)
    finding = judge(audio.waveform, audio.sample_rate, roster=roster())

    written = synthesis_json(finding, origin_of(finding))
    picture = draw(audio, finding)

    assert len(json.dumps(written, allow_nan=False)) < 10_000
    assert len(written["segments"]) == 5
    assert {head["name"] for head in written["heads"]} == {"first", "second", "third"}
    assert picture.shape[1] > 1000
