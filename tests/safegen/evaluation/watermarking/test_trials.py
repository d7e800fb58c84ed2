"""Trials are kept once, cut into tasks without gaps, and belong to one version of the code."""

from pathlib import Path

import pytest

from detectors.base import Interval
from safegen.evaluation.watermarking import trials
from safegen.evaluation.watermarking.clips import ClipSpec
from safegen.evaluation.watermarking.markers import Heard, Keyed, Perth, payload_of, rivals
from safegen.evaluation.watermarking.staged import STAGED
from safegen.evaluation.watermarking.trials import (
    PRICE,
    VISQOL,
    Row,
    State,
    code_version,
    overlap,
    perform,
    run,
    tasks,
    trial_name,
)

SPECS = tuple(
    ClipSpec(name=f"{name} {seed}", kind="effects", source=name, files=(), number=seed)
    for seed, name in enumerate(("rain", "wind", "surf"))
)
KEYED = Keyed(strength=0.3)


def heard(*intervals: tuple[float, float]) -> Heard:
    return Heard(
        detected=True,
        payload=1,
        p_value=1e-9,
        score=9.0,
        intervals=tuple(
            Interval(start_seconds=start, end_seconds=end, score=9.0) for start, end in intervals
        ),
    )


def cut(done: dict[str, Row], attacks: tuple[str, ...], *, visqol_clips: int = 1) -> list[object]:
    """Name every trial of every task."""
    found = tasks(
        SPECS,
        [(KEYED, 3, attacks), (Perth(), 1, attacks)],
        done,
        visqol_clips=visqol_clips,
        encodec_folder=None,
    )
    return [
        trial_name(marker, name, SPECS[task.place])
        for task in found
        for marker, names in task.wanted
        for name in names
    ]


def test_finished_trials_are_kept_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "eval" / "state.jsonl"
    State(path, "v1").add({"trial": "one", "exact": 1})
    with path.open("a") as file:
        file.write('{"version": "v1", "tri')

    torn = State(path, "v1")
    torn.add({"trial": "two", "exact": 0})

    assert list(State(path, "v1").rows) == ["one", "two"]
    assert State(path, "v2").rows == {}


def test_every_trial_is_in_one_task_and_rivals_hear_fewer_clips() -> None:
    names = cut({}, ("clean", "mp3-64k", "collude-2"))

    # Three clips with a price and three attacks; Perth one, without collusion; one ViSQOL each.
    assert len(names) == len(set(names)) == 3 * 4 + 3 + 2


def test_what_is_done_is_not_done_again() -> None:
    done = trial_name(KEYED, "clean", SPECS[1])

    names = cut({done: {}}, ("clean",))

    assert done not in names
    assert trial_name(KEYED, "clean", SPECS[0]) in names


def test_the_version_changes_with_the_settings_and_with_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_version(0.3)
    followed = {
        path.name
        for path in trials._detector_files(Path(trials.__file__).parents[2] / "watermark.py")
    }

    assert code_version(0.3) == before
    assert code_version(0.2) != before
    assert {"watermark.py", "tiles.py", "mark_search.py"} <= followed
    monkeypatch.setattr(trials, "_detector_files", lambda start: [])
    assert code_version(0.3) != before


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(4.0, 8.0)], 1.0),
        ([(4.0, 6.0), (6.0, 8.0)], 1.0),
        ([(4.0, 7.0), (5.0, 8.0)], 1.0),
        ([(2.0, 6.0)], 2 / 6),
        ([(0.0, 12.0)], 1 / 3),
        ([(9.0, 12.0)], 0.0),
        ([], 0.0),
    ],
    ids=["exact", "halves", "overlapping", "early", "everything", "elsewhere", "nothing"],
)
def test_overlap_is_intersection_over_union(
    intervals: list[tuple[float, float]], expected: float
) -> None:
    assert overlap(heard(*intervals), start_seconds=4.0, end_seconds=8.0) == pytest.approx(expected)


def test_ids_differ_and_fit_64_bits() -> None:
    ids = {payload_of(number) for number in range(-1, 300)}

    assert len(ids) == 301
    assert all(0 <= one < 2**64 for one in ids)


def test_a_task_measures_marked_and_unmarked_alike() -> None:
    task = trials.Task(
        specs=SPECS, place=0, wanted=((KEYED, (PRICE, "clean", "music-10db", "babble-20db")),)
    )

    price, clean, music, babble = perform(task)

    assert 5 < float(price["snr_db"] or 0) < 60
    assert {"embed", "plain", "search"} <= set(price)
    for row in (clean, music, babble):
        assert (row["detected"], row["exact"], row["wrong"], row["false"]) == (1, 1, 0, 0)


@pytest.mark.parametrize("name", sorted(STAGED))
def test_an_attacker_who_knows_more_can_be_staged_on_few_clips(name: str) -> None:
    task = trials.Task(specs=SPECS, place=1, wanted=((KEYED, (name,)),))

    (row,) = perform(task)

    assert row["detected"] in (0, 1)
    assert ("false" in row) == STAGED[name].has_negative
    if name in ("overwrite", "subtract"):
        # Without the key, another mark neither hides ours nor takes it off.
        assert (row["detected"], row["false"]) == (1, 0)


def test_one_process_gives_what_two_give() -> None:
    wanted = list(
        tasks(SPECS[:2], [(KEYED, 2, ("clean",))], {}, visqol_clips=0, encodec_folder=None)
    )

    def found(jobs: int) -> list[tuple[object, ...]]:
        rows = [row for part in run(wanted, jobs=jobs) for row in part]
        return sorted((str(row["trial"]), str(row.get("score"))) for row in rows)

    assert found(1) == found(2)


def test_rivals_that_are_missing_are_said_to_be(tmp_path: Path) -> None:
    found, missing = rivals(tmp_path)

    assert [marker.name for marker in found] == ["perth"]
    assert len(missing) == 1
    assert "models pull audioseal" in missing[0]


def test_visqol_is_no_attack() -> None:
    assert VISQOL not in STAGED
