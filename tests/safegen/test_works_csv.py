"""Tables of recordings: every wrong cell by its line and column, every good line used."""

import csv
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safegen.declarations import Declaration
from safegen.errors import InputError
from safegen.works_csv import COLUMNS, BadCell, read_csv, template

ROOT = Path(__file__).parents[2]
GOOD = {
    "file": "a.wav",
    "title": "Blue Hour",
    "artist": "Ann",
    "isrc": "gb-aye-06-01498",
    "iswc": "T-034.524.680-1",
    "musicbrainz_id": "9D444787-3f25-4c16-9261-597b9ab021cc",
    "rights_holder": "Acme (60%); Bob (40%)",
    "ipi": "052210040;",
    "isni": "; 0000 0001 2103 2683",
    "holder_territories": "* -US; *",
    "license": "Acme 2026",
    "territories": "DE at",
    "uses": "sample sync",
    "valid_from": "2026-01-01",
    "valid_until": "2027-01-01T12:00+02:00",
    "obligations": "attribution share_alike",
    "attribution": "Blue Hour by Ann",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.wav").touch()
    return tmp_path


def table(folder: Path, *lines: dict[str, str]) -> Path:
    path = folder / "works.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(COLUMNS))
        writer.writeheader()
        writer.writerows(lines)
    return path


def declared(path: Path) -> list[Declaration | BadCell]:
    return list(read_csv(path, defaults={}))


def test_every_column_is_read(folder: Path) -> None:
    (found,) = declared(table(folder, GOOD))

    assert isinstance(found, Declaration)
    acme, bob = found.terms.rights
    license_ = found.terms.license
    assert (found.path, found.source) == (folder / "a.wav", "works.csv:2")
    assert (found.title, found.artist) == ("Blue Hour", "Ann")
    assert (found.isrc, found.iswc) == ("GBAYE0601498", "T0345246801")
    assert found.musicbrainz_id == "9d444787-3f25-4c16-9261-597b9ab021cc"
    assert (acme.rights_holder, acme.share_percent, acme.ipi, acme.isni) == (
        "Acme",
        60.0,
        "00052210040",
        "",
    )
    assert (bob.rights_holder, bob.share_percent, bob.ipi, bob.isni) == (
        "Bob",
        40.0,
        "",
        "0000000121032683",
    )
    assert (acme.territories, bob.territories) == (("*", "-US"), ("*",))
    assert (license_.name, license_.territories) == ("Acme 2026", ("DE", "AT"))
    assert license_.uses == ("sample", "sync")
    assert license_.valid_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert license_.valid_until == datetime(2027, 1, 1, 10, tzinfo=UTC)
    assert license_.obligations == ("attribution", "share_alike")
    assert license_.attribution_text == "Blue Hour by Ann"


WRONG = {
    "file": ("", "is empty"),
    "isrc": ("123", "no ISRC"),
    "iswc": ("T-034.524.680-2", "should be 1"),
    "musicbrainz_id": ("x", "no MusicBrainz id"),
    "rights_holder": ("Acme (60%); Bob (70%)", "add up to 130 percent, limit 100"),
    "ipi": ("1", "1 values stand for 2"),
    "isni": ("0000 0001 2103 2684; ", "should be 3"),
    "holder_territories": ("Mars; *", "'MARS'"),
    "license": ("", "is empty"),
    "territories": ("Mars", "'MARS'"),
    "uses": ("sell", "sell"),
    "valid_from": ("tomorrow", "neither a day nor a time"),
    "valid_until": ("2025-01-01", "before it begins"),
    "obligations": ("kneel", "kneel"),
    "attribution": ("x" * 501, "at most 500"),
}


@pytest.mark.parametrize("column", WRONG)
def test_a_wrong_cell_is_named_by_line_and_column(folder: Path, column: str) -> None:
    cell, words = WRONG[column]
    if column == "rights_holder":
        line = GOOD | {column: cell, "holder_territories": ""}
    else:
        line = GOOD | {column: cell}
    good, bad = declared(table(folder, GOOD, line))

    assert isinstance(good, Declaration)
    assert isinstance(bad, BadCell)
    assert (bad.source, bad.column) == ("works.csv:3", column)
    assert words in bad.problem
    assert str(bad).startswith(f"works.csv:3: {column}: ")


def test_all_wrong_cells_of_a_line_are_named_at_once(folder: Path) -> None:
    line = GOOD | {"isrc": "1", "uses": "sell", "ipi": "1;2", "valid_from": "soon"}
    found = declared(table(folder, line, GOOD))

    assert [each.column for each in found if isinstance(each, BadCell)] == [
        "isrc",
        "ipi",
        "uses",
        "valid_from",
    ]
    assert isinstance(found[-1], Declaration)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ("Acme (60%); Bob", "'Bob' has no share, others have"),
        ("Acme (0%); Bob (1%)", "must be > 0"),
        ("Acme (1000%)", "at most 100"),
        (" (60%); Bob (40%)", "no share|empty"),
    ],
)
def test_shares_that_cannot_be_are_refused(folder: Path, shares: str, words: str) -> None:
    line = GOOD | {"rights_holder": shares, "ipi": "", "isni": "", "holder_territories": ""}
    (bad,) = declared(table(folder, line))

    assert isinstance(bad, BadCell)
    assert bad.column == "rights_holder"
    assert any(word in bad.problem for word in words.split("|"))


