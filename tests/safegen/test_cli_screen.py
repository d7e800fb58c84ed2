"""``safegen screen``: what it prints and how it exits."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.session import Database
from safegen import listening
from safegen.audio import Audio, save
from safegen.cli import main
from safegen.config import Config
from safegen.listening import Ears
from safegen.matching import Scan
from tests.safegen.conftest import tones
from tests.safegen.screening_help import add_work, ears_of, open_home

Upload = Callable[[str, Audio], str]


@pytest.fixture
def database(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An installation whose classifier knows nothing; all other ears are real."""
    monkeypatch.setenv("SAFEGEN_HOME", str(home))
    monkeypatch.delenv("SAFEGEN_DATABASE_URL", raising=False)
    opened = open_home(home)

    def ears(config: Config, *, scan: Scan) -> Ears:
        assert config.home == home
        return ears_of(home, opened, scan=scan)

    monkeypatch.setattr(listening, "open_ears", ears)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "uploads"
    made.mkdir()
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["screen", *map(str, arguments)])


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("database")
def test_one_line_of_json_for_each_file_of_a_folder(folder: Path) -> None:
    save(tones(1), folder / "a.wav")
    (folder / "b.wav").write_bytes(b"no sound")
    (folder / "notes.txt").write_text("not an upload")

    result = run(folder, "--format", "jsonl")

    assert [row["verdict"] for row in lines(result)] == ["clear", "undecodable"]
    names = {"file", "sha256", "verdict", "reasons", "synthetic", "watermark", "matches", "c2pa"}
    assert all(names <= set(row) for row in lines(result))
    assert result.exit_code == 3


@pytest.mark.usefixtures("database")
def test_exit_0_when_every_file_is_clear(folder: Path) -> None:
    save(tones(1), folder / "a.wav")

    result = run(folder)

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("clear")


def test_exit_3_when_a_file_quotes_a_work_and_the_reason_is_printed(
    database: Database, folder: Path
) -> None:
    add_work(database, tones(5, seconds=20), title="Song", holders=("Acme",))
    save(tones(5, seconds=20), folder / "a.wav")

    result = run(folder / "a.wav")

    assert result.exit_code == 3, result.output
    assert "R12" in result.stdout
    assert "quotes Song (Acme)" in result.stdout


def test_what_a_license_asks_for_is_told_beside_the_quotation(
    database: Database, folder: Path, tmp_path: Path
) -> None:
    add_work(
        database,
        tones(5, seconds=16),
        title="Song",
        holders=("Acme",),
        uses=("sample",),
        obligations=("attribution", "share_alike"),
    )
    save(tones(5, seconds=16).cut(2.0, 10.0), folder / "a.wav")
    report = tmp_path / "report.html"

    result = run(folder / "a.wav", "--report", report)

    assert result.exit_code == 0, result.output
    owed = "attribution: Song by Acme (Test license) and share-alike"
    assert f"licensed, owes {owed}" in result.stdout
    assert "owes attribution, share-alike: Song by Acme (Test license)" in report.read_text()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("suffix", ["html", "csv"])
def test_a_report_is_written_beside_the_lines(folder: Path, tmp_path: Path, suffix: str) -> None:
    save(tones(1, seconds=6), folder / "first-upload.wav")
    report = tmp_path / f"report.{suffix}"

    result = run(folder, "--report", report)

    assert result.exit_code == 0, result.output
    assert "first-upload.wav" in report.read_text()


@pytest.mark.usefixtures("database")
def test_resume_prints_the_earlier_answer(folder: Path) -> None:
    save(tones(1, seconds=4), folder / "a.wav")
    first = lines(run(folder, "--format", "jsonl"))[0]

    again = lines(run(folder, "--format", "jsonl", "--resume"))[0]

    assert again == first | {"resumed": True}


@pytest.mark.usefixtures("database")
def test_wrong_use_is_noticed_before_anything_is_heard(folder: Path, tmp_path: Path) -> None:
    save(tones(1, seconds=1), folder / "a.wav")
    report = tmp_path / "there.html"
    report.write_text("old")
    empty = tmp_path / "empty"
    empty.mkdir()

    wrong = [
        run(folder / "missing.wav"),
        run(empty),
        run(folder, "--report", tmp_path / "report.pdf"),
        run(folder, "--report", report),
        run(folder, "--report", tmp_path / "nowhere" / "report.html"),
        run(folder, "--policy", "nobody"),
        run(folder, "--jobs", "0"),
    ]

    assert [result.exit_code for result in wrong] == [2] * len(wrong)
    assert [result.stdout for result in wrong] == [""] * len(wrong)
    assert report.read_text() == "old"


def test_without_keys_the_remedy_is_named(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEGEN_HOME", str(tmp_path / "nothing"))
    save(tones(1, seconds=1), folder / "a.wav")

    result = run(folder)

    assert result.exit_code == 1
    assert "safegen" in result.stderr


@pytest.mark.usefixtures("database")
def test_explain_draws_a_picture_for_each_file_that_was_heard(folder: Path, tmp_path: Path) -> None:
    save(tones(1), folder / "a b.wav")
    (folder / "bad.wav").write_bytes(b"no sound")
    pictures = tmp_path / "pictures"

    rows = lines(run(folder, "--explain", pictures, "--format", "jsonl"))

    drawn = [Path(str(row["explanation"])) for row in rows if "explanation" in row]
    assert [path.name.split("-")[0] for path in drawn] == ["a_b"]
    assert list(pictures.iterdir()) == drawn
    assert drawn[0].read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("database")
def test_files_of_one_name_get_pictures_of_their_own(folder: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("x", "y")):
        (folder / name).mkdir()
        save(tones(number, seconds=5), folder / name / "same.wav")

    run(folder, "--explain", tmp_path / "pictures")

    assert len(list((tmp_path / "pictures").iterdir())) == 2


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "holds pictures already"),
        (["--overwrite", "--resume"], "--explain needs the sound"),
    ],
)
def test_pictures_that_are_there_are_not_replaced_and_contradictions_refused(
    folder: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    save(tones(1, seconds=5), folder / "a.wav")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "old.png").write_bytes(b"old")

    found = run(folder, "--explain", pictures, *options)

    assert found.exit_code == 2
    assert problem in found.output
    assert (pictures / "old.png").read_bytes() == b"old"
