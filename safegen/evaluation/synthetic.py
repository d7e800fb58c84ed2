"""Does the synthetic-audio classifier keep what it promises, and is it silent where it should be?

Everything is judged by the roster that ships, at its own limits, on speakers, sentences and
tracks that nobody has tuned on (role "held" of a corpus):

* known generators: equal error rate of their heads, misses and false alarms, who is taken
  for whom; by codec and length;
* unknown ones: each generator without its own entry, and without its family;
* real sound that is hard: enhanced, marked, pitched, compressed;
* own outputs and other music; splices and where they are found; what it all costs.

Beside the scores stands the probe: what features that prove nothing reach on the same
sounds. The parts are in ``safegen.evaluation.synthetic_bench``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

import click

from detectors.synthetic.judging import Roster
from safegen.audio import Audio, walk
from safegen.config import from_environment
from safegen.errors import InputError
from safegen.evaluation.synthetic_bench import (
    clips,
    cost,
    known,
    negatives,
    own,
    splices,
    unknown,
)
from safegen.evaluation.synthetic_bench.heard import (
    Clip,
    Judgement,
    Piece,
    judged,
    listen,
    with_kept_scores,
)
from safegen.evaluation.synthetic_bench.promises import (
    MUSIC_CODECS,
    MUSIC_SECONDS,
    Found,
    Promise,
    promises,
)
from safegen.training import sources
from safegen.training.measured import CLEAN, TREATMENTS, Treatment
from safegen.training.synthesizers import SYNTHESIZERS

PARTS: Final = ("known", "unknown", "negatives", "own", "music", "splices", "cost")
CODECS: Final = (
    *(CLEAN, "mp3-64k", "aac-64k", "opus-48k", "opus-24k", "opus-12k"),
    "telephone",
)
LENGTHS: Final = (4.0, 10.0, 20.0)
KINDS: Final = ("speech", "music")
OWN_MODELS: Final = ("music-flow", "procedural")
ACE_STEP: Final = "ace-step"
_FROM_CORPUS: Final = ("known", "unknown", "negatives", "splices", "cost")
_FROM_ASSETS: Final = ("own", "music")
_TIMED: Final = 20


@dataclass(slots=True, kw_only=True)
class Run:
    """What a run was asked for, and what it has found so far.

    Attributes:
        asked: Whom to ask.
        roster: The same; generic models read the scores that were kept.
        work: Where measurements are kept.
        parts: What is measured.
        found: What was measured.
        row: The output.
        not_measured: Part, or a kind in it, -> why.
    """

    asked: Roster
    roster: Roster
    work: Path
    parts: Sequence[str]
    found: Found = field(default_factory=Found)
    row: dict[str, object] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)

    def heard(
        self, wanted: Sequence[Clip], treatments: Mapping[str, Treatment], label: str
    ) -> list[Piece]:
        """Measure clips after each treatment and draw a bar on stderr."""
        pieces = listen(wanted, treatments, models=self.asked.generic, folder=self.work / "heard")
        total = len(wanted) * len(treatments)
        with click.progressbar(pieces, total, label, file=sys.stderr) as bar:
            return list(bar)

    def judged(self, pieces: Sequence[Piece], *lengths: float) -> list[Judgement]:
        """Judge sounds of these lengths."""
        return [j for s in lengths for j in judged(pieces, seconds=s, roster=self.roster)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for; as the options say.

    Attributes:
        corpus: Of real and synthetic clips.
        assets: Of recorded music.
        ai_music: Of another generator.
        ai_generator: Its name in the registry.
        outputs: Of shipped models.
        treatments: What known generators are judged after.
        each: Clips of every generator.
        real: Real clips, and about as many excerpts of recorded music.
        prompts: Outputs of each shipped model.
        tracks: Of recorded music, that are copied by known generators.
        inserts: Sounds of each generator and length of insert.
        seed: Of the places of inserts.
    """

    corpus: Path | None
    assets: Path | None
    ai_music: Path | None
    ai_generator: str
    outputs: Path
    treatments: tuple[str, ...]
    each: int
    real: int
    prompts: int
    tracks: int
    inserts: int
    seed: int


