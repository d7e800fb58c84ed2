"""`catalog reassign`, `catalog show --as-of`, `catalog rescan` and `audit --as-of`."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from detectors.base import WatermarkFinding
from detectors.decoder_mark import DecoderMarkFinding
from registry import catalog
from registry.session import Database
from safegen.audio import save
from safegen.cli import main
from safegen.listening import listen_here
from tests.safegen.conftest import tones
from tests.safegen.screening_help import NOON, add_work, ears_of, open_home, screener_of

Run = Callable[..., Result]
UNMARKED = WatermarkFinding(
    detected=False, payload=None, p_value=1.0, z=0.0, key_id="", intervals=()
)
ROOTLESS = DecoderMarkFinding(
    detected=False, p_value=1.0, score=0.0, speed=1.0, semitones=0.0, intervals=()
)


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def database(home: Path) -> Database:
    return open_home(home)


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def put(database: Database, *, at: datetime = NOON, uses: tuple[str, ...] = ()) -> str:
    return add_work(
        database, tones(5, seconds=20), title="Song", holders=("Acme",), uses=uses, at=at
    )


def screened(home: Path, database: Database, folder: Path) -> None:
    path = folder / "upload.flac"
    save(tones(5, seconds=20).cut(4.0, 16.0), path)
    ears = replace(ears_of(home, database), detect=lambda _: UNMARKED, hear_root=lambda _: ROOTLESS)
    list(
        screener_of(home, database).screen(
            [path], lambda todo: listen_here(todo, ears, with_picture=False), resume=False
        )
    )


def test_a_work_is_shown_as_it_was(run: Run, database: Database) -> None:
    work = put(database, at=NOON, uses=("sample",))
    with database.begin() as session:
        catalog.remove_work(session, work, at=NOON + timedelta(days=2))
    relicensed = NOON + timedelta(days=1)
    with database.begin() as session:
        catalog.relicense(session, work, (), at=relicensed)

    def shown(*words: str) -> dict[str, Any]:
        return rows(run("catalog", "show", work, *words, "--format", "jsonl"))[0]

    before, after = shown("--as-of", "2026-11-22"), shown("--as-of", "2026-11-23T12:00Z")
    assert (before["removed_at"], len(before["licenses_in_force"])) == (None, 1)
    assert after["removed_at"] == "2026-11-23T12:00:00Z"
    assert after["licenses_in_force"] == []
    assert before["as_of"] == "2026-11-22T00:00:00Z"
    assert (
        "in force Test license at" in run("catalog", "show", work, "--as-of", "2026-11-22").stdout
    )


@pytest.mark.parametrize(
    ("moment", "status", "words"),
    [
        ("2026-11-20", 1, "not in the catalog on 2026-11-20"),
        ("yesterday", 2, "neither a day nor a time"),
        ("2026-11-22T10:00", 2, "no time zone"),
    ],
)
def test_a_moment_without_an_answer_is_named(
    run: Run, database: Database, moment: str, status: int, words: str
) -> None:
    result = run("catalog", "show", put(database), "--as-of", moment)

    assert result.exit_code == status
    assert words in result.stderr


def test_shares_are_reassigned_and_the_earlier_ones_still_shown(
    run: Run, database: Database
) -> None:
    work = put(database, at=datetime.fromisoformat("2020-01-01T00:00Z"))

    result = run("catalog", "reassign", work, "--rights-holder", "Bob (70%); Cleo (30%)")

    assert result.exit_code == 0, result.output
    now = rows(run("catalog", "show", work, "--format", "jsonl"))[0]
    then = rows(run("catalog", "show", work, "--as-of", "2020-06-01", "--format", "jsonl"))[0]
    assert now["rights_holder"] == "Bob, Cleo"
    assert then["rights_holder"] == "Acme"
    too_much = run("catalog", "reassign", work, "--rights-holder", "Bob (70%); Cleo (40%)")
    assert too_much.exit_code == 1
    assert "at most 100 percent, not 110" in too_much.stderr


def test_a_past_upload_is_found_told_and_dated(
    run: Run, home: Path, database: Database, tmp_path: Path
) -> None:
    screened(home, database, tmp_path)
    work = put(database)

    first = run("catalog", "rescan", "--format", "jsonl")
    again = run("catalog", "rescan")

    assert first.exit_code == 3, first.output
    (found,) = rows(first)
    assert (found["kind"], found["work_id"]) == ("screening", work)
    assert found["matches"][0]["status"] == "unlicensed"
    assert "1 quote later works, 1 without a license" in first.stderr
    assert (again.exit_code, again.stdout) == (0, "")
    (told,) = rows(run("audit", "matches", "--format", "jsonl"))
    assert told["matches"][0]["rescan"]["log"]["index"] == found["log"]["index"]
    assert f"found later, entry {found['log']['index']}" in run("audit", "matches").stdout
    assert run("audit", "matches", "--as-of", "2026-11-21T12:00Z").stdout == ""
    assert "then      rescan" in run("audit", "record", found["record_id"]).stdout
    assert run("log", "verify").exit_code == 0


def test_a_licensed_finding_is_no_reason_to_worry(
    run: Run, home: Path, database: Database, tmp_path: Path
) -> None:
    screened(home, database, tmp_path)
    put(database, uses=("sample",))

    result = run("catalog", "rescan", "--quiet")

    assert (result.exit_code, result.stderr) == (0, "")
    assert "licensed" in result.stdout
