"""What a folder and a table of captions say, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio, save
from safegen.errors import InputError
from safegen.generation import own
from safegen.training.own_captions import read_captions
from safegen.training.own_data import UNLICENSED, LeftOut, OwnData, gather
from tests.safegen.conftest import tones


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short files, one of them in a folder of its own."""
    where = tmp_path_factory.mktemp("own")
    (where / "loops").mkdir()
    for seed, name in enumerate(("a.wav", "b.wav", "loops/c.wav"), 1):
        save(tones(seed, seconds=1.5), where / name)
    return where


def table(text: str, folder: Path) -> Path:
    path = folder / "captions.csv"
    path.write_bytes(text.encode())
    return path


def gathered(
    text: str, folder: Path, tmp_path: Path, *, license_: str = "", allow: bool = False
) -> OwnData:
    captions = read_captions(table(text, tmp_path))
    return gather(folder, captions, license_=license_, allow_unlicensed=allow)


def test_files_get_their_captions_and_licenses(folder: Path, tmp_path: Path) -> None:
    text = (
        "\ufefffile,caption,license,title\r\n"
        'a.wav,"slow, sad",CC-BY-4.0,Blue\r\n'
        "a.wav,a sad tune,CC-BY-4.0,Blue\r\n"
        "loops/c.wav,a loop,,\r\n"
    )

    data = gathered(text, folder, tmp_path, license_="CC0-1.0")

    assert [(x.name, x.captions, x.license, x.title) for x in data.files] == [
        ("a.wav", ("slow, sad", "a sad tune"), "CC-BY-4.0", "Blue"),
        ("loops/c.wav", ("a loop",), "CC0-1.0", ""),
    ]
    assert data.left_out == (LeftOut(name="b.wav", reason="the table has no caption for it"),)


def test_a_table_in_the_form_of_musiccaps_names_files_without_suffix(
    folder: Path, tmp_path: Path
) -> None:
    text = "ytid,start_s,end_s,caption\na,30,40,a tune\n"

    captions = read_captions(table(text, tmp_path))
    data = gather(folder, captions, license_="CC0-1.0", allow_unlicensed=False)

    assert captions.ignored == ("start_s", "end_s")
    assert [x.name for x in data.files] == ["a.wav"]


def test_without_a_table_all_files_are_taken_once(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "all"
    copy.mkdir()
    for name in ("a.wav", "z.wav"):
        (copy / name).write_bytes((folder / "a.wav").read_bytes())

    data = gather(copy, None, license_="CC0-1.0", allow_unlicensed=False)

    assert [x.name for x in data.files] == ["a.wav"]
    assert data.left_out == (LeftOut(name="z.wav", reason="the same bytes as a.wav"),)


def test_files_without_a_license_are_let_in_only_on_demand(folder: Path, tmp_path: Path) -> None:
    text = "file,caption,license\na.wav,a tune,\nb.wav,a tune,CC0-1.0\nloops/c.wav,x,NOASSERTION\n"

    with pytest.raises(InputError, match=r"2 of 3 files have no license: a\.wav, loops/c\.wav"):
        gathered(text, folder, tmp_path)
    data = gathered(text, folder, tmp_path, allow=True)

    assert data.allow_unlicensed
    assert data.licenses == {"CC0-1.0": 1, UNLICENSED: 2}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the table is empty"),
        ("file,caption\n", "no caption in the table"),
        ("name,caption\na.wav,x\n", "no column file in the header name, caption"),
        ("file,words\na.wav,x\n", "no column caption"),
        ("file,file,caption\na.wav,x,y\n", "file stands twice"),
        ("file,caption\na.wav,\n", "line 2: the caption is empty"),
        ("file,caption\na.wav,x\n\n,y\n", "line 4: the file is empty"),
        ("file,caption\na.wav,x,y\n", "line 2: 3 cells, the header has 2 columns"),
        ('file,caption\na.wav,"x"y\n', "line 2: "),
        ("file,caption\na.wav,x\x00y\n", r"line 2: .*(NUL|control character U\+0000)"),
        ("file,caption\na.wav," + "x" * 4001 + "\n", "line 2: the caption has 4001 characters"),
        ("file,caption\nd.wav,x\n", r"line 2: d\.wav is no audio file of the folder"),
        ("file,caption\n../a.wav,x\n", r"line 2: \.\./a\.wav is outside the folder"),
        ("file,caption\n/etc/passwd,x\n", "line 2: /etc/passwd is outside the folder"),
        (
            "file,caption,license\na.wav,x,CC0-1.0\na.wav,y,CC-BY-4.0\n",
            r"line 3: another license for a\.wav than in line 2",
        ),
        ("file,caption,license\na.wav,x,free to use!\n", "line 2: .* is not written as SPDX"),
    ],
)
def test_a_wrong_table_is_refused_with_its_lines(
    text: str, problem: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=problem):
        gathered(text, folder, tmp_path, license_="CC0-1.0")


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_bytes("file,caption\na.wav,Grün\n".encode("latin-1"))

    with pytest.raises(InputError, match="UTF-8"):
        read_captions(path)


@pytest.mark.parametrize(
    ("make", "problem"),
    [(Path.mkdir, "no audio file in it"), (Path.touch, "not a folder")],
    ids=["empty folder", "no folder"],
)
def test_there_must_be_something_to_learn_from(make: object, problem: str, tmp_path: Path) -> None:
    where = tmp_path / "data"
    make(where)  # type: ignore[operator]

    with pytest.raises(InputError, match=problem):
        gather(where, None, license_="CC0-1.0", allow_unlicensed=False)


def test_a_link_that_leads_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    where = tmp_path / "data"
    where.mkdir()
    save(Audio(waveform=np.full((1, 800), 0.1, np.float32), sample_rate=8000), where / "in.wav")
    (where / "out.wav").symlink_to(folder / "a.wav")

    data = gather(where, None, license_="CC0-1.0", allow_unlicensed=False)

    assert [x.name for x in data.files] == ["in.wav"]
    assert data.left_out == (LeftOut(name="out.wav", reason="a link that leads out of the folder"),)
    with pytest.raises(InputError, match=r"out\.wav is no audio file of the folder"):
        gathered("file,caption\nout.wav,x\n", where, tmp_path, license_="CC0-1.0")


@pytest.mark.parametrize(
    "name", ["", "Mine", "a/b", "..", "x" * 65, "music-flow", "procedural", "audioseal"]
)
def test_an_own_model_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(InputError):
        own.check_name(name)