@click.command("synthetic")
@click.option(
    "--corpus",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Clips of real and synthetic sound, as `safegen.training.corpora` writes them.",
)
@click.option(
    "--assets",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Recorded music: what `safegen eval assets` fetched.",
)
@click.option(
    "--ai-music",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Music of another generator that has an entry.",
)
@click.option(
    "--ai-generator",
    default=ACE_STEP,
    show_default=True,
    metavar="NAME",
    help="The entry of that generator.",
)
@click.option(
    "--outputs",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Outputs of shipped models, MODEL-held each, made if missing; beside them those that "
    "`safegen eval generation --work` kept are judged, too.  [default: in --work]",
)
@click.option(
    "--work",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps what was measured.  [default: SAFEGEN_HOME/eval/synthetic]",
)
@click.option(
    "--only",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    help="Measure this part; repeatable.  [default: all]",
)
@click.option(
    "--treatments",
    default=",".join(CODECS),
    show_default=True,
    metavar="NAME,...",
    help="What known generators are judged after; untreated always.",
)
@click.option(
    "--clips",
    "each",
    type=click.IntRange(5),
    default=40,
    show_default=True,
    help="Of every generator.",
)
@click.option(
    "--real",
    type=click.IntRange(5),
    default=200,
    show_default=True,
    help="Real clips, and excerpts of music.",
)
@click.option(
    "--prompts",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Outputs of each shipped model.",
)
@click.option(
    "--tracks",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Of recorded music, that known generators copy.",
)
@click.option(
    "--inserts",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Sounds for each generator and length of insert.",
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write an HTML page with tables and plots.",
)
@click.option("--seed", type=int, default=0, show_default=True)
def command(
    corpus: Path | None,
    assets: Path | None,
    ai_music: Path | None,
    ai_generator: str,
    outputs: Path | None,
    work: Path | None,
    parts: tuple[str, ...],
    treatments: str,
    each: int,
    real: int,
    prompts: int,
    tracks: int,
    inserts: int,
    report: Path | None,
    seed: int,
) -> None:
    """Measure the synthetic-audio classifier on sound that nobody has tuned on.

    What was measured of a sound is kept, so that a stopped run goes on, and other heads
    are asked quickly.

    \b
    Exit status:
      0  everything that is asked and measured was reached
      1  something failed
      2  bad arguments, or a folder does not hold what it should
      3  a promise was not reached; "failed" in the output names it

    \b
    Example:
      safegen eval synthetic --corpus ~/corpus --assets ~/assets --report synthetic.html
    """
    names = _names(treatments)
    if report is not None and report.suffix != ".html":
        raise InputError(f"{report}: reports are .html", remedy="Name it synthetic.html.")
    if corpus is None and assets is None:
        raise InputError(
            "neither --corpus nor --assets: nothing to judge",
            remedy="Give one of them; each part says what it needs.",
        )
    folder = work or from_environment(os.environ).home / "eval" / "synthetic"
    asked = _shipped()
    run = Run(asked=asked, roster=with_kept_scores(asked), work=folder, parts=parts or PARTS)
    wish = Asked(
        corpus=corpus,
        assets=assets,
        ai_music=ai_music,
        ai_generator=ai_generator,
        outputs=outputs or folder / "outputs",
        treatments=names,
        each=each,
        real=real,
        prompts=prompts,
        tracks=tracks,
        inserts=inserts,
        seed=seed,
    )
    measure(run, wish)
    found = promises(run.found)
    _publish(run, found, report)
    if any(promise.is_missed for promise in found):
        raise SystemExit(3)


def measure(run: Run, wish: Asked) -> None:
    """Measure the parts that are asked for; what cannot be measured is named with the reason."""
    run.row |= {
        "model_id": run.asked.model_id,
        "calibration_id": run.asked.calibration_id,
        "data_card_id": run.asked.data_card_id,
        "entries": {entry.name: entry.family for entry in run.asked.entries},
        "generic_models": [model.name for model in run.asked.generic],
    }
    for part in run.parts:
        if part in _FROM_CORPUS and wish.corpus is None:
            run.not_measured[part] = "it needs --corpus"
        if part in _FROM_ASSETS and wish.assets is None:
            run.not_measured[part] = "it needs --assets"
    if wish.corpus is not None:
        for kind in KINDS:
            _of_corpus(run, wish, wish.corpus, kind)
    if wish.assets is not None:
        if "own" in run.parts:
            _own(run, wish, wish.assets)
        if "music" in run.parts:
            _music(run, wish, wish.assets)


