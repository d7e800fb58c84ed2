"""How do people read which works are versions of one another? One HTML page or one CSV table.

Titles and names come from files and from rights-holders' uploads. The page is written by
a template that escapes every value, carries no script and loads nothing; the table's
cells cannot start a formula.
"""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from safegen.duplicates import Duplicate, families
from safegen.pages import page
from safegen.tables import safe_cell

SUFFIXES: Final = (".html", ".csv")
_COLUMNS: Final = (
    *("family", "relation", "shared_seconds", "score", "disputed"),
    *("work_id", "title", "artist", "isrc", "rights_holder", "seconds", "source"),
    *("other_work_id", "other_title", "other_artist", "other_isrc", "other_rights_holder"),
    *("other_seconds", "other_source"),
)


def write_report(pairs: Sequence[Duplicate], path: Path, *, works: int, at: datetime) -> None:
    """Write a report; the suffix, .html or .csv, says which.

    Args:
        pairs: All that were found.
        path: The file.
        works: How many works were compared.
        at: When, aware.
    """
    text = html(pairs, works=works, at=at) if path.suffix == ".html" else table(pairs)
    path.write_text(text, encoding="utf-8", newline="")


def html(pairs: Sequence[Duplicate], *, works: int, at: datetime) -> str:
    """Lay out one page, families first, that stands alone in one file."""
    return page(
        "duplicates.html",
        filters={"clock": _clock},
        works=works,
        at=f"{at:%Y-%m-%d %H:%M} UTC",
        pairs=len(pairs),
        disputed=sum(pair.is_disputed for pair in pairs),
        families=families(pairs),
        sharing=[pair for pair in pairs if pair.relation == "shares"],
    )


def table(pairs: Sequence[Duplicate]) -> str:
    """Write one line for each pair, for spreadsheets."""
    number = {
        work.work_id: count
        for count, family in enumerate(families(pairs), start=1)
        for work in family.works
    }
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for pair in pairs:
        family = number.get(pair.work.work_id, "") if pair.relation != "shares" else ""
        cells: list[object] = [family, pair.relation, round(pair.shared_seconds, 1)]
        cells += [round(pair.score, 4), "yes" if pair.is_disputed else "no"]
        for work in (pair.work, pair.other):
            cells += [work.work_id, work.title, work.artist, work.isrc, work.rights_holder]
            cells += [round(work.seconds, 1), work.source]
        writer.writerow([safe_cell(cell) for cell in cells])
    return buffer.getvalue()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