def test_a_row_is_named_by_its_first_line_even_after_cells_of_several(folder: Path) -> None:
    path = table(folder, GOOD | {"title": "Blue\nHour"}, GOOD | {"isrc": "1"})
    first, second = declared(path)

    assert isinstance(first, Declaration)
    assert first.title == "Blue Hour"
    assert isinstance(second, BadCell)
    assert second.source == "works.csv:4"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_spellings_of_csv_are_read(
    folder: Path, delimiter: str, encoding: str, newline: str
) -> None:
    lines = ["FILE, title ,rights_holder,license", "a.wav,Ünder,Acme,X", ",,,"]
    path = folder / "works.csv"
    text = newline.join(line.replace(",", delimiter) for line in lines)
    path.write_bytes(text.encode(encoding))
    (found,) = declared(path)

    assert isinstance(found, Declaration)
    assert found.title == "Ünder"


def test_a_cell_in_another_encoding_is_one_bad_cell(folder: Path) -> None:
    path = folder / "works.csv"
    header = b"file,title,rights_holder,license\n"
    path.write_bytes(header + "a.wav,Ünder,Acme,X\n".encode("latin-1") + b"a.wav,b,Acme,X\n")
    bad, good = declared(path)

    assert bad == BadCell(source="works.csv:2", column="title", problem="is not UTF-8 text")
    assert isinstance(good, Declaration)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("file,title\n".encode("utf-16"), "cannot be read as UTF-8"),
        (b"\xff\xfb\x90\x64", "cannot be read as UTF-8"),
        (b"", "no column `file`"),
        (b"file,titel\n", "unknown column 'titel'"),
        (b"file,title,file\n", "appears twice"),
        (b"file\n" + b"x" * (1 << 21), "a line is longer than"),
    ],
)
def test_what_is_no_table_is_refused(folder: Path, data: bytes, words: str) -> None:
    path = folder / "works.csv"
    path.write_bytes(data)

    with pytest.raises(InputError, match=words):
        declared(path)


def test_an_open_quote_costs_the_lines_it_swallows_and_says_so(folder: Path) -> None:
    path = folder / "works.csv"
    path.write_text('file,rights_holder,license\na.wav,Acme,X\na.wav,"Acme,X\na.wav,Acme,X\n')
    good, bad = declared(path)

    assert isinstance(good, Declaration)
    assert isinstance(bad, BadCell)
    assert bad.source == "works.csv:3"
    assert "up to line 4" in bad.problem


def test_the_template_is_a_table_with_every_column(folder: Path) -> None:
    (folder / "works.csv").write_text(template())
    names = next(csv.reader(io.StringIO(template())))
    (found,) = declared(folder / "works.csv")

    assert names == list(COLUMNS)
    assert isinstance(found, BadCell)
    assert (found.column, "no such file" in found.problem) == ("file", True)


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_a_table_or_refused(folder: Path, data: bytes) -> None:
    path = folder / "works.csv"
    path.write_bytes(b"file,title,rights_holder,license,isrc,uses,valid_from\n" + data)
    try:
        found = declared(path)
    except InputError:
        return

    assert all(isinstance(each, Declaration | BadCell) for each in found)


def test_the_manual_lists_the_columns_in_their_order() -> None:
    manual = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
    table = manual.partition("## The table")[2].partition("In `ipi`")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(COLUMNS)