def _of_corpus(run: Run, wish: Asked, corpus: Path, kind: str) -> None:
    """Measure what the held-out clips of one kind can tell."""
    everything = clips.of_corpus(corpus, role="held", kind=kind)
    if not everything:
        for part in set(run.parts) & set(_FROM_CORPUS):
            run.not_measured[f"{part}, {kind}"] = f"the corpus has no held-out {kind}"
        return
    taken = clips.chosen(everything, each=wish.each, real=wish.real)
    plain: list[Piece] = []
    if {"known", "unknown"} & set(run.parts):
        names = wish.treatments if "known" in run.parts else (CLEAN,)
        pieces = run.heard(taken, {n: TREATMENTS[n] for n in names}, f"Held-out {kind}")
        plain = [piece for piece in pieces if piece.treatment == CLEAN]
        if "known" in run.parts:
            _known(run, pieces, kind)
    if "unknown" in run.parts:
        _unknown(run, plain, kind)
    real = [clip for clip in taken if not clip.generator]
    if "negatives" in run.parts:
        _negatives(run, real, kind)
    if kind == "speech" and "splices" in run.parts:
        _splices(run, wish, everything)
    if "cost" in run.parts and real:
        sounds = [clip.make() for clip in islice(clips.joined_clips(real, 2), _TIMED)]
        _cost(run, sounds, kind)


def _known(run: Run, pieces: Sequence[Piece], kind: str) -> None:
    found = run.judged(pieces, *LENGTHS)
    cells, reals = known.cells(found, run.asked), known.reals(found)
    confusions = known.confusions(found, run.asked)
    run.found = replace(
        run.found,
        cells=[*run.found.cells, *cells],
        reals=[*run.found.reals, *reals],
        confusions=[*run.found.confusions, *confusions],
    )
    run.row[f"known_{kind}"] = {
        "generators": [cell.as_json() for cell in cells],
        "real": [each.as_json() for each in reals],
        "attribution": [each.as_json() for each in confusions],
        "trivial_probe": {
            name: known.probe_json(each) for name, each in known.probes(found).items()
        },
    }


def _unknown(run: Run, pieces: Sequence[Piece], kind: str) -> None:
    made = unknown.rows(
        pieces, roster=run.roster, cards=generic_cards(run.asked), seconds=LENGTHS[0]
    )
    with click.progressbar(made, label=f"Left out, {kind}", file=sys.stderr) as bar:
        found = list(bar)
    pooled = {
        "unseen": unknown.together(found, unseen=True),
        "with_generators_that_generic_models_know": unknown.together(found, unseen=False),
    }
    if kind == "speech":
        run.found = replace(run.found, unknown=found, together=pooled["unseen"])
    run.row[f"unknown_{kind}"] = {
        "rows": [row.as_json() for row in found],
        "together": {name: None if row is None else row.as_json() for name, row in pooled.items()},
    }


def _negatives(run: Run, real: Sequence[Clip], kind: str) -> None:
    longer = list(clips.joined_clips(real, 2))
    pieces = run.heard(longer, negatives.available(), f"Hard {kind}")
    # Each by itself, however long it is after it was played faster or slower.
    found = negatives.rows([j for piece in pieces for j in run.judged([piece], piece.seconds)])
    run.found = replace(run.found, hard=[*run.found.hard, *found])
    run.row[f"negatives_{kind}"] = [row.as_json() for row in found]
    for name, get in negatives.missing().items():
        run.not_measured[f"negatives, {name}"] = f"run `{get}`"


def _own(run: Run, wish: Asked, assets: Path) -> None:
    from safegen.generation.cards import CARDS
    from safegen.generation.systems import load as load_model

    made = [
        clip
        for name in OWN_MODELS
        for clip in own.outputs(
            load_model(name), folder=wish.outputs / f"{name}-held", count=wish.prompts
        )
    ]
    for found_card in CARDS:
        folder = wish.outputs / found_card.name
        if folder.is_dir():
            files = tuple(walk((folder,)))[: wish.prompts]
            made += clips.files_of(
                files, generator=found_card.name, family=own.FAMILY, seconds=own.SECONDS
            )
    real = _recordings(run, wish, assets, ("held", "calibrate"), own.SECONDS)
    pieces = run.heard([*made, *real], own.treatments(), "Own outputs")
    found = own.rows(run.judged(pieces, own.SECONDS))
    run.found = replace(run.found, own=found)
    run.row["own"] = [row.as_json() for row in found]


