"""Seconds are counted as Pex's toolkit counts them: the three examples of its README.

Where its README and its code differ, the code's numbers stand here: it also calls the two
seconds unknown by which the first example's query and reference differ, and counts a match
with another work in seconds of that work (15), not of the query (18).
"""

import csv
from pathlib import Path

import pytest

from safegen.evaluation.matching_bench.segments import (
    ANNOTATION_COLUMNS,
    MATCH_COLUMNS,
    Seconds,
    Segment,
    boundary_errors,
    pack,
    score,
    unpack,
    write_csv,
)


def segment(
    query: tuple[float, float],
    reference: tuple[float, float],
    *,
    of: str = "R",
    tempo: float = 1.0,
    treatment: str = "",
) -> Segment:
    return Segment(
        query="Q",
        reference=of,
        query_begin=query[0],
        query_end=query[1],
        reference_begin=reference[0],
        reference_end=reference[1],
        tempo=tempo,
        treatment=treatment,
    )


ASKED = segment((20, 45), (15, 40))


@pytest.mark.parametrize(
    ("matched", "expected"),
    [
        ([segment((33, 51), (30, 45))], Seconds(true=10, unknown=2, false=6, missed=15)),
        ([segment((33, 51), (30, 45), of="R2")], Seconds(false=15, missed=25)),
        ([segment((33, 51), (50, 65))], Seconds(unknown=12, false=6, missed=25)),
        ([], Seconds(missed=25)),
        ([ASKED], Seconds(true=25)),
    ],
    ids=["the ends are off", "another work", "a refrain", "nothing", "exactly"],
)
def test_the_examples_of_the_toolkit(matched: list[Segment], expected: Seconds) -> None:
    assert score([ASKED], matched) == expected


def test_a_stretch_found_in_two_pieces_is_counted_once() -> None:
    pieces = [segment((20, 35), (15, 30)), segment((30, 45), (25, 40))]

    assert score([ASKED], pieces) == Seconds(true=25)


def test_tempo_is_taken_out_before_counting() -> None:
    fast = segment((0, 10), (0, 20), tempo=2.0)

    assert score([fast], [fast]) == Seconds(true=20)
    assert score([fast], [segment((0, 5), (0, 10), tempo=2.0)]) == Seconds(true=10, missed=10)


def test_precision_weighs_nine_times_as_much_as_recall() -> None:
    half_found = Seconds(true=10, missed=10)
    half_wrong = Seconds(true=10, false=10)

    assert half_found.f_score == pytest.approx(10 / 11)
    assert half_wrong.f_score == pytest.approx(10 / 19)
    assert Seconds(missed=5).f_score == 0.0


def test_boundaries_are_those_of_all_matches_of_the_stretch_together() -> None:
    pieces = [segment((20.5, 30), (15, 25)), segment((30, 44), (25, 39))]

    assert boundary_errors([ASKED], pieces) == [0.5, 1.0]
    assert boundary_errors([ASKED], [segment((50, 60), (15, 25))]) == []
    assert boundary_errors([ASKED], [segment((20, 45), (15, 40), of="R2")]) == []


def test_files_have_the_toolkits_columns_and_whole_seconds(tmp_path: Path) -> None:
    one = segment((1.6, 9.4), (0.2, 8.2), tempo=1.02, treatment="noise-10db")
    write_csv(
        tmp_path / "a.csv", [one], ANNOTATION_COLUMNS, facts={"noise-10db": {"noise_snr": "10"}}
    )
    write_csv(tmp_path / "m.csv", [one], MATCH_COLUMNS)

    with (tmp_path / "a.csv").open(newline="") as file:
        (annotation,) = csv.DictReader(file)
    assert (annotation["query_begin"], annotation["query_end"]) == ("2", "9")
    assert annotation["tempo"] == "102"
    assert annotation["noise_snr"] == "10"
    assert annotation["pitch"] == ""
    with (tmp_path / "m.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(MATCH_COLUMNS)


def test_segments_come_back_from_a_state_file_as_they_were() -> None:
    found = [segment((1.25, 2.5), (3, 4), tempo=0.98, treatment="clean")]

    assert unpack(pack(found)) == found
