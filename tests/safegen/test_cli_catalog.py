"""`safegen catalog` and `safegen db`, from the arguments to the rows and the exit status."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from safegen.catalog import Heard
from safegen.cli import main
from safegen.matching import INDEXES

ASSETS = Path(__file__).resolve().parent.parent / "assets"
RATE = 11_025
TERMS = ["--rights-holder", "Acme", "--license", "CC0-1.0"]

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on an up-to-date, empty registry."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copy(sqlite_template, home / "safegen.db")
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)

    def invoke(*words: str | Path, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words], input=stdin)

    return invoke


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A folder with three recordings, one of them in a folder below."""
    folder = tmp_path / "music"
    (folder / "more").mkdir(parents=True)
    shutil.copy(ASSETS / "guitar.ogg", folder / "guitar.ogg")
    shutil.copy(ASSETS / "tabla.ogg", folder / "more" / "tabla.ogg")
    tagged(folder / "tagged.flac", seed=1, title="Blue  Hour", artist="Ann", isrc="gb-aye-06-01498")
    return folder


def tagged(path: Path, *, seed: int, title: str = "", artist: str = "", isrc: str = "") -> None:
    """Write 4 s of noise with Vorbis comments."""
    noise = np.random.default_rng(seed).normal(0, 0.1, 4 * RATE)
    if not (title or artist or isrc):
        soundfile.write(path, noise, RATE)
        return
    plain = path.with_suffix(".plain.flac")
    soundfile.write(plain, noise, RATE)
    data = plain.read_bytes()
    plain.unlink()
    fields = [f"TITLE={title}", f"ARTIST={artist}", f"ISRC={isrc}"]
    comments = b"".join(len(f.encode()).to_bytes(4, "little") + f.encode() for f in fields)
    block = (4).to_bytes(4, "little") + b"test" + len(fields).to_bytes(4, "little") + comments
    # After the marker and STREAMINFO (4 + 38 bytes); whatever block follows stays behind it.
    path.write_bytes(data[:42] + b"\x04" + len(block).to_bytes(3, "big") + block + rest(data))


def rest(data: bytes) -> bytes:
    """Drop the Vorbis comment that libsndfile wrote, keep the other blocks and the frames."""
    kept, at = b"", 42
    if data[4] & 0x80:
        msg = "nothing follows STREAMINFO"
        raise ValueError(msg)
    while True:
        is_last, kind = bool(data[at] & 0x80), data[at] & 0x7F
        end = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if kind != 4:
            kept += bytes([kind]) + data[at + 1 : end]
        at = end
        if is_last:
            # A padding block ends the metadata.
            return kept + b"\x81\x00\x00\x00" + data[at:]


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_folder_is_added_with_its_tags(run: Run, music: Path) -> None:
    result = run("catalog", "add", music, *TERMS, "--format", "jsonl")

    assert result.exit_code == 0, result.output
    found = {Path(row["file"]).name: row for row in rows(result)}
    assert set(found) == {"guitar.ogg", "tabla.ogg", "tagged.flac"}
    assert found["guitar.ogg"]["title"] == "guitar"
    assert found["guitar.ogg"]["seconds"] == pytest.approx(9.97, abs=0.01)
    assert found["tagged.flac"]["title"] == "Blue Hour"
    assert found["tagged.flac"]["isrc"] == "GBAYE0601498"
    assert all(row["created"] and row["rights_holder"] == "Acme" for row in rows(result))
    assert "3 added, 0 there before, 0 not added" in result.stderr


