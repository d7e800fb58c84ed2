"""Does an object of a JSON file have the fields of a dataclass, no more, no less, of its types?"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NoReturn, get_type_hints


def checked(row: object, kind: type) -> dict[str, Any]:
    """Compare the fields of an object with those of a dataclass: names and types.

    Raises:
        ValueError: If they differ; the message says how.
    """
    if not isinstance(row, dict):
        refuse(f"{kind.__name__} is no object")
    names = {field.name for field in fields(kind)}
    if set(row) != names:
        refuse(f"fields of {kind.__name__}: {', '.join(sorted(names ^ set(row)))}")
    for name, hint in get_type_hints(kind).items():
        wanted = getattr(hint, "__origin__", hint)
        value = row[name]
        if wanted is float and type(value) is int:
            continue
        if type(value) is not wanted:
            refuse(f"{name} is a {type(value).__name__}, not a {wanted.__name__}")
    return row


def refuse(problem: str) -> NoReturn:
    """Say what is wrong with a file; also for ``json``'s ``parse_constant``.

    Raises:
        ValueError: Always.
    """
    raise ValueError(problem)
