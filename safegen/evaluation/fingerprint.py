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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

import click

from detectors import chromaprint
from safegen.config import from_environment
from safegen.errors import InputError
from safegen.evaluation.attacks import ATTACKS, Companion, Kind
from safegen.evaluation.matching_bench import (
    composed,
    music,
    rivals,
    scale,
    segments,
    trials,
    works,
)
from safegen.evaluation.matching_bench.engines import ENGINES
from safegen.evaluation.matching_bench.music import Track, halves
from safegen.evaluation.matching_bench.music import tracks as tracks
from safegen.evaluation.matching_bench.promises import BY_LENGTH, LENGTHS, PROMISES, TABLE
from safegen.evaluation.matching_bench.summary import Figures, segments_of, summarize
from safegen.evaluation.matching_bench.works import Catalog
from safegen.evaluation.state import Row, State

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
    "--deep",
    type=click.Choice(["asked", "moved", "none"]),
    default="asked",
    show_default=True,
    help="Deep scan, once a work: where it is asked, of all that moves in time, or nowhere.",
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
@click.option(
    "--rival-strangers",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="The same for audfprint2, where it is installed; 0 leaves it out.",
)
@click.option(
    "--scale",
    "sizes",
    metavar="WORKS,...",
    default="",
    help="Also measure catalogs of so many works, such as 1000,10000,100000.",
)
@click.option(
    "--scale-queries",
    type=click.IntRange(4),
    default=400,
    show_default=True,
    help="Ten-second queries whose time is taken in each of them.",
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write an HTML page with tables and plots.",
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
    deep: str,
    strangers: int,
    composed_count: int,
    csv_folder: Path | None,
    rival_strangers: int,
    sizes: str,
    scale_queries: int,
    report: Path | None,
    seed: int,
    jobs: int,
) -> None:
    """Measure the catalog match: recall, false matches, segments, time and size.

    A run that was interrupted goes on where it stopped.

    \b
    Exit status:
      0  everything that is asked was reached
      1  something failed
      2  bad arguments, or --assets does not hold the audio
      3  a promise was not reached; "failed" in the output names it

    \b
    Example:
      safegen eval fingerprint --assets ~/assets --scale 1000,10000 --report fingerprint.html
    """
    home = from_environment(os.environ).home
    assets = assets or home / "assets"
    work = work or home / "eval" / "fingerprint"
    distortions = chosen(names)
    asked_sizes = _sizes(sizes)
    if report is not None and report.suffix != ".html":
        raise InputError(f"{report}: reports are .html", remedy="Name it fingerprint.html.")
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
    plan = table(distortions, excerpts, deep=deep)
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
    without = rivals.missing() if rival_strangers else "audfprint2: not asked for"
    rival = (
        []
        if without
        else _rivaled(
            known,
            distortions,
            kept,
            strangers=rival_strangers,
            folder=work / "audfprint2",
            assets=assets,
            seed=seed,
            jobs=jobs,
        )
    )
    big = list(_big(sides, asked_sizes, work / f"scale-{version}", seed))
    for size in big:
        outside += _scaled(size, library, kept, strangers, queries=scale_queries, jobs=jobs)
    wanted = {
        *(size.name for size in big),
        *(trial.name(track) for track in known for trial in trials.planned(track, plan)),
        *(task.name for task in outside),
        *(query.name for query in queries),
        *(name for task in rival for name in task.names),
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
            unmeasured=_unmeasured(names, deep, without),
        ),
        report,
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


