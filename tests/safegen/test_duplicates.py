"""Versions of one recording are found, told apart from samples, and laid out safely."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from registry.catalog import RightRow, WorkRow
from registry.schema import open_database
from registry.session import Database
from safegen.audio import Waveform
from safegen.cli import main
from safegen.duplicates import Duplicate, Relation, families, find_duplicates
from safegen.duplicates_report import html, table
from tests.safegen.conftest import tones

RATE = 11_025
NOW = datetime(2026, 3, 1, tzinfo=UTC)

Run = Callable[..., Result]


def sound(seed: int, seconds: float) -> Waveform:
    return tones(seed, seconds=seconds, sample_rate=RATE).mono()


@pytest.fixture(scope="module")
def state(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[tuple[Path, Path]]:
    """A catalog of a song, its remaster, its radio edit, a medley that quotes it, and others."""
    home, music = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("music")
    shutil.copy(sqlite_template, home / "safegen.db")
    song = sound(1, 40.0)
    rng = np.random.default_rng(5)
    files = {
        "song": song,
        "remaster": 0.6 * song + 0.002 * rng.standard_normal(len(song)),
        "radio edit": song[4 * RATE : 28 * RATE],
        "medley": np.concatenate([sound(2, 20.0), song[10 * RATE : 22 * RATE], sound(3, 20.0)]),
        "other": sound(4, 30.0),
    }
    for name, samples in files.items():
        soundfile.write(music / f"{name}.wav", samples, RATE)
    patch = pytest.MonkeyPatch()
    patch.setenv("SAFEGEN_HOME", str(home))
    patch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    for name in files:
        holder = "Bob" if name == "remaster" else "Acme"
        words = ["catalog", "add", str(music / f"{name}.wav"), "--rights-holder", holder]
        added = CliRunner().invoke(main, [*words, "--license", "X"])
        assert added.exit_code == 0, added.output
    yield home, music
    patch.undo()


@pytest.fixture(scope="module")
def database(state: tuple[Path, Path]) -> Iterator[Database]:
    with open_database(f"sqlite:///{state[0] / 'safegen.db'}") as opened:
        yield opened


@pytest.fixture(scope="module")
def pairs(database: Database) -> tuple[Duplicate, ...]:
    return tuple(pair for compared in find_duplicates(database) for pair in compared.duplicates)


def named(pair: Duplicate) -> frozenset[str]:
    return frozenset((pair.work.title, pair.other.title))


def test_versions_are_told_apart_from_quotations(pairs: tuple[Duplicate, ...]) -> None:
    found = {named(pair): pair.relation for pair in pairs}

    assert found[frozenset(("song", "remaster"))] == "same"
    assert found[frozenset(("song", "radio edit"))] == "contains"
    assert found[frozenset(("remaster", "radio edit"))] == "contains"
    assert found[frozenset(("song", "medley"))] == "shares"
    assert not any("other" in names and found[names] != "shares" for names in found)


def test_a_pair_is_told_once_with_the_seconds_shared(pairs: tuple[Duplicate, ...]) -> None:
    seconds = {named(pair): pair.shared_seconds for pair in pairs}

    assert len(seconds) == len(pairs)
    assert seconds[frozenset(("song", "remaster"))] == pytest.approx(40.0, abs=1.5)
    # Rows of tones have more in common than music has, so this has no upper end.
    assert seconds[frozenset(("song", "medley"))] > 10.0


def test_versions_make_a_family_and_a_medley_stays_out(pairs: tuple[Duplicate, ...]) -> None:
    (family,) = families(pairs)

    assert [work.title for work in family.works][-1] == "radio edit"
    assert {work.title for work in family.works} == {"song", "remaster", "radio edit"}
    assert family.is_disputed


def test_an_empty_catalog_has_no_duplicates(sqlite_database: Database) -> None:
    assert list(find_duplicates(sqlite_database)) == []


def work(number: int, *, title: str = "work", holder: str = "Acme") -> WorkRow:
    right = RightRow(
        rights_holder_id=holder,
        rights_holder=holder,
        share_percent=100.0,
        valid_from=NOW,
        valid_until=None,
        recorded_at=NOW,
    )
    return WorkRow(
        work_id=f"{number:08d}",
        title=title,
        artist="",
        isrc="",
        iswc="",
        seconds=100.0 + number,
        content_sha256="",
        source_name="",
        added_at=NOW,
        removed_at=None,
        rights=(right,),
        licenses=(),
    )


def pair(one: WorkRow, other: WorkRow, relation: Relation = "same") -> Duplicate:
    return Duplicate(work=one, other=other, shared_seconds=90.0, score=0.9, relation=relation)


def test_families_are_joined_through_others_whatever_the_order() -> None:
    works = [work(number) for number in range(6)]
    links = [pair(works[0], works[3]), pair(works[1], works[4]), pair(works[3], works[4])]
    for some in (links, links[::-1]):
        found = families([*some, pair(works[2], works[5]), pair(works[4], works[5], "shares")])

        assert [[each.work_id[-1] for each in family.works] for family in found] == [
            ["4", "3", "1", "0"],
            ["5", "2"],
        ]


def test_a_title_cannot_write_into_the_reports() -> None:
    hostile = work(1, title="<script>alert(1)</script>", holder='=HYPERLINK("x")')
    found = [pair(hostile, work(2)), pair(hostile, work(3), "shares")]
    page = html(found, works=3, at=NOW)
    cells = list(csv.DictReader(io.StringIO(table(found))))

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "claimed by different rights-holders" in page
    assert cells[0]["rights_holder"] == '\'=HYPERLINK("x")'
    assert [row["family"] for row in cells] == ["1", ""]
    assert [row["disputed"] for row in cells] == ["yes", "yes"]


def test_same_holders_are_no_dispute() -> None:
    assert "claimed by" not in html([pair(work(1), work(2))], works=2, at=NOW)
    assert not replace(pair(work(1), work(2)), relation="contains").is_disputed


@pytest.mark.parametrize("suffix", ["html", "csv"])
def test_the_command_writes_a_report(state: tuple[Path, Path], tmp_path: Path, suffix: str) -> None:
    report = tmp_path / f"duplicates.{suffix}"
    words = ["catalog", "dedupe", "--report", str(report)]
    first = CliRunner().invoke(main, [*words, "--format", "jsonl"])
    second = CliRunner().invoke(main, words)

    assert first.exit_code == 0, first.output
    assert all(json.loads(line)["relation"] for line in first.stdout.splitlines())
    assert "radio edit" in report.read_text()
    assert (second.exit_code, "exists already" in second.stderr) == (2, True)


def test_a_report_of_another_kind_is_refused(state: tuple[Path, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["catalog", "dedupe", "--report", str(tmp_path / "a.pdf")])

    assert result.exit_code == 2
    assert ".html or .csv" in result.stderr
