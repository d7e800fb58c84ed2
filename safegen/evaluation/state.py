"""Which trials of a benchmark are finished? Kept line by line, so that a stopped run goes on."""

import json
from pathlib import Path

Value = float | str | None
Row = dict[str, Value]


class State:
    """Finished trials, one JSON object a line; half-written last lines are dropped.

    Args:
        path: The file; it appears with the first trial.
        version: Of whatever the results depend on. Rows of other versions are left out.
    """

    def __init__(self, path: Path, version: str) -> None:
        self._path = path
        self.rows: dict[str, Row] = {}
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and row.get("version") == version:
                self.rows[str(row["trial"])] = row
        self._version = version
        self._is_torn = bool(lines) and not path.read_text("utf-8").endswith("\n")

    def add(self, row: Row) -> None:
        """Keep one result, on disk before the next trial starts; ``trial`` names it."""
        kept: Row = {"version": self._version, **row}
        self.rows[str(row["trial"])] = kept
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if self._is_torn else "") + json.dumps(kept) + "\n")
        self._is_torn = False