def table(distortions: Sequence[str], excerpts: int, *, deep: str) -> list[trials.Asked]:
    """Say how often what is measured at which length."""
    scanned = {
        "asked": {cell.distortion for cell, promise in PROMISES.items() if promise.is_deep},
        "moved": {name for name, attack in ATTACKS.items() if attack.kind is Kind.TIME},
        "none": set(),
    }[deep]
    found = [
        trials.Asked(
            distortion=name,
            seconds=trials.EXCERPT_SECONDS,
            count=excerpts,
            is_deep=name in scanned,
        )
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
    return [
        task
        for half in (0, 1)
        for task in _divided(
            sides[half],
            catalogs[1 - half],
            sides[1 - half],
            len(sides[1 - half]),
            (count + 1 - half) // 2,
            seed,
        )
    ]


def _divided(
    tracks_: Sequence[Track],
    catalog: Catalog,
    inside: Sequence[Track],
    size: int,
    count: int,
    seed: int,
) -> list[trials.Strangers]:
    """Divide queries among tracks that are not in a catalog."""
    each, more = divmod(count, max(1, len(tracks_)))
    return [
        trials.Strangers(
            catalog=catalog,
            works=size,
            inside=tuple(inside),
            track=track,
            count=each + (place < more),
            seed=seed,
        )
        for place, track in enumerate(tracks_)
        if each + (place < more)
    ]


def _rivaled(
    tracks_: Sequence[Track],
    distortions: Sequence[str],
    kept: State,
    *,
    strangers: int,
    folder: Path,
    assets: Path,
    seed: int,
    jobs: int,
) -> list[rivals.RivalTask]:
    """Ask the other engine what ours were asked, and say what was to be asked."""
    planned = rivals.rival_tasks(
        tracks_, distortions, strangers=strangers, folder=folder, assets=assets, seed=seed
    )
    missing = [task for task in planned if any(name not in kept.rows for name in task.names)]
    if missing:
        # All works are in every table, so all must be learned before the first question.
        _measure(planned, rivals.learn, kept, label="works for audfprint2", jobs=jobs)
    _measure(missing, rivals.ask, kept, label="queries for audfprint2", jobs=jobs)
    return planned


def _sizes(text: str) -> list[int]:
    """Read ``--scale``.

    Raises:
        InputError: If it is no list of numbers.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() and int(word) for word in words):
        raise InputError(
            f"--scale {text!r} is no list of numbers of works",
            remedy="Write it like --scale 1000,10000.",
        )
    return sorted({int(word) for word in words})


def _big(
    sides: dict[int, list[Track]], sizes: Sequence[int], folder: Path, seed: int
) -> Iterator[scale.Size]:
    """Name the catalogs of a scale run: of either half, or of one if they are very big."""
    for count in sizes:
        for half in (0, 1) if count <= scale.MOST_HALVES else (0,):
            yield scale.Size(
                works=count,
                half=half,
                inside=tuple(sides[half]),
                outside=tuple(sides[1 - half]),
                folder=folder / f"{count}-half-{half}",
                seed=seed,
            )


def _scaled(
    size: scale.Size, library: Catalog, kept: State, strangers: int, *, queries: int, jobs: int
) -> list[trials.Strangers]:
    """Make a big catalog, measure it, and search for strangers in it; nothing is done twice."""
    share = strangers if size.works > scale.MOST_HALVES else (strangers + 1 - size.half) // 2
    tasks = _divided(size.outside, size.catalog, size.inside, size.works, share, size.seed)
    missing = [task for task in tasks if task.name not in kept.rows]
    if size.name in kept.rows and not missing:
        return tasks
    added = size.works - len(size.inside)
    with click.progressbar(length=added, label=size.catalog.name, file=sys.stderr) as bar:
        for present in scale.fill(size, library):
            bar.update(present - len(size.inside) - bar.pos)
    if size.name not in kept.rows:
        kept.add(scale.measure(size, library, queries=queries))
    _measure(missing, trials.search_strangers, kept, label="strangers", jobs=jobs)
    scale.discard(size)
    return tasks


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


def _unmeasured(names: str, deep: str, without: str) -> list[str]:
    """Say what a reader might take for granted."""
    found = [without] if without else []
    if names != "asked":
        found.append(f"not the table that was asked for: --distortions {names}")
    if deep == "none":
        found.append("the deep scan: --deep none")
    return [
        *found,
        "music of other kinds: all works are game music, and the engines' limits were chosen on it",
        "loudspeakers, rooms and phones: re-recording is simulated",
        "speech that is not read by actors in a studio: the prompts are of telephone systems",
        "the same composition in another recording (covers, live versions)",
    ]


def _publish(figures: Figures, report: Path | None) -> None:
    """Print the figures, write the page, and end with 3 if a promise was missed."""
    if report is not None:
        from safegen.evaluation.matching_bench.report import html

        report.write_text(html(figures), encoding="utf-8")
    click.echo(json.dumps(figures.as_json(), indent=1))
    if figures.failed:
        raise SystemExit(3)