def test_adding_again_changes_nothing_and_decodes_nothing(
    run: Run, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rows(run("catalog", "add", music, *TERMS, "--format", "jsonl"))

    def explode(_: Path) -> None:
        raise AssertionError("decoded a recording that the catalog has")

    monkeypatch.setattr("safegen.catalog._listen", explode)
    again = run("catalog", "add", music, *TERMS, "--format", "jsonl")

    assert again.exit_code == 0, again.output
    assert [row["created"] for row in rows(again)] == [False] * 3
    assert [row["work_id"] for row in rows(again)] == [row["work_id"] for row in first]


def test_adding_again_completes_a_work_that_an_engine_has_not_heard(
    run: Run, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safegen.catalog

    listen = safegen.catalog._listen

    def with_one_engine(path: Path) -> Heard:
        heard = listen(path)
        return replace(heard, fingerprints=heard.fingerprints[:1])

    monkeypatch.setattr("safegen.catalog._listen", with_one_engine)
    (first,) = rows(run("catalog", "add", music / "guitar.ogg", *TERMS, "--format", "jsonl"))
    monkeypatch.setattr("safegen.catalog._listen", listen)
    (again,) = rows(run("catalog", "add", music / "guitar.ogg", *TERMS, "--format", "jsonl"))
    stranger = run("catalog", "add", music / "guitar.ogg", "--rights-holder", "Zed", *TERMS[2:])
    counts = rows(run("catalog", "stats", "--format", "jsonl"))[0]

    assert (first["created"], again["created"]) == (True, False)
    assert again["work_id"] == first["work_id"]
    assert counts["fingerprints"] == len(safegen.catalog.ENGINES)
    assert counts["last_change"] == 2
    assert stranger.exit_code == 2


def test_an_interrupted_import_is_finished_by_repeating_it(
    run: Run, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safegen.catalog

    listen = safegen.catalog._listen
    seen: list[Path] = []

    def interrupted(path: Path) -> object:
        seen.append(path)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return listen(path)

    monkeypatch.setattr("safegen.catalog._listen", interrupted)
    broken = run("catalog", "add", music, *TERMS, "--jobs", "1")
    monkeypatch.setattr("safegen.catalog._listen", listen)
    again = run("catalog", "add", music, *TERMS, "--format", "jsonl")

    assert broken.exit_code != 0
    assert [row["created"] for row in rows(again)] == [False, True, True]


def test_one_bad_file_is_reported_and_does_not_stop_the_rest(run: Run, music: Path) -> None:
    (music / "broken.mp3").write_bytes(b"this is not sound")
    (music / "empty.wav").touch()
    soundfile.write(music / "short.wav", np.zeros(RATE), RATE)

    result = run("catalog", "add", music, *TERMS, "--format", "jsonl")

    assert result.exit_code == 2
    errors = {Path(row["file"]).name: row["error"] for row in rows(result) if row["error"]}
    assert set(errors) == {"broken.mp3", "empty.wav", "short.wav"}
    assert "too short" in errors["short.wav"]
    assert "0 bytes" in errors["empty.wav"]
    assert "3 added, 0 there before, 3 not added" in result.stderr
    assert all(name in result.stderr for name in errors)


def test_several_processes_give_the_same_rows_as_one(run: Run, music: Path) -> None:
    for number in range(3):
        tagged(music / f"noise{number}.wav", seed=number)
    (music / "broken.mp3").write_bytes(b"this is not sound")

    result = run("catalog", "add", music, *TERMS, "--jobs", "2", "--format", "jsonl")
    listed = rows(run("catalog", "list", "--format", "jsonl"))

    files = [row["file"] for row in rows(result)]
    assert result.exit_code == 2
    assert files == sorted(files)
    assert len(files) == 7
    assert len(listed) == 6


def test_missing_rights_are_named_when_there_is_nobody_to_ask(run: Run, music: Path) -> None:
    holder = run("catalog", "add", music, "--license", "CC0-1.0")
    license_ = run("catalog", "add", music, "--rights-holder", "Acme")

    assert (holder.exit_code, license_.exit_code) == (2, 2)
    assert "--rights-holder" in holder.stderr
    assert "--license" in license_.stderr


def test_missing_rights_are_asked_for_on_a_terminal(
    run: Run, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safegen.cli.catalog_in._is_terminal", lambda: True)
    result = run(
        "catalog", "add", music / "guitar.ogg", "--format", "jsonl", stdin="Acme\nBlanket\n"
    )

    assert result.exit_code == 0, result.output
    (row,) = rows(result)
    shown = rows(run("catalog", "show", row["work_id"], "--format", "jsonl"))[0]
    assert "Rights-holder:" in result.stderr
    assert (shown["rights_holder"], shown["licenses"][0]["name"]) == ("Acme", "Blanket")


def test_a_license_is_stored_as_given(run: Run, music: Path) -> None:
    window = ["--valid-from", "2026-01-01", "--valid-until", "2027-01-01T12:00+02:00"]
    where = ["--territory", "*", "--territory", "-us"]
    result = run(
        "catalog",
        "add",
        music / "guitar.ogg",
        *("--rights-holder", "Acme (60%); Bob (40%)", "--license", "Blanket"),
        *("--use", "sync", "--use", "train", *where, *window, "--format", "jsonl"),
    )
    (row,) = rows(result)
    shown = rows(run("catalog", "show", row["work_id"], "--format", "jsonl"))[0]

    assert [(each["rights_holder"], each["share_percent"]) for each in shown["rights"]] == [
        ("Acme", 60.0),
        ("Bob", 40.0),
    ]
    assert {**shown["licenses"][0], "license_id": ""} == {
        "license_id": "",
        "name": "Blanket",
        "territories": ["*", "-US"],
        "uses": ["sync", "train"],
        "obligations": [],
        "attribution": "",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2027-01-01T10:00:00Z",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--territory", "Mars"], "'MARS' is no ISO 3166-1"),
        (["--valid-from", "soon"], "'soon' is neither a day nor a time"),
        (["--valid-from", "2026-01-01T12:00"], "no time zone"),
        (["--valid-from", "2026-02-01", "--valid-until", "2026-01-01"], "before it begins"),
        (["--isrc", "123"], "'123' is no ISRC"),
        (["--use", "sell"], "sell"),
    ],
)
def test_wrong_terms_are_refused_before_anything_is_read(
    run: Run, music: Path, options: list[str], words: str
) -> None:
    result = run("catalog", "add", music / "guitar.ogg", *TERMS, *options)

    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert rows(run("catalog", "list", "--format", "jsonl")) == []


def test_one_title_cannot_stand_for_a_folder(run: Run, music: Path) -> None:
    result = run("catalog", "add", music, *TERMS, "--title", "Same")

    assert result.exit_code == 2
    assert "cannot stand for 3 files" in result.stderr


def test_a_path_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    result = run("catalog", "add", tmp_path / "nowhere", *TERMS)

    assert result.exit_code == 2
    assert "nowhere: no such file or folder" in result.stderr


def test_other_terms_for_a_known_recording_are_pointed_out(run: Run, music: Path) -> None:
    run("catalog", "add", music / "guitar.ogg", *TERMS)
    other = ["--rights-holder", "ACME", "--license", "CC0-1.0", "--use", "sync"]
    result = run("catalog", "add", music / "guitar.ogg", *other)

    assert result.exit_code == 0, result.output
    assert "other license terms" in result.stderr
    assert "safegen catalog relicense" in result.stderr


def test_a_removed_work_stays_away_until_it_is_revived(run: Run, music: Path) -> None:
    add = ["catalog", "add", music / "guitar.ogg", *TERMS, "--format", "jsonl"]
    work = rows(run(*add))[0]["work_id"]
    removed = run("catalog", "remove", work)
    again = run(*add)
    revived = run(*add, "--revive")

    assert removed.exit_code == 0, removed.output
    assert (again.exit_code, rows(again)[0]["work_id"]) == (2, None)
    assert "--revive" in again.stderr
    assert (revived.exit_code, rows(revived)[0]["work_id"]) == (0, work)
    assert len(rows(run("catalog", "list", "--format", "jsonl"))) == 1


def test_removing_is_all_or_nothing(run: Run, music: Path) -> None:
    work = rows(run("catalog", "add", music / "guitar.ogg", *TERMS, "--format", "jsonl"))[0]
    result = run("catalog", "remove", work["work_id"], "no-such-work")

    assert result.exit_code == 1
    assert "no-such-work" in result.stderr
    assert len(rows(run("catalog", "list", "--format", "jsonl"))) == 1


def test_relicense_replaces_the_license_from_now_on(run: Run, music: Path) -> None:
    work = rows(run("catalog", "add", music / "guitar.ogg", *TERMS, "--format", "jsonl"))[0]
    result = run("catalog", "relicense", work["work_id"], "--license", "New", "--use", "sync")
    shown = rows(run("catalog", "show", work["work_id"], "--format", "jsonl"))[0]

    assert result.exit_code == 0, result.output
    assert {(item["name"], item["valid_until"] is None) for item in shown["licenses"]} == {
        ("CC0-1.0", False),
        ("New", True),
    }


def test_list_and_stats_count_what_is_there(run: Run, music: Path) -> None:
    run("catalog", "add", music / "guitar.ogg", *TERMS)
    run("catalog", "add", music / "more", "--rights-holder", "Zed", "--license", "x")

    text = run("catalog", "list")
    zed = rows(run("catalog", "list", "--rights-holder", "zed", "--format", "jsonl"))
    nobody = run("catalog", "list", "--rights-holder", "Nobody")
    (stats,) = rows(run("catalog", "stats", "--format", "jsonl"))
    assert re.search(r"0:09  guitar - Acme\n", text.stdout)
    assert [row["title"] for row in zed] == ["tabla"]
    assert (nobody.exit_code, "Nobody" in nobody.stderr) == (1, True)
    assert (stats["works"], stats["rights_holders"], stats["fingerprints"]) == (2, 2, 6)
    assert [stats[f"works_{name}"] for name in INDEXES] == [2, 2, 2]
    assert "works" in run("catalog", "stats").stdout


def test_dedupe_finds_an_edit_and_nothing_else(run: Run, music: Path) -> None:
    sound, rate = soundfile.read(music / "guitar.ogg")
    soundfile.write(music / "guitar-cut.wav", sound[rate // 3 :] * 0.5, rate)
    run("catalog", "add", music, *TERMS)

    result = run("catalog", "dedupe", "--format", "jsonl")

    assert result.exit_code == 0, result.output
    assert [{row["title"], row["other_title"]} for row in rows(result)] == [
        {"guitar", "guitar-cut"}
    ]
    assert 4.0 < rows(result)[0]["shared_seconds"] < 10.0
    assert "1 pairs among 4 works" in result.stderr


def write_csv(music: Path, *lines: str) -> Path:
    path = music / "works.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_a_csv_is_imported_with_its_columns_and_defaults(run: Run, music: Path) -> None:
    table = write_csv(
        music,
        "file,title,artist,isrc,rights_holder,license,territories,uses,valid_until",
        'guitar.ogg,"Morning, again",Ann,GB-AYE-06-01498,Acme (50%); Bob (50%),X,DE AT,'
        "sync,2030-01-01",
        "more/tabla.ogg,,,,,,,,",
    )
    result = run(
        "catalog", "import", table, "--license", "Default", "--rights-holder", "Zed", "--format",
        "jsonl",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    first, second = (
        rows(run("catalog", "show", row["work_id"], "--format", "jsonl"))[0] for row in rows(result)
    )
    assert (first["title"], first["artist"]) == ("Morning, again", "Ann")
    assert first["isrc"] == "GBAYE0601498"
    assert first["rights_holder"] == "Acme, Bob"
    assert first["licenses"][0]["territories"] == ["DE", "AT"]
    assert first["licenses"][0]["uses"] == ["sync"]
    assert first["licenses"][0]["valid_until"] == "2030-01-01T00:00:00Z"
    assert (second["title"], second["rights_holder"]) == ("tabla", "Zed")
    assert second["licenses"][0]["name"] == "Default"


BAD_LINES = (
    "file,rights_holder,license,isrc,valid_from",
    "guitar.ogg,Acme,X,,",
    "nowhere.wav,Acme,X,,",
    "more/tabla.ogg,,X,,",
    "more/tabla.ogg,Acme,X,123,",
    "more/tabla.ogg,Acme,X,,tomorrow",
    "more/tabla.ogg,Acme,X,,,surplus",
    "more/tabla.ogg,Acme,X,,",
)


def test_every_bad_line_is_reported_by_number_and_the_good_ones_stay(run: Run, music: Path) -> None:
    result = run("catalog", "import", write_csv(music, *BAD_LINES), "--format", "jsonl")

    assert result.exit_code == 2
    numbers = re.findall(r"works\.csv:(\d+): ", result.stderr)
    assert numbers == ["3", "4", "5", "6", "7"]
    assert [Path(row["file"]).name for row in rows(result)] == ["guitar.ogg", "tabla.ogg"]
    assert "2 added, 0 there before, 5 not added" in result.stderr


def test_a_strict_import_adds_nothing_if_a_line_is_bad(run: Run, music: Path) -> None:
    result = run("catalog", "import", write_csv(music, *BAD_LINES), "--strict")

    assert result.exit_code == 2
    assert "works.csv:3: " in result.stderr
    assert "5 of 7 lines are bad, nothing was added" in result.stderr
    assert rows(run("catalog", "list", "--format", "jsonl")) == []


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("titel,file", "unknown column 'titel'"),
        ("title", "no column `file`"),
        ("file,file", "appears twice"),
    ],
)
def test_a_wrong_header_is_refused(run: Run, music: Path, header: str, words: str) -> None:
    result = run("catalog", "import", write_csv(music, header, "guitar.ogg,x"))

    assert result.exit_code == 2
    assert words in result.stderr


def test_a_csv_that_is_no_text_is_refused(run: Run, music: Path) -> None:
    result = run("catalog", "import", music / "guitar.ogg")

    assert result.exit_code == 2
    assert "cannot be read as UTF-8" in result.stderr


def test_db_upgrade_creates_and_db_status_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "fresh"))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)

    def db(*words: str) -> Result:
        return CliRunner().invoke(main, ["db", *words])

    before = db("status")
    created, again = db("upgrade"), db("upgrade")
    after = db("status", "--format", "jsonl")

    assert (before.exit_code, "safegen db upgrade" in before.stderr) == (1, True)
    assert "empty -> revision 0003" in created.stdout
    assert "already at revision 0003" in again.stdout
    assert json.loads(after.stdout)["works"] == 0
    assert sys.platform == "win32" or (tmp_path / "fresh").stat().st_mode & 0o077 == 0