def _music(run: Run, wish: Asked, assets: Path) -> None:
    """Judge long music of known generators: copies of held-out tracks, and a folder."""
    family = {entry.name: entry.family for entry in run.asked.entries}
    tracks = sources.music(assets, "held", work=run.work / "tracks")
    copiers = [s for s in SYNTHESIZERS.values() if s.kind == "copy" and s.name in family]
    for each in copiers:
        if each.missing:
            commands = ", ".join(f"`{need.get}`" for need in each.missing)
            run.not_measured[f"music, {each.name}"] = f"run {commands}"
    here = [each for each in copiers if not each.missing]
    wanted = [
        *_recordings(run, wish, assets, ("held",), MUSIC_SECONDS),
        *clips.copies(tracks[: wish.tracks], here, seconds=MUSIC_SECONDS, seed=wish.seed),
    ]
    if wish.ai_music is None:
        run.not_measured["music, a folder"] = "it needs --ai-music"
    elif wish.ai_generator not in family:
        run.not_measured["music, a folder"] = f"no entry is named {wish.ai_generator}"
    else:
        wanted += clips.files_of(
            tuple(walk((wish.ai_music,))),
            generator=wish.ai_generator,
            family=family[wish.ai_generator],
            seconds=MUSIC_SECONDS,
        )
    treatments = {name: TREATMENTS[name] for name in MUSIC_CODECS}
    found = run.judged(run.heard(wanted, treatments, "Music"), MUSIC_SECONDS)
    cells, reals = known.cells(found, run.asked), known.reals(found)
    confusions = known.confusions(found, run.asked)
    run.found = replace(run.found, music=cells, music_reals=reals)
    run.row["music"] = {
        "generators": [cell.as_json() for cell in cells],
        "real": [each.as_json() for each in reals],
        "attribution": [each.as_json() for each in confusions],
        "trivial_probe": {
            name: known.probe_json(each) for name, each in known.probes(found).items()
        },
    }


def _splices(run: Run, wish: Asked, everything: Sequence[Clip]) -> None:
    planned = list(splices.plan(everything, count=wish.inserts, seed=wish.seed))
    if not planned:
        run.not_measured["splices"] = "no speaker of the corpus has copies and five real clips"
        return
    pieces = run.heard([s.clip for s in planned], {CLEAN: TREATMENTS[CLEAN]}, "Splices")
    found = [
        (splice, judgement)
        for splice, piece in zip(planned, pieces, strict=True)
        for judgement in judged([piece], seconds=splices.SECONDS, roster=run.roster)
    ]
    rows = splices.rows(found)
    run.found = replace(run.found, splices=rows)
    run.row["splices"] = {
        "rows": [row.as_json() for row in rows],
        "window_seconds": found[0][1].finding.resolution_seconds,
        "shortest_insert_from_which_auc_holds": splices.resolution(rows),
    }


def _cost(run: Run, sounds: Sequence[Audio], kind: str) -> None:
    measured = cost.measure(sounds, run.asked)
    if run.found.cost is None or measured.whole > run.found.cost.whole:
        run.found = replace(run.found, cost=measured)
    run.row[f"cost_{kind}"] = measured.as_json()


def _recordings(
    run: Run, wish: Asked, assets: Path, roles: Sequence[sources.Role], seconds: float
) -> list[Clip]:
    """Cut about as many excerpts of recorded music as real clips are asked for."""
    tracks = [
        track for role in roles for track in sources.music(assets, role, work=run.work / "tracks")
    ]
    tracks = tracks[:: max(1, len(tracks) // wish.real)]
    count = max(1, round(wish.real / len(tracks)))
    return list(clips.excerpts(tracks, seconds=seconds, count=count))


def _shipped() -> Roster:
    from detectors.synthetic.shipping import shipped

    return shipped()


def generic_cards(roster: Roster) -> dict[str, str]:
    """Name the generators that each generic model learned from, as JSON; of plug-ins, nobody's."""
    from detectors.synthetic import generic

    return {
        model.name: json.dumps(sorted(generic.load().card.get("clips", {})))
        for model in roster.generic
        if model.name == "generic"
    }


def _names(treatments: str) -> tuple[str, ...]:
    """Read ``--treatments``.

    Raises:
        InputError: If a name is not known.
    """
    wanted = [name.strip() for name in treatments.split(",") if name.strip()]
    found = tuple(dict.fromkeys([CLEAN, *wanted]))
    if strangers := [name for name in found if name not in TREATMENTS]:
        raise InputError(
            f"no treatment is named {', '.join(strangers)}",
            remedy=f"Known are {', '.join(TREATMENTS)}.",
        )
    return found


def _publish(run: Run, found: Sequence[Promise], report: Path | None) -> None:
    run.row["promises"] = [promise.as_json() for promise in found]
    run.row["failed"] = [promise.sentence for promise in found if promise.is_missed]
    run.row["not_measured"] = run.not_measured
    click.echo(json.dumps(run.row))
    if report is not None:
        from safegen.evaluation.synthetic_bench.report import html

        report.write_text(html(run.found, found, run.row), encoding="utf-8")
