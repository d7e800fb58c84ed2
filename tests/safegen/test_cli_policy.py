"""``safegen policy``: what it prints and how it exits."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safegen.cli import main
from safegen.policy import RULES, SHIPPED, load, text_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    (tmp_path / "policies").mkdir()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["policy", *arguments])


@pytest.mark.usefixtures("home")
def test_without_a_name_show_lists_what_there_is() -> None:
    rows = [json.loads(line) for line in run("show", "--format", "jsonl").stdout.splitlines()]

    assert [row["name"] for row in rows] == list(SHIPPED)
    assert [row["sha256"] for row in rows] == [load(name).sha256 for name in SHIPPED]


@pytest.mark.usefixtures("home")
def test_show_prints_the_file_and_the_hash() -> None:
    result = run("show", "strict")

    assert result.exit_code == 0
    assert "catalog_match:" in result.stdout
    assert load("strict").sha256 in result.stdout


def test_what_show_prints_of_an_own_policy_can_be_read_again(home: Path) -> None:
    own = home / "policies" / "own.yaml"
    own.write_text(text_of("strict").replace("name: strict", "name: own"))

    printed = home / "printed.yaml"
    printed.write_text(run("show", "own").stdout)

    assert load(str(printed)).sha256 == load(str(own)).sha256


def test_check_names_the_field_that_is_wrong(home: Path) -> None:
    bad = home / "bad.yaml"
    bad.write_text(text_of("strict").replace("name: strict", "name: bad") + "\nwatermark_off: true")

    result = run("check", str(bad))

    assert result.exit_code == 2
    assert "watermark_off" in result.stderr
    assert result.stdout == ""


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", SHIPPED)
def test_explain_says_something_about_every_rule(name: str) -> None:
    lines = run("explain", name, "--format", "jsonl").stdout.splitlines()

    rows = [json.loads(line) for line in lines]
    assert [row["rule"] for row in rows] == [rule.id for rule in RULES]
    assert all(row["consequence"] for row in rows)
    assert {row["check"] for row in rows if row["fixed"]} >= {"watermark", "c2pa", "readback"}


@pytest.mark.usefixtures("home")
def test_diff_prints_each_changed_value_and_exits_3() -> None:
    result = run("diff", "strict", "standard")

    assert result.exit_code == 3
    assert "catalog_match.min_match_seconds: 3.0 -> 5.0" in result.stdout.splitlines()


@pytest.mark.usefixtures("home")
def test_a_policy_does_not_differ_from_itself() -> None:
    result = run("diff", "strict", "strict")

    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", ["show", "check", "explain"])
def test_an_unknown_policy_is_wrong_use(command: str) -> None:
    result = run(command, "nobody")

    assert result.exit_code == 2
    assert "no policy is called 'nobody'" in result.stderr