def test_what_a_table_says_is_in_the_catalog(run: Run, music: Path) -> None:
    table = write_csv(
        music,
        "file,iswc,musicbrainz_id,rights_holder,ipi,isni,license,obligations,attribution",
        "guitar.ogg,T-034.524.680-1,9D444787-3f25-4c16-9261-597b9ab021cc,Acme (60%); Bob (40%),"
        "00052210040;,;0000000121032683,X,attribution,Morning by Ann",
    )
    (row,) = rows(run("catalog", "import", table, "--format", "jsonl"))
    (shown,) = rows(run("catalog", "show", row["work_id"], "--format", "jsonl"))
    page = run("catalog", "show", row["work_id"]).stdout

    assert shown["iswc"] == "T0345246801"
    assert shown["musicbrainz_id"] == "9d444787-3f25-4c16-9261-597b9ab021cc"
    assert [(each["ipi"], each["isni"]) for each in shown["rights"]] == [
        ("00052210040", ""),
        ("", "0000000121032683"),
    ]
    assert shown["licenses"][0]["obligations"] == ["attribution"]
    assert shown["licenses"][0]["attribution"] == "Morning by Ann"
    assert "Acme (IPI 00052210040) 60%" in page
    assert "owes attribution" in page


def test_options_say_what_a_table_leaves_out(run: Run, music: Path) -> None:
    table = write_csv(music, "file", "guitar.ogg")
    result = run(
        *("catalog", "import", table, "--rights-holder", "Acme", "--isni", "0000 0001 2103 2683"),
        *("--license", "X", "--obligation", "share_alike", "--format", "jsonl"),
    )
    (row,) = rows(result)
    (shown,) = rows(run("catalog", "show", row["work_id"], "--format", "jsonl"))

    assert shown["rights"][0]["isni"] == "0000000121032683"
    assert shown["licenses"][0]["obligations"] == ["share_alike"]


