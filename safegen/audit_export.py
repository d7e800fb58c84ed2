"""What does a rights-holder take home? One file that can be checked without us.

JSON lines: a head that says what was asked and carries the signed checkpoint and the
log's public key, one line for each output, and a tail with the count and the SHA-256
of all lines before it, so that a cut file shows. The CSV has one line for each match,
for spreadsheets; its cells cannot start a formula.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from registry.scope import AuditScope
from safegen.audit import AuditedOutput, Window
from safegen.provenance.log import SignedCheckpoint
from safegen.tables import safe_cell

SCHEMA: Final = "safegen.audit-export/1"
_COLUMNS: Final = (
    *("record_id", "kind", "time", "state", "decision", "rules", "policy", "model", "sha256"),
    *("work_id", "isrc", "title", "rights_holder", "other_holders", "status", "license"),
    *("heard_in", "engine", "rescan_index"),
    *("query_start_seconds", "query_end_seconds"),
    *("reference_start_seconds", "reference_end_seconds", "score", "p_value"),
    *("log_index", "leaf_hash", "tree_size", "root"),
)


def to_jsonl(
    found: Iterable[AuditedOutput],
    scope: AuditScope,
    *,
    rights_holder: str,
    window: Window,
    checkpoint: SignedCheckpoint,
    public_key: str,
    at: datetime,
) -> Iterator[str]:
    """Write the export as lines, each with its newline."""
    digest = hashlib.sha256()
    count = matches = 0

    def line(row: Mapping[str, Any]) -> str:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        digest.update(text.encode())
        return text

    yield line(
        {
            "type": "head",
            "schema": SCHEMA,
            "rights_holder": rights_holder,
            "since": None if window.since is None else window.since.isoformat(),
            "until": None if window.until is None else window.until.isoformat(),
            "as_of": None if scope.as_of is None else scope.as_of.isoformat(),
            "exported_at": at.isoformat(timespec="milliseconds"),
            "checkpoint": checkpoint.note,
            "log_public_key": public_key,
        }
    )
    for each in found:
        count += 1
        matches += len(each.quotations)
        yield line({"type": "output", **each.to_json(scope)})
    before = digest.hexdigest()
    yield line({"type": "tail", "outputs": count, "matches": matches, "sha256": before})


def to_csv(found: Iterable[AuditedOutput], scope: AuditScope) -> Iterator[str]:
    """Write one line for each match, a header first."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)

    def taken() -> str:
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text

    writer.writerow(_COLUMNS)
    yield taken()
    for each in found:
        row = each.to_json(scope)
        common = row | {
            "rules": " ".join(reason["rule"] for reason in row["reasons"]),
            "policy": f"{row['policy']['name']} {row['policy']['sha256']}",
            "model": f"{row['model']['name']} {row['model']['version']}".strip(),
            "log_index": row["log"]["index"],
            "leaf_hash": row["log"]["leaf_hash"],
            "tree_size": row["log"]["tree_size"],
            "root": row["log"]["root"],
        }
        for match in row["matches"]:
            license_ = match["license"]
            later = match["rescan"]
            cells = common | match
            cells["license"] = license_["name"] if license_ else ""
            cells["rescan_index"] = later["log"]["index"] if later else ""
            writer.writerow([safe_cell(cells[name]) for name in _COLUMNS])
        yield taken()
