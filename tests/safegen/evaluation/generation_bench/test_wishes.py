import json
from pathlib import Path

import pytest

from safegen.errors import InputError
from safegen.evaluation.generation_bench.wishes import Wish, described, read_prompts

HEADER = "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id\n"


def csv_file(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "musiccaps.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def row(caption: str, aspects: str = "[]") -> str:
    quoted = [f'"{cell.replace(chr(34), 2 * chr(34))}"' for cell in (aspects, caption)]
    return f"-0Gj8-vB1q4,30,40,/m/04rlf,{quoted[0]},{quoted[1]},4"


def test_captions_in_musiccaps_form_are_read_with_what_they_name(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        row(
            "A sad piece,\nplayed on a cello in D minor at 70 bpm.",
            "['sad', 'solo cello', \"cellist's vibrato\", 'no drums']",
        ),
        row("Someone hums.", "['low quality']"),
    )

    assert read_prompts(path) == (
        Wish(
            prompt="A sad piece,\nplayed on a cello in D minor at 70 bpm.",
            tempo_bpm=70.0,
            key="D minor",
            drums=False,
            instrument="cello",
        ),
        Wish(prompt="Someone hums.", tempo_bpm=None, key=None, drums=None),
    )


@pytest.mark.parametrize(
    ("caption", "tempo", "key"),
    [
        ("the tempo is 128 and it is in F# major", 128.0, "F# major"),
        ("a 92-bpm groove in B♭ minor", 92.0, "A# minor"),
        ("140.5 BPM, E flat maj", 140.5, "D# major"),
        ("around 60 beats per minute", 60.0, None),
        ("A minor key gives it sadness, A minor scale", None, None),
        ("starts at 90 bpm, ends at 120 bpm", None, None),
        ("in C major, then in A minor", None, None),
        ("recorded in 1999 with 12 guitars, no bpm given", None, None),
        ("1280 bpm", None, None),
    ],
)
def test_tempo_and_key_are_read_where_one_of_each_is_named(
    caption: str, tempo: float | None, key: str | None
) -> None:
    found = described(caption, ())

    assert (found.tempo_bpm, found.key) == (tempo, key)


@pytest.mark.parametrize(
    ("aspects", "drums", "instrument"),
    [
        (("groovy bass", "acoustic drums"), True, None),
        (("no percussion", "flute solo"), False, "flute"),
        (("without any drums",), False, None),
        (("no drums", "snare hits"), None, None),
        (("piano", "e-piano"), None, None),
        (("electric piano melody",), None, "electric piano"),
        (("fingerpicked acoustic guitar", "acoustic guitar"), None, "acoustic guitar"),
        (("distorted electric guitar riff",), None, "distorted guitar"),
        (("passionate female vocal",), None, None),
    ],
)
def test_drums_and_the_instrument_are_read_from_the_aspects(
    aspects: tuple[str, ...], drums: bool | None, instrument: str | None
) -> None:
    found = described("music", aspects)

    assert (found.drums, found.instrument) == (drums, instrument)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((row("fine"), "a,b"), "line 3: not as many cells"),
        ((row("fine"), row("x", "sad, slow")), "line 3: aspect_list is not a list"),
        ((row("x", "['sad' + 'der']"),), "line 2: aspect_list"),
        ((row("x", "[__import__('os')]"),), "line 2: aspect_list"),
        ((row("   "),), "line 2: the caption has 3"),
        ((row("fine"), 'x,0,10,l,"[]","never closed'), "line 3"),
        ((), "holds no prompts"),
    ],
)
def test_a_bad_row_is_refused_by_its_line(
    rows: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_prompts(csv_file(tmp_path, *rows))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="aspect_list, caption are missing"):
        read_prompts(csv_file(tmp_path, header="ytid,start_s,end_s\n"))


GOOD = {"prompt": "x", "tempo_bpm": 90, "key": None, "drums": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tempo_bpm": 900}, "tempo_bpm 900 is not in 20 to 400"),
        ({"tempo_bpm": True}, "tempo_bpm True"),
        ({"key": "H minor"}, "'H minor' is not a key"),
        ({"key": 3}, "key 3 is not text"),
        ({"drums": 1}, "drums 1 is not true"),
        ({"instrument": "kazoo"}, "instrument 'kazoo' is none of"),
        ({"prompt": " "}, "prompt must be text"),
        ({"prompt": "x" * 20_000}, "prompt must be text"),
    ],
)
def test_a_bad_value_is_refused_by_its_line(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD | change)}\n")

    with pytest.raises(InputError, match=f"line 3.*{message}"):
        read_prompts(path)


def test_a_file_without_instruments_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(GOOD))

    assert read_prompts(path) == (Wish(prompt="x", tempo_bpm=90.0, key=None, drums=None),)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00x", b"", b"\n\n"])
def test_a_file_that_is_no_text_or_empty_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(content)

    with pytest.raises(InputError):
        read_prompts(path)