def test_the_template_needs_no_file_and_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "nowhere"))
    result = CliRunner().invoke(main, ["catalog", "import", "--template"])

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("file,title,artist,isrc,iswc,musicbrainz_id,")
    assert not (tmp_path / "nowhere").exists()


def test_an_import_without_a_file_says_what_to_name(run: Run) -> None:
    result = run("catalog", "import")

    assert result.exit_code == 2
    assert "Name a .csv or .sfp file, or --template." in result.stderr


def test_progress_tells_the_pace() -> None:
    from safegen.cli.catalog_in import pace

    assert pace(0, 0.0) == ""
    assert pace(30, 4.0) == "30 works, 7.5 works/s"


STRICT_LINES = (
    "file,rights_holder,license",
    "guitar.ogg,Acme,X",
    "more/tabla.ogg,Acme,X",
    "broken.wav,Acme,X",
)


def test_a_strict_import_adds_nothing_if_a_recording_is_bad(
    run: Run, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (music / "broken.wav").write_bytes(b"this is not sound")
    table = write_csv(music, *STRICT_LINES)
    broken = run("catalog", "import", table, "--strict", "--format", "jsonl")
    listed = rows(run("catalog", "list", "--format", "jsonl"))
    # Mended, the import hears only what was bad.
    tagged(music / "broken.wav", seed=3)
    heard = counted(monkeypatch)
    mended = run("catalog", "import", table, "--strict", "--format", "jsonl")
    again = run("catalog", "import", table, "--strict", "--format", "jsonl")

    assert (broken.exit_code, broken.stdout, listed) == (2, "", [])
    assert "works.csv:4: " in broken.stderr
    assert "1 of 3 recordings are bad, nothing was added" in broken.stderr
    assert mended.exit_code == 0, mended.output
    assert heard == ["broken.wav"]
    assert [Path(row["file"]).name for row in rows(mended)] == [
        "guitar.ogg",
        "tabla.ogg",
        "broken.wav",
    ]
    assert all(row["created"] for row in rows(mended))
    assert [row["created"] for row in rows(again)] == [False] * 3


def test_a_strict_import_adds_nothing_if_somebody_else_holds_a_recording(
    run: Run, music: Path
) -> None:
    run("catalog", "add", music / "more" / "tabla.ogg", "--rights-holder", "Zed", "--license", "X")
    table = write_csv(music, *STRICT_LINES[:3])
    result = run("catalog", "import", table, "--strict")

    assert result.exit_code == 2
    assert "Settle who holds it" in result.stderr
    assert len(rows(run("catalog", "list", "--format", "jsonl"))) == 1


def test_a_strict_import_adds_nothing_if_its_lines_contradict_each_other(
    run: Run, music: Path
) -> None:
    table = write_csv(music, *STRICT_LINES[:3], "guitar.ogg,Bob,X")
    result = run("catalog", "import", table, "--strict")

    assert result.exit_code == 2
    assert "works.csv:4: " in result.stderr
    assert rows(run("catalog", "list", "--format", "jsonl")) == []


def test_a_strict_import_takes_one_recording_on_two_lines_once(run: Run, music: Path) -> None:
    table = write_csv(music, *STRICT_LINES[:2], "guitar.ogg,Acme,X", "guitar.ogg,Acme,Y")
    result = run("catalog", "import", table, "--strict", "--format", "jsonl")

    assert [row["created"] for row in rows(result)] == [True, False, False]
    assert [row["license_differs"] for row in rows(result)] == [False, False, True]


def test_an_interrupted_strict_import_goes_on_where_it_was(
    run: Run, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_csv(music, *STRICT_LINES[:3], "tagged.flac,Acme,X")
    heard = counted(monkeypatch, stop_at=2)
    broken = run("catalog", "import", table, "--strict", "--jobs", "1")
    listed = rows(run("catalog", "list", "--format", "jsonl"))
    again = run("catalog", "import", table, "--strict", "--jobs", "1")

    assert (broken.exit_code, listed) == (1, [])
    assert again.exit_code == 0, again.output
    assert heard == ["guitar.ogg", "tabla.ogg", "tabla.ogg", "tagged.flac"]


def counted(monkeypatch: pytest.MonkeyPatch, *, stop_at: int = 0) -> list[str]:
    """Note which files are heard; the one of this number is interrupted."""
    import safegen.catalog

    listen = safegen.catalog._listen
    heard: list[str] = []

    def noted(path: Path) -> object:
        heard.append(path.name)
        if len(heard) == stop_at:
            raise KeyboardInterrupt
        return listen(path)

    monkeypatch.setattr("safegen.catalog._listen", noted)
    return heard
