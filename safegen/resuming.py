"""Which items of a batch were released before?

A batch that was stopped is started again with the same arguments; what lies in the
output folder already is told by its record, not by its name.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from registry import releases
from registry.errors import NotFoundError
from registry.session import Database
from safegen.generation.base import ModelFacts, Request
from safegen.recording import model_json
from safegen.requested import differing


class Earlier:
    """The released files of a folder, by what was asked.

    Args:
        database: Of this installation; files of others are passed over.
        salt: Of a record's id and a value's name (``Gate.salt``).
        folder: Output folder; need not exist.
        file_format: Only files of this format count.

    Cost: one record is read for each file of the folder.
    """

    def __init__(
        self,
        database: Database,
        salt: Callable[[str, str], bytes],
        folder: Path,
        file_format: str,
    ) -> None:
        self._salt = salt
        self._records: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        prefix = "safegen-"
        with database.read() as session:
            for path in sorted(folder.absolute().glob(f"{prefix}*.{file_format}")):
                try:
                    row = releases.get_output(session, path.stem.removeprefix(prefix))
                except NotFoundError:
                    continue
                if row.state == "released" and row.path == str(path):
                    found = json.loads(row.record)
                    self._records[str(found["request"]["seed"])].append(found)

    def has(self, request: Request, facts: ModelFacts) -> bool:
        """Tell whether this very request to this very model was released before."""
        return any(
            _made_by(found["model"]) == _made_by(model_json(facts))
            and not self._differs(found, request)
            for found in self._records[str(request.seed)]
        )

    def _differs(self, found: Mapping[str, Any], request: Request) -> bool:
        def salt(name: str) -> bytes:
            return self._salt(found["record_id"], name)

        return bool(differing(found["request"], request, salt=salt))


def _made_by(model: Mapping[str, str]) -> dict[str, str]:
    """Leave out of a record's model what changes no sample: when its license was accepted."""
    return {name: value for name, value in model.items() if name != "license_accepted"}
