import json
from pathlib import Path

import pytest

from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.batches import MAX_LINES, Line, check_lines, items, read_lines
from safegen.generation.cards import card

TEMPLATE = Request(prompt="", seconds=10.0, seed=0, negative_prompt="drums")


def written(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_text_has_one_prompt_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "\ufeffa march\r\n\n  # a waltz, slow \nein Walzer\u2028\n")

    assert read_lines(path) == (
        Line(number=1, prompt="a march"),
        Line(number=3, prompt="# a waltz, slow"),
        Line(number=4, prompt="ein Walzer"),
    )


def test_a_table_may_name_length_seed_and_negative_prompt(tmp_path: Path) -> None:
    text = 'seed,prompt,seconds,negative_prompt\n7,"a march, loud",4.5,drums\n,a waltz,,\n'
    path = written(tmp_path, "a.csv", text)

    assert read_lines(path) == (
        Line(number=2, prompt="a march, loud", seconds=4.5, seed=7, negative_prompt="drums"),
        Line(number=3, prompt="a waltz"),
    )


def test_json_lines_say_the_same_as_a_table(tmp_path: Path) -> None:
    row = {"prompt": "a march", "seconds": 4.5, "seed": 7, "negative_prompt": "drums"}
    table = written(tmp_path, "a.csv", ",".join(row) + "\n" + ",".join(map(str, row.values())))
    lines = written(tmp_path, "a.jsonl", "\n" + json.dumps(row) + "\n")

    assert read_lines(lines) == read_lines(table)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "", "0 prompts"),
        ("a.txt", " \n\n", "0 prompts"),
        ("a.txt", b"caf\xe9", "no UTF-8 text at byte 3"),
        ("a.csv", "text,seconds\na,1\n", "line 1: the header"),
        ("a.csv", "prompt,prompt\na,b\n", "line 1: the header"),
        ("a.csv", "prompt,tempo\na,1\n", "line 2: unknown column 'tempo'"),
        ("a.csv", "prompt,seconds\na,1\nb,1,2\n", "line 3: 3 cells, the header has 2"),
        ("a.csv", "prompt,seconds\na,ten\n", "line 2: seconds 'ten' is no number"),
        ("a.csv", "prompt,seed\na,1.5\n", "line 2: seed '1.5' is no whole number"),
        ("a.csv", 'prompt\n"a\n', "no CSV"),
        ("a.jsonl", '{"prompt": "a"}\nb\n', "line 2: no JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: no JSON"),
        ("a.jsonl", '["a"]', "line 1: no JSON object"),
        ("a.jsonl", '{"seconds": 4}', "line 1: no text as its prompt"),
        ("a.jsonl", '{"prompt": 4}', "line 1: no text as its prompt"),
        ("a.jsonl", '{"prompt": "a", "negative_prompt": 4}', "negative prompt is no text"),
        ("a.jsonl", '{"prompt": "a", "seconds": true}', "seconds 'True' is no number"),
        ("a.jsonl", '{"prompt": "a", "seed": "1"}', "seed '1' is no whole number"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, name: str, text: str | bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_lines(written(tmp_path, name, text))

    assert str(tmp_path / name) in caught.value.problem


def test_a_file_that_is_missing_or_endless_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_lines(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match=f"more than {MAX_LINES} prompts"):
        read_lines(written(tmp_path, "many.txt", "a\n" * (MAX_LINES + 1)))
    monkeypatch.setattr("safegen.generation.batches.MAX_FILE_BYTES", 10)
    with pytest.raises(InputError, match="at most 10"):
        read_lines(written(tmp_path, "large.txt", "a" * 11))


def test_items_are_numbered_line_by_line_and_seeded_by_number_or_by_their_line() -> None:
    lines = (Line(number=1, prompt="a"), Line(number=2, prompt="b", seed=70, seconds=3.0))

    made = list(items(TEMPLATE, lines, count=2, first_seed=5))

    assert [item.number for item in made] == [0, 1, 2, 3]
    assert [item.request.prompt for item in made] == ["a", "a", "b", "b"]
    assert [item.request.seed for item in made] == [5, 6, 70, 71]
    assert [item.request.seconds for item in made] == [10.0, 10.0, 3.0, 3.0]
    assert {item.request.negative_prompt for item in made} == {"drums"}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"prompt": ""}, "line 3: the prompt is empty"),
        ({"prompt": "x" * 100_000}, "line 3: the prompt has 100000 characters"),
        ({"seconds": 10_000.0}, "line 3: 10000 s"),
        ({"seconds": float("nan")}, "line 3: nan s"),
        ({"seed": 2**63 - 1}, "line 3: seed 9223372036854775807"),
        ({"seed": -1}, "line 3: seed -1"),
    ],
)
def test_one_line_that_cannot_be_made_stops_the_batch(bad: dict[str, object], says: str) -> None:
    wrong = Line(**{"number": 3, "prompt": "a", **bad})  # type: ignore[arg-type]
    lines = (Line(number=1, prompt="a"), wrong)
    with pytest.raises(InputError, match=f"p.csv, {says}"):
        check_lines(TEMPLATE, lines, card("music-flow"), path=Path("p.csv"), count=2)


def test_ten_thousand_lines_are_checked_at_once(tmp_path: Path) -> None:
    lines = read_lines(written(tmp_path, "a.txt", "a slow waltz at 90 bpm\n" * 10_000))
    check_lines(TEMPLATE, lines, card("music-flow"), path=tmp_path, count=1)

    assert len(lines) == 10_000
