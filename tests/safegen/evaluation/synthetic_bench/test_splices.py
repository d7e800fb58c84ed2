from dataclasses import replace

import numpy as np
import pytest

from detectors.base import Interval
from detectors.synthetic.finding import SynthesisVerdict as V
from safegen.audio import Audio
from safegen.evaluation.metrics import wilson
from safegen.evaluation.synthetic_bench import splices
from safegen.evaluation.synthetic_bench.heard import Clip, Judgement
from tests.safegen.evaluation.synthetic_bench.rosters import judgement

RATE = 1000


def _clips() -> list[Clip]:
    """Real clips are zeros, copies are ones."""
    out = []
    for generator, level, count in (("", 0.0, 6), ("first", 1.0, 3)):
        for number in range(count):
            audio = Audio(
                waveform=np.full((1, 4 * RATE), level, dtype=np.float32), sample_rate=RATE
            )
            out.append(
                Clip(
                    key=f"held/{generator or 'real'}/a-{number:03d}.flac 77",
                    kind="speech",
                    generator=generator,
                    family="",
                    source="a",
                    make=lambda audio=audio: audio,  # type: ignore[misc]
                )
            )
    return out


@pytest.fixture(scope="module")
def planned() -> list[splices.Splice]:
    return list(splices.plan(_clips(), count=6, seed=3))


def test_every_length_gets_its_inserts(planned: list[splices.Splice]) -> None:
    counts = {s: sum(each.seconds == s for each in planned) for s in splices.LENGTHS}

    assert counts == dict.fromkeys(splices.LENGTHS, 6)
    assert len({each.clip.key for each in planned}) == len(planned)


def test_the_insert_is_where_the_plan_says_and_nowhere_else(
    planned: list[splices.Splice],
) -> None:
    for each in planned:
        sound = each.clip.make().mono()

        assert len(sound) == splices.SECONDS * RATE
        copied = np.flatnonzero(sound > 0.5) / RATE
        assert copied.min() == pytest.approx(each.start, abs=0.03)
        assert copied.max() == pytest.approx(each.start + each.seconds, abs=0.03)


def test_inserts_start_anywhere_on_the_grid_of_windows(planned: list[splices.Splice]) -> None:
    offsets = np.array([each.start % 2.0 for each in planned])

    assert offsets.std() > 0.4


def test_without_five_real_clips_of_a_speaker_nothing_is_planned() -> None:
    few = [clip for clip in _clips() if clip.generator or clip.key < "held/real/a-003"]

    assert list(splices.plan(few, count=2, seed=0)) == []


def _heard(splice: splices.Splice, scores: list[float]) -> Judgement:
    said = judgement(V.INCONCLUSIVE, generator="first", seconds=splices.SECONDS)
    windows = tuple(
        Interval(start_seconds=2.0 * i, end_seconds=2.0 * i + 4.0, score=score)
        for i, score in enumerate(scores)
    )
    return replace(said, finding=replace(said.finding, segments=windows))


def test_a_timeline_that_rises_at_the_insert_locates_it() -> None:
    splice = splices.Splice(clip=_clips()[-1], start=6.2, seconds=4.0)
    right = _heard(splice, [0.1, 0.1, 0.5, 0.9, 0.5, 0.1, 0.1])
    wrong = _heard(splice, [0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])

    found = splices.rows([(splice, right), (splice, wrong)])

    assert [row.generator for row in found] == ["first", "all"]
    assert (found[0].located.hits, found[0].located.n) == (1, 2)


def test_windows_that_hold_less_than_half_of_the_insert_count_for_neither_side() -> None:
    splice = splices.Splice(clip=_clips()[-1], start=7.9, seconds=4.0)
    # Holds: 0.1 s, 2.1 s, all but 0.1 s, 1.9 s of the insert; the others nothing.
    said = _heard(splice, [0.0, 0.0, 0.9, 0.6, 0.6, 0.9, 0.0])

    (row, _) = splices.rows([(splice, said)])

    assert row.auc == pytest.approx(1.0)


def test_the_resolution_is_the_shortest_insert_from_which_on_all_are_found() -> None:
    rows = [
        splices.SpliceRow(
            generator="all",
            seconds=seconds,
            auc=auc,
            located=wilson(1, 1),
            sounds=1,
        )
        for seconds, auc in ((1.0, 0.9), (2.0, 0.8), (3.0, 0.86), (4.0, 0.9))
    ]

    assert splices.resolution(rows) == 3.0
    assert splices.resolution(rows[:2]) is None
