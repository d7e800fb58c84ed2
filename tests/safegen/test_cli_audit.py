"""``safegen audit``: what it prints and how it exits."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.session import Database
from safegen.cli import main
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from tests.safegen.audit_help import Quote, put_output, put_work
from tests.safegen.screening_help import config_of, open_home


@pytest.fixture
def database(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    opened = open_home(home)
    yield opened
    opened.close()


@pytest.fixture
def record_id(database: Database, home: Path) -> str:
    """An output that quotes one work of Acme, held together with another party."""
    log = open_log(database, KeyStore(config_of(home).keys))
    work = put_work(database, "Acme", title="Song of Songs")
    return put_output(database, log, Quote(work_id=work, holders=("Acme",)))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", *arguments])


def rows(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_matches_are_lines_of_json(record_id: str) -> None:
    result = run("matches", "--rights-holder", "acme", "--format", "jsonl")

    assert result.exit_code == 0, result.output
    assert [row["record_id"] for row in rows(result)] == [record_id]


def test_matches_for_people_say_where_and_that_it_is_proved(record_id: str) -> None:
    result = run("matches", "--rights-holder", "Acme")

    assert record_id in result.stdout
    assert "1.0-7.0 s is 20.0-26.0 s of the work" in result.stdout
    assert "verified against root" in result.stdout


def test_works_name_what_became_of_the_outputs(record_id: str) -> None:
    assert "1 blocked" in run("works").stdout
    assert record_id


def test_a_record_is_printed_whole_with_its_checkpoint(record_id: str) -> None:
    row = rows(run("record", record_id, "--format", "jsonl"))[0]

    assert row["record"]
    assert row["events"] == []
    assert str(row["checkpoint"]).count("\n") >= 4


def test_the_record_of_a_blocked_output_can_be_read_by_people(record_id: str) -> None:
    result = run("record", record_id)

    assert result.exit_code == 0, result.output
    assert "Song of Songs" in result.stdout


@pytest.mark.usefixtures("record_id")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("record", "nothing"), 1),
        (("matches", "--rights-holder", "Nobody"), 1),
        (("matches", "--since", "yesterday"), 2),
        (("matches", "--since", "2026-11-21T12:00"), 2),
        (("matches", "--since", "2026-11-22", "--until", "2026-11-21"), 2),
        (("training", "--work", "nothing"), 1),
        (("export", "--rights-holder", "Acme", "--out", "x.pdf"), 2),
        (("export", "--out", "x.jsonl"), 2),
    ],
    ids=lambda value: value if isinstance(value, int) else " ".join(value),
)
def test_exit_status_of_what_cannot_be_answered(arguments: tuple[str, ...], status: int) -> None:
    result = run(*arguments)

    assert result.exit_code == status, result.output
    assert result.stdout == ""


@pytest.mark.usefixtures("database")
def test_the_window_leaves_out_what_was_made_before(record_id: str) -> None:
    assert record_id in run("matches", "--since", "2026-11-21").stdout
    assert run("matches", "--since", "2026-11-22").stdout == ""


@pytest.mark.usefixtures("record_id")
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_an_export_is_written_once(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"acme.{suffix}"

    first = run("export", "--rights-holder", "Acme", "--out", str(out))
    again = run("export", "--rights-holder", "Acme", "--out", str(out))

    assert (first.exit_code, again.exit_code) == (0, 2)
    assert "Song of Songs" in out.read_text()


def test_broken_evidence_exits_4_and_writes_no_export(
    database: Database, record_id: str, tmp_path: Path
) -> None:
    from sqlalchemy import text

    with database.begin() as session:
        session.execute(text("UPDATE outputs SET record = :new"), {"new": b'{"v":1}'})
    out = tmp_path / "acme.jsonl"

    assert run("matches").exit_code == 4
    assert run("record", record_id).exit_code == 4
    assert run("export", "--rights-holder", "Acme", "--out", str(out)).exit_code == 4
    assert not out.exists()


def test_without_a_manifest_training_says_so_and_exits_1(database: Database) -> None:
    work = put_work(database, "Acme")

    result = run("training", "--work", work, "--model", "procedural", "--format", "jsonl")

    assert result.exit_code == 1
    assert rows(result)[0]["available"] is False
