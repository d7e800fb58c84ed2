"""``safegen keys``: what it prints, what it never prints, and its exit status."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry import schema
from safegen.cli import main
from safegen.config import from_environment
from safegen.provenance.keys import KeyStore
from tests.safegen.provenance.test_keys import secrets_of


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that does not exist yet."""
    home = tmp_path / "home"
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    return home


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


def test_init_lists_what_it_made_and_shows_no_secret(empty_home: Path) -> None:
    result = run("init", "--organization", "Example Audio", "--format", "jsonl")
    made = [json.loads(line) for line in result.stdout.splitlines()]

    assert result.exit_code == 0, result.output
    assert [row["kind"] for row in made] == ["watermark", "commitment", "log", "ca", "c2pa"]
    assert f"Back up {empty_home / 'keys'}" in result.stderr


def test_init_twice_is_wrong_use_and_changes_nothing(empty_home: Path) -> None:
    run("init")
    before = sorted(secrets_of(empty_home / "keys"))
    result = run("init")

    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert sorted(secrets_of(empty_home / "keys")) == before


@pytest.mark.parametrize("name", ["", "  ", "x" * 65])
def test_an_organization_needs_a_name(empty_home: Path, name: str) -> None:
    assert run("init", "--organization", name).exit_code == 2
    assert not empty_home.exists()


def test_list_ends_the_logs_line_in_its_public_key(empty_home: Path) -> None:
    run("init")
    result = run("list")
    line = next(line for line in result.stdout.splitlines() if line.startswith("log-0001"))

    assert result.exit_code == 0
    assert line.split()[-1].startswith("safegen/")


@pytest.mark.parametrize(
    ("fault", "problem"),
    [("missing", "no keys yet"), ("readable by the group", "mode 0750")],
)
def test_keys_that_cannot_be_used_are_a_failure(empty_home: Path, fault: str, problem: str) -> None:
    if fault != "missing":
        run("init")
        (empty_home / "keys").chmod(0o750)
    result = run("list")

    assert result.exit_code == 1
    assert problem in result.stderr


@pytest.mark.parametrize("kind", ["watermark", "log", "c2pa"])
def test_a_rotation_is_logged_and_the_log_still_verifies(empty_home: Path, kind: str) -> None:
    run("init")
    schema.upgrade(from_environment({"SAFEGEN_HOME": str(empty_home)}).database_url)
    first = run("rotate", kind)
    second = run("rotate", kind, "--format", "jsonl")
    row = json.loads(second.stdout)
    entry = json.loads(CliRunner().invoke(main, ["log", "prove", "1", "--format", "jsonl"]).stdout)[
        "entry"
    ]
    verified = CliRunner().invoke(main, ["log", "verify"])

    assert (first.exit_code, second.exit_code, verified.exit_code) == (0, 0, 0)
    assert (row["kind"], row["epoch"], row["current"]) == (kind, 3, True)
    assert entry["type"] == "key-rotated"
    assert (entry["kind"], entry["key_id"]) == (kind, row["key_id"])


def test_the_old_log_key_signs_for_the_new_one(empty_home: Path) -> None:
    run("init")
    schema.upgrade(from_environment({"SAFEGEN_HOME": str(empty_home)}).database_url)
    old = empty_home / "old.txt"
    old.write_text(KeyStore(empty_home / "keys").log_public_key())
    run("rotate", "log")
    alone = CliRunner().invoke(main, ["log", "verify", "--public-key", str(old)])

    assert alone.exit_code == 0, alone.output


def test_without_a_database_nothing_is_rotated(empty_home: Path) -> None:
    run("init")
    result = run("rotate", "log")

    assert result.exit_code == 1
    assert "safegen db upgrade" in result.stderr
    assert len(list((empty_home / "keys").glob("log-*.json"))) == 1


def test_other_kinds_cannot_be_rotated(empty_home: Path) -> None:
    run("init")

    assert run("rotate", "commitment").exit_code == 2
    assert run("rotate", "ca").exit_code == 2


def test_nothing_ever_printed_holds_a_secret(
    empty_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    outputs = [run("init"), run("init"), run("list"), run("list", "--format", "jsonl")]
    schema.upgrade(from_environment({"SAFEGEN_HOME": str(empty_home)}).database_url)
    outputs += [run("rotate", kind) for kind in ("watermark", "log", "c2pa")]
    (empty_home / "keys" / "log-0001.json").chmod(0o644)
    outputs += [run("list")]
    shown = "".join(result.output for result in outputs) + caplog.text

    assert len(secrets_of(empty_home / "keys")) > 10
    for secret in secrets_of(empty_home / "keys"):
        assert secret not in shown
