"""Does the watermark survive what files go through, at what price, and does it ever lie?

Clips of ten seconds, each marked with an id of its own, are attacked; beside each stands
the unmarked clip, attacked alike. Every attack is a row: how often the mark was heard, how
often exactly that id came back, and how often anything was heard where nothing was. The
parts are in ``safegen.evaluation.watermarking``.
"""

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Final

import click

from detectors import watermark as ear
from detectors.false_alarms import LEVELS
from safegen import watermark
from safegen.config import Config, from_environment
from safegen.errors import InputError
from safegen.evaluation.attacks import ATTACKS, Attack, encodec
from safegen.evaluation.metrics import wilson
from safegen.evaluation.watermarking import calibration
from safegen.evaluation.watermarking import clips as clips_
from safegen.evaluation.watermarking.markers import Keyed, Marker, rivals
from safegen.evaluation.watermarking.promises import LOCALIZED, PROMISES
from safegen.evaluation.watermarking.staged import STAGED, Staged
from safegen.evaluation.watermarking.summary import Figures, summarize
from safegen.evaluation.watermarking.trials import (
    PRICE,
    VISQOL,
    State,
    Task,
    code_version,
    run,
    tasks,
)

_SAY_SECONDS: Final = 60.0
_CALIBRATION_KEYS: Final = 50


@click.command("watermark")
@click.option(
    "--assets",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="What `safegen eval assets` fetched.  [default: SAFEGEN_HOME/assets]",
)
@click.option("--clips", type=click.IntRange(2), default=200, show_default=True)
@click.option(
    "--attacks",
    "names",
    metavar="all|asked|NAME,...",
    default="asked",
    show_default=True,
    help="Every attack, those that something is promised for, or these.",
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write an HTML page with tables and plots.",
)
@click.option(
    "--rival-clips",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="On how many of the clips Perth and AudioSeal are measured, where installed.",
)
@click.option(
    "--visqol-clips",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="On how many of the clips ViSQOL, which takes 10 s each, is run.",
)
@click.option(
    "--encodec",
    "encodec_folder",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="An EnCodec checkpoint; adds its rows to `all`.",
)
@click.option(
    "--strength",
    type=click.FloatRange(0.01, 1.0),
    default=watermark.DEFAULT_STRENGTH,
    show_default=True,
    help="Change of a tile, in nepers.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="Processes, one core each.",
)
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Finished trials are kept here.  [default: SAFEGEN_HOME/eval/watermark.jsonl]",
)
@click.option(
    "--calibrate",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Count false alarms on these unmarked files, one folder a kind, and stop.",
)
@click.option(
    "--windows",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Ten-second windows for --calibrate; 50 keys each.",
)
def command(
    assets: Path | None,
    clips: int,
    names: str,
    report: Path | None,
    rival_clips: int,
    visqol_clips: int,
    encodec_folder: Path | None,
    strength: float,
    jobs: int,
    state: Path | None,
    calibrate: Path | None,
    windows: int,
) -> None:
    """Measure the watermark: heard and read after attacks, false alarms, quality, cost.

    A run that was interrupted goes on where it stopped. With --calibrate, unmarked sound is
    listened to under keys that marked nothing, and what is counted is kept in
    SAFEGEN_HOME/calibration/watermark.json, which `generate`, `screen` and `verify` use.

    \b
    Exit status:
      0  everything that is asked was reached
      1  something failed, or a package of the benchmark is missing
      2  bad arguments, or --assets does not hold the audio
      3  a promise was not reached; "failed" in the output names it

    \b
    Example:
      safegen eval watermark --assets ~/assets --attacks all --report watermark.html
      safegen eval watermark --calibrate ~/recordings
    """
    config = from_environment(os.environ)
    home = config.home
    if calibrate is not None:
        _calibrate(calibrate, config, windows=windows, jobs=jobs)
        return
    attacks = chosen(names, encodec_folder)
    if report is not None and report.suffix != ".html":
        raise InputError(f"{report}: reports are .html", remedy="Name it watermark.html.")
    specs = clips_.plan(assets or home / "assets", clips)
    kept = State(state or home / "eval" / "watermark.jsonl", code_version(strength, clips))
    beside, missing = rivals(home) if rival_clips else ((), ("Perth and AudioSeal: not asked for",))
    everything = tuple(attack.name for attack in attacks)
    plans: list[tuple[Marker, int, tuple[str, ...]]] = [
        (Keyed(strength=strength), len(specs), everything)
    ]
    plans += [(marker, min(rival_clips, len(specs)), everything) for marker in beside]
    wanted = list(
        tasks(
            specs,
            plans,
            kept.rows,
            visqol_clips=visqol_clips,
            encodec_folder=encodec_folder,
        )
    )
    # Each process keeps to one core; numpy and torch read this when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _measure(wanted, kept, jobs=jobs)
    named = {*everything, PRICE, VISQOL}
    figures = summarize(
        (row for row in kept.rows.values() if row["what"] in named),
        attacks,
        strength=strength,
        unmeasured=_unmeasured(missing, encodec_folder, names),
    )
    _publish(figures, report)


