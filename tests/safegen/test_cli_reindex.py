"""``safegen catalog reindex`` and the doctor's line about the index."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from registry import schema
from registry.catalog import add_work
from registry.index_folder import MANIFEST
from safegen.cli import main
from safegen.config import Config, from_environment
from tests.registry.samples import NOON, a_work


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Give an installation with three works."""
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    config = from_environment({"SAFEGEN_HOME": str(tmp_path)})
    schema.upgrade(config.database_url)
    with schema.open_database(config.database_url) as database, database.begin() as session:
        for number in range(3):
            items = np.arange(number, number + 50, dtype="<u4").tobytes()
            add_work(session, a_work(number, items=items), at=NOON)
    return config


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["catalog", "reindex", *arguments])


def doctor() -> dict[str, object]:
    lines = CliRunner().invoke(main, ["doctor", "--format", "jsonl"]).stdout.splitlines()
    (row,) = (row for row in map(json.loads, lines) if row["name"] == "index")
    return dict(row)


def test_every_engine_is_indexed_and_the_doctor_says_so(home: Config) -> None:
    before = doctor()
    result = run("--format", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]

    assert result.exit_code == 0, result.output
    assert [(row["engine"], row["works"]) for row in rows] == [
        ("chromaprint", 3),
        ("landmarks", 0),
        ("chroma", 0),
    ]
    assert (home.index / "chromaprint" / MANIFEST).is_file()
    assert before["ok"] is True
    assert "chromaprint none on disk" in str(before["found"])
    assert "chromaprint 3 works" in str(doctor()["found"])


def test_one_engine_can_be_named(home: Config) -> None:
    result = run("--engine", "chromaprint")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("chromaprint: 3 works")
    assert not (home.index / "landmarks").exists()


def test_an_unknown_engine_is_wrong_use(home: Config) -> None:
    result = run("--engine", "ear")

    assert result.exit_code == 2
    assert "Known are chromaprint" in result.stderr


def test_the_doctor_finds_damage_and_reindex_mends_it(home: Config) -> None:
    run()
    (path,) = (home.index / "chromaprint").glob("*.segment")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = doctor()

    assert found["ok"] is False
    assert "catalog reindex" in str(found["remedy"])
    assert run().exit_code == 0
    assert doctor()["ok"] is True


def test_a_folder_that_cannot_be_written_is_named(home: Config) -> None:
    home.index.write_text("in the way")
    result = run()

    assert result.exit_code == 1
    assert str(home.index) in result.stderr
