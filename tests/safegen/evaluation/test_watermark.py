"""The benchmark says what failed, and goes on where it stopped."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from safegen.cli import main
from safegen.evaluation.watermark import State, summarize


def trial(attack: str, kind: str, number: int, *, exact: int) -> dict[str, float | str]:
    return {
        "trial": f"{attack} {kind} {number}",
        "attack": attack,
        "kind": kind,
        "exact": exact,
        "detected": 1,
        "wrong": 0,
    }


def price(number: int, *, pesq: float) -> dict[str, float | str]:
    return {
        "trial": f"price speech {number}",
        "kind": "speech",
        "pesq": pesq,
        "snr_db": 20.0,
        "embed": 0.001,
        "detect": 0.002,
    }


def test_a_report_of_reached_promises_names_no_failure() -> None:
    rows = [trial("clean", "speech", number, exact=1) for number in range(20)]
    rows += [price(1, pesq=4.5), {"trial": "unmarked x 0", "detected": 0, "id": 0, "p": 0.4}]

    report = summarize(rows, strength=0.2)

    assert report["failed"] == []


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (trial("mp3-64k", "music", 1, exact=0), "mp3-64k"),
        (price(2, pesq=1.2), "PESQ"),
        ({"trial": "unmarked x 1", "detected": 1, "id": 1, "p": 1e-9}, "false ids"),
    ],
    ids=["a lost id", "a loud mark", "a false id"],
)
def test_a_broken_promise_is_named(row: dict[str, float | str], word: str) -> None:
    rows = [trial("clean", "speech", number, exact=1) for number in range(20)]
    rows += [price(1, pesq=4.5), row]

    failed = summarize(rows, strength=0.2)["failed"]

    assert isinstance(failed, list)
    assert len(failed) == 1
    assert word in failed[0]


def test_a_lost_id_in_a_row_without_a_promise_fails_nothing() -> None:
    report = summarize([trial("opus-16k", "music", 1, exact=0)], strength=0.2)

    assert report["failed"] == []


def test_finished_trials_are_kept_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "eval" / "state.jsonl"
    State(path, "v1").add("clean speech 1", exact=1)
    with path.open("a") as file:
        file.write('{"version": "v1", "tri')

    assert list(State(path, "v1").rows) == ["clean speech 1"]
    assert State(path, "v2").rows == {}


def test_a_folder_without_audio_says_how_to_fetch_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["eval", "watermark", "--assets", str(tmp_path)])

    assert result.exit_code == 2
    assert "safegen eval assets" in result.stderr
