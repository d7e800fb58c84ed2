"""What does a file of prompts ask for? Read whole and checked before anything is made.

Three forms, told by the suffix:

    .csv    a header with the column prompt, and any of seconds, seed, negative_prompt
    .jsonl  one object a line with the same names
    others  one prompt a line; empty lines are skipped

Lines become items in their order, each as often as ``count`` says: item 0 is the first
of the first line. An item has the bits that it has alone.
"""

import csv
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.cards import ModelCard
from safegen.generation.requests import MAX_SEED, check

COLUMNS: Final = ("prompt", "seconds", "seed", "negative_prompt")
MAX_FILE_BYTES: Final = 64 * 2**20
MAX_LINES: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a file of prompts.

    Attributes:
        number: In the file, from 1; of a prompt over several lines the last.
        prompt: Text, unchecked.
        seconds: Wanted length; None if the line does not tell.
        seed: Of its first item; None if the line does not tell.
        negative_prompt: Text, unchecked; None if the line does not tell.
    """

    number: int
    prompt: str
    seconds: float | None = None
    seed: int | None = None
    negative_prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """One item of a batch.

    Attributes:
        number: From 0.
        request: What is wanted.
    """

    number: int
    request: Request


def read_lines(path: Path) -> tuple[Line, ...]:
    """Read a file of prompts.

    Raises:
        InputError: If it cannot be read, is no UTF-8, holds no prompt or too many, or if a
            line is not as the module says; the message names the line.
    """
    text = _text(path)
    read = {".csv": _csv_lines, ".jsonl": _json_lines}.get(path.suffix.lower(), _plain_lines)
    lines: list[Line] = []
    for line in read(path, text):
        if len(lines) == MAX_LINES:
            raise InputError(
                f"{path}: more than {MAX_LINES} prompts", remedy="Split the file into several."
            )
        lines.append(line)
    if not lines:
        raise InputError(f"{path}: 0 prompts in the file", remedy="Write one prompt a line.")
    return tuple(lines)


def items(
    template: Request, lines: Sequence[Line], *, count: int, first_seed: int
) -> Iterator[BatchItem]:
    """Make the items of a batch, in order.

    Args:
        template: What all items share; a line's own values go before it.
        lines: Of ``read_lines``.
        count: Items of each line.
        first_seed: Item i has the seed ``first_seed + i``. The items of a line that names
            a seed have this seed and those after it instead.
    """
    for place, line in enumerate(lines):
        for turn in range(count):
            number = place * count + turn
            seed = first_seed + number if line.seed is None else line.seed + turn
            yield BatchItem(number=number, request=_request(template, line, seed))


def check_lines(
    template: Request, lines: Sequence[Line], card: ModelCard, *, path: Path, count: int
) -> None:
    """Refuse a batch of which one item cannot be made.

    Raises:
        InputError: As ``safegen.generation.requests.check``; the message names the line.
    """
    for line in lines:
        last = template.seed if line.seed is None else line.seed + count - 1
        if line.seed is not None and not 0 <= line.seed <= last < MAX_SEED:
            raise _wrong(path, line.number, f"seed {line.seed} is outside 0 to {MAX_SEED - count}")
        try:
            check(_request(template, line, last), card)
        except InputError as error:
            raise InputError(
                f"{path}, line {line.number}: {error.problem}", remedy=error.remedy
            ) from error


def _request(template: Request, line: Line, seed: int) -> Request:
    negative = line.negative_prompt
    return dataclasses.replace(
        template,
        prompt=line.prompt,
        seconds=template.seconds if line.seconds is None else line.seconds,
        seed=seed,
        negative_prompt=template.negative_prompt if negative is None else negative,
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(
                f"{path}: {path.stat().st_size} bytes, at most {MAX_FILE_BYTES} are read",
                remedy="Split the file into several.",
            )
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror})", remedy="Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: no UTF-8 text at byte {error.start}", remedy="Save the file as UTF-8."
        ) from error


def _plain_lines(path: Path, text: str) -> Iterator[Line]:
    del path
    for number, prompt in enumerate(text.split("\n"), 1):
        if prompt.strip():
            yield Line(number=number, prompt=prompt.strip())


def _json_lines(path: Path, text: str) -> Iterator[Line]:
    for number, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        try:
            found = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise _wrong(path, number, "no JSON") from error
        if not isinstance(found, dict):
            raise _wrong(path, number, "no JSON object")
        yield _line(path, number, found)


def _csv_lines(path: Path, text: str) -> Iterator[Line]:
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) != len(header) or "prompt" not in header:
            raise _wrong(path, 1, "the header names no column prompt, or one column twice")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise _wrong(
                    path, reader.line_num, f"{len(cells)} cells, the header has {len(header)}"
                )
            row = {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}
            yield _line(path, reader.line_num, {"prompt": "", **_numbers(row)})
    except csv.Error as error:
        raise _wrong(path, reader.line_num, f"no CSV ({error})") from error


def _numbers(row: Mapping[str, str]) -> dict[str, object]:
    """Read the cells of number columns; one that is no number is left for the message."""
    read: dict[str, Any] = {"seconds": float, "seed": int}
    found: dict[str, object] = {}
    for name, cell in row.items():
        try:
            found[name] = read.get(name, str)(cell)
        except ValueError:
            found[name] = cell
    return found


def _line(path: Path, number: int, row: Mapping[str, object]) -> Line:
    if unknown := sorted(set(row) - set(COLUMNS)):
        raise _wrong(path, number, f"unknown column {unknown[0]!r}")
    prompt, negative = row.get("prompt"), row.get("negative_prompt")
    seconds, seed = row.get("seconds"), row.get("seed")
    if not isinstance(prompt, str):
        raise _wrong(path, number, "no text as its prompt")
    if negative is not None and not isinstance(negative, str):
        raise _wrong(path, number, "the negative prompt is no text")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise _wrong(path, number, f"seconds {str(seconds)[:40]!r} is no number")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise _wrong(path, number, f"seed {str(seed)[:40]!r} is no whole number")
    return Line(
        number=number,
        prompt=prompt.strip(),
        seconds=None if seconds is None else _seconds(seconds),
        seed=seed,
        negative_prompt=negative,
    )


def _seconds(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of 400 digits
        return float("inf")


def _wrong(path: Path, number: int, what: str) -> InputError:
    return InputError(
        f"{path}, line {number}: {what}",
        remedy=f"Give each line a prompt and, if wanted, {', '.join(COLUMNS[1:])}.",
    )