def _calibrate(folder: Path, config: Config, *, windows: int, jobs: int) -> None:
    """Count false alarms and keep the table; the promise is broken by a single one."""
    pieces = calibration.plan(folder, windows=windows)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    trials = config.home / "eval" / "watermark-calibration.jsonl"
    found = calibration.scan(pieces, trials, keys=_CALIBRATION_KEYS, jobs=jobs)
    with click.progressbar(found, len(pieces), "Unmarked files", file=sys.stderr) as bar:
        heard = list(bar)
    table = calibration.calibrated(heard, keys=_CALIBRATION_KEYS)
    config.calibration.parent.mkdir(parents=True, exist_ok=True)
    draft = config.calibration.with_suffix(".tmp")
    draft.write_text(table.to_json() + "\n", encoding="utf-8")
    draft.replace(config.calibration)
    smallest = min(value for one in heard for value in one.log_p)
    alarms = sum(tail.at_most[LEVELS.index(ear.DETECTION_P)] for tail in table.tails)
    row = {
        **json.loads(table.to_json()),
        "windows": table.windows,
        "false_alarms": alarms,
        "high95": float(f"{wilson(alarms, table.windows).high:.3g}"),
        "smallest_p": float(f"{math.exp(min(0.0, smallest)):.3g}"),
        "inflation": round(table.inflation, 4),
        "file": str(config.calibration),
    }
    click.echo(json.dumps(row, indent=1))
    if alarms:
        raise SystemExit(3)


def chosen(names: str, encodec_folder: Path | None) -> list[Attack | Staged]:
    """Read ``--attacks``: every attack, the promised ones, or those that are named.

    Raises:
        InputError: If a name is not known.
    """
    known: dict[str, Attack | Staged] = {**ATTACKS}
    if encodec_folder is not None:
        known |= encodec.rows(encodec_folder)
    known |= STAGED
    if names == "all":
        return list(known.values())
    if names == "asked":
        return [row for name, row in known.items() if name in PROMISES or name == LOCALIZED]
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(
            f"no attack is named {', '.join(unknown)}",
            remedy=f"Known are all, asked, {', '.join(known)}.",
        )
    return [known[name] for name in dict.fromkeys(wanted)]


def _measure(wanted: list[Task], kept: State, *, jobs: int) -> None:
    """Run what is missing, with the time left on stderr: a bar, or a line a minute in a log."""
    total = sum(task.count for task in wanted)
    label = f"{total} trials"
    begun = said = time.monotonic()
    done = 0
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        for rows in run(wanted, jobs=jobs):
            for row in rows:
                kept.add(row)
            done += len(rows)
            bar.update(len(rows))
            now = time.monotonic()
            if not sys.stderr.isatty() and now - said >= _SAY_SECONDS:
                left = (now - begun) / done * (total - done)
                click.echo(f"{done} of {total} trials, {left / 60:.0f} min left", err=True)
                said = now


def _unmeasured(missing: tuple[str, ...], encodec_folder: Path | None, names: str) -> list[str]:
    """Say what a reader might take for granted."""
    found = list(missing)
    if encodec_folder is None:
        found.append("EnCodec and other neural codecs: no checkpoint was given (--encodec)")
    if names != "all":
        found.append(f"only the attacks {names} were run; --attacks all runs every one")
    return [
        *found,
        "a listening test: PESQ and ViSQOL are models of listeners",
        "rubberband and commercial pitch shifters: tempo and pitch are FFmpeg's atempo and a "
        "phase vocoder",
        "loudspeakers, rooms and phones: re-recording is simulated",
        "attackers who train against the detector: none was built",
    ]


def _publish(figures: Figures, report: Path | None) -> None:
    """Print the figures, write the page, and end with 3 if a promise was missed."""
    if report is not None:
        from safegen.evaluation.watermarking.report import html

        report.write_text(html(figures), encoding="utf-8")
    click.echo(json.dumps(figures.as_json(), indent=1))
    if figures.failed:
        raise SystemExit(3)
