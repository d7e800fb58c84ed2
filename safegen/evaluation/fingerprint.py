"""Are excerpts of licensed works found, at the right place, and others left alone?

Real game music goes through the registry and ``CatalogMatcher``, as in the gate. Recall:
excerpts cut anywhere from every work, distorted, against the catalog of all works. False
matches: excerpts of one half of the works against a catalog of the other half, and the
other way round, so that every work serves as a stranger. Segments: long recordings that
quote several works. The parts are in ``safegen.evaluation.matching_bench``.

The engines' limits and their nulls were chosen on these same tracks, so the count of false
matches is in-sample: it shows the margin, not what unseen music does.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

import click

from detectors import chromaprint
from safegen.config import from_environment
from safegen.errors import InputError
from safegen.evaluation.attacks import ATTACKS, Companion
from safegen.evaluation.matching_bench import composed, music, segments, trials, works
from safegen.evaluation.matching_bench.music import Track, halves
from safegen.evaluation.matching_bench.music import tracks as tracks
from safegen.evaluation.matching_bench.promises import BY_LENGTH, LENGTHS, PROMISES, TABLE
from safegen.evaluation.matching_bench.summary import Figures, segments_of, summarize
from safegen.evaluation.matching_bench.works import Catalog
from safegen.evaluation.state import Row, State

ENGINES: Final = (chromaprint.ENGINE,)
_SAY_SECONDS: Final = 60.0


class _Counted(Protocol):
    @property
    def count(self) -> int: ...


_Task = TypeVar("_Task", bound=_Counted)


@click.command("fingerprint")
@click.option(
    "--assets",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="What `safegen eval assets` fetched.  [default: SAFEGEN_HOME/assets]",
)
@click.option(
    "--work",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps catalogs and finished trials.  [default: SAFEGEN_HOME/eval/fingerprint]",
)
@click.option(
    "--tracks",
    "track_count",
    type=click.IntRange(4),
    default=1_000,
    show_default="all",
    help="How many works, taken from all over the music.",
)
@click.option(
    "--distortions",
    "names",
    metavar="asked|all|NAME,...",
    default="asked",
    show_default=True,
    help="The table that was asked for, every attack there is, or these.",
)
@click.option(
    "--excerpts",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Of each work, for each distortion; one at the lengths of the plot.",
)
@click.option(
    "--strangers",
    type=click.IntRange(0),
    default=5_000,
    show_default=True,
    help="Ten-second queries of music outside the catalog.",
)
@click.option(
    "--composed",
    "composed_count",
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="Long queries that quote four works each.",
)
@click.option(
    "--csv",
    "csv_folder",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write annotations.csv and matches.csv for Pex's toolkit.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="Processes, one core each.",
)
def command(
    assets: Path | None,
    work: Path | None,
    track_count: int,
    names: str,
    excerpts: int,
    strangers: int,
    composed_count: int,
    csv_folder: Path | None,
    seed: int,
    jobs: int,
) -> None:
    """Measure the catalog match: recall, false matches, segments.

    A run that was interrupted goes on where it stopped.

    \b
    Exit status:
      0  everything that is asked was reached
      1  something failed
      2  bad arguments, or --assets does not hold the audio
      3  a promise was not reached; "failed" in the output names it

    \b
    Example:
      safegen eval fingerprint --assets ~/assets
    """
    home = from_environment(os.environ).home
    assets = assets or home / "assets"
    work = work or home / "eval" / "fingerprint"
    distortions = chosen(names)
    paths = music.spread(tracks(assets, work), track_count)
    if not paths:
        raise InputError(
            f"{assets}: no music found",
            remedy=f"Fetch it with `safegen eval assets --out {assets}`.",
        )
    # Each process keeps to one core; numpy reads this when it is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    version = trials.code_version(seed, [str(path) for path in paths])
    kept = State(work / "trials.jsonl", version)
    library = works.create(work / f"library-{version}", "all")
    _listen(library, paths, jobs=jobs)
    known = works.known(library, paths)
    plan = table(distortions, excerpts)
    _measure(
        list(trials.recall_tasks(library, known, plan, kept.rows, assets=assets, seed=seed)),
        trials.search_excerpts,
        kept,
        label="excerpts",
        jobs=jobs,
    )
    side = halves([track.name for track in known])
    sides = {half: [t for t in known if side[t.name] == half] for half in (0, 1)}
    catalogs = {half: _half(library, work, half, sides[half], version) for half in (0, 1)}
    outside = _strangers(sides, catalogs, strangers, seed)
    _measure(
        [task for task in outside if task.name not in kept.rows],
        trials.search_strangers,
        kept,
        label="strangers",
        jobs=jobs,
    )
    queries = list(composed.plan(catalogs, sides, composed_count, assets=assets, seed=seed))
    _measure(
        [query for query in queries if query.name not in kept.rows],
        composed.search_composed,
        kept,
        label="long queries",
        jobs=jobs,
    )
    wanted = {
        *(trial.name(track) for track in known for trial in trials.planned(track, plan)),
        *(task.name for task in outside),
        *(query.name for query in queries),
    }
    rows = [row for name, row in kept.rows.items() if name in wanted]
    if csv_folder is not None:
        _write_csv(csv_folder, rows)
    _publish(
        summarize(
            rows,
            known,
            backend=chromaprint.backend(),
            engines=ENGINES,
            unmeasured=_unmeasured(names),
        )
    )


def chosen(names: str) -> tuple[str, ...]:
    """Read ``--distortions``.

    Raises:
        InputError: If a name is not known.
    """
    if names == "asked":
        return TABLE
    if names == "all":
        return tuple(_measurable())
    wanted = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if unknown := [name for name in wanted if name not in _measurable()]:
        raise InputError(
            f"no distortion is named {', '.join(unknown)}",
            remedy=f"Known are asked, all, {', '.join(_measurable())}.",
        )
    return wanted


def _measurable() -> list[str]:
    """Name the attacks that need no other sound, or speech."""
    companions = (Companion.NONE, Companion.SPEECH)
    return [name for name, attack in ATTACKS.items() if attack.companion in companions]


def table(distortions: Sequence[str], excerpts: int) -> list[trials.Asked]:
    """Say how often what is measured at which length."""
    found = [
        trials.Asked(distortion=name, seconds=trials.EXCERPT_SECONDS, count=excerpts)
        for name in distortions
    ]
    promised = {(cell.distortion, cell.seconds) for cell in PROMISES}
    found += [
        trials.Asked(
            distortion=name, seconds=seconds, count=excerpts if (name, seconds) in promised else 1
        )
        for seconds in LENGTHS
        if seconds != trials.EXCERPT_SECONDS
        for name in BY_LENGTH
        if name in distortions
    ]
    return found


def _listen(library: Catalog, paths: Sequence[Path], *, jobs: int) -> None:
    with click.progressbar(
        works.listen(library, paths, jobs=jobs), len(paths), "Listening", file=sys.stderr
    ) as bar:
        for added in bar:
            if added.problem:
                click.echo(f"left out: {added.problem}", err=True)


def _half(
    library: Catalog, work: Path, half: int, tracks_: Sequence[Track], version: str
) -> Catalog:
    """Make the catalog of one half of these works."""
    size = len(tracks_)
    found = works.create(work / f"half-{half}-of-{size}-{version}", f"half {half} of {size}")
    works.copy(library, found, tracks_, ENGINES)
    return found


def _strangers(
    sides: dict[int, list[Track]], catalogs: dict[int, Catalog], count: int, seed: int
) -> list[trials.Strangers]:
    """Divide the queries among the tracks; each is searched in the half it is not in."""
    rows = [
        (track, catalogs[1 - half], len(sides[1 - half]))
        for half in (0, 1)
        for track in sides[half]
    ]
    each, more = divmod(count, max(1, len(rows)))
    return [
        trials.Strangers(
            catalog=catalog, works=size, track=track, count=each + (place < more), seed=seed
        )
        for place, (track, catalog, size) in enumerate(rows)
        if each + (place < more)
    ]


def _measure(
    wanted: Sequence[_Task],
    perform: Callable[[_Task], list[Row]],
    kept: State,
    *,
    label: str,
    jobs: int,
) -> None:
    """Run what is missing, with the time left on stderr: a bar, or a line a minute in a log."""
    total = sum(task.count for task in wanted)
    if not total:
        return
    begun = said = time.monotonic()
    done = 0
    with click.progressbar(length=total, label=f"{total} {label}", file=sys.stderr) as bar:
        for task, rows in trials.run(wanted, perform, jobs=jobs):
            for row in rows:
                kept.add(row)
            done += task.count
            bar.update(task.count)
            now = time.monotonic()
            if not sys.stderr.isatty() and now - said >= _SAY_SECONDS:
                left = (now - begun) / done * (total - done)
                click.echo(f"{done} of {total} {label}, {left / 60:.0f} min left", err=True)
                said = now


def _write_csv(folder: Path, rows: Sequence[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    segments.write_csv(
        folder / "annotations.csv",
        segments_of(rows, "annotated"),
        segments.ANNOTATION_COLUMNS,
        facts=composed.FACTS,
    )
    segments.write_csv(folder / "matches.csv", segments_of(rows, "matched"), segments.MATCH_COLUMNS)


def _unmeasured(names: str) -> list[str]:
    """Say what a reader might take for granted."""
    found = []
    if names != "asked":
        found.append(f"not the table that was asked for: --distortions {names}")
    return [
        *found,
        "music of other kinds: all works are game music, and the engines' limits were chosen on it",
        "loudspeakers, rooms and phones: re-recording is simulated",
        "speech that is not read by actors in a studio: the prompts are of telephone systems",
        "the same composition in another recording (covers, live versions)",
    ]


def _publish(figures: Figures) -> None:
    """Print the figures and end with 3 if a promise was missed."""
    click.echo(json.dumps(figures.as_json(), indent=1))
    if figures.failed:
        raise SystemExit(3)
