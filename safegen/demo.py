"""The whole gate once, on works composed and rendered on the spot (CC0).

Each step is one call that a user would make, on an installation of its own below the
output folder. Nothing is prepared: the works, the piece, the quotation and the copied
watermark are made here.
"""

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from registry import schema
from registry.catalog import find_rights_holder
from registry.scope import AuditScope
from safegen import audit, catalog, policy, watermark
from safegen.audio import Audio, load, resample, save, walk
from safegen.audit import Window
from safegen.config import Config, from_environment
from safegen.declarations import parse_terms
from safegen.errors import SafegenError
from safegen.gate import Gate
from safegen.generation.base import ModelFacts, Request
from safegen.generation.compose import compose
from safegen.generation.procedural import render
from safegen.generation.systems import load as load_model
from safegen.listening import listen_here, open_ears
from safegen.matching import Scan
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from safegen.recording import Release, now
from safegen.screening import Screener
from safegen.screening_report import write_report
from safegen.verification import Verdict, Verification, Verifier

PROMPT: Final = "a calm piano piece in A minor, 84 bpm, with soft drums"
WORK_SEEDS: Final = tuple(range(70_000_000, 70_000_006))
"""Far from the seeds of the training items, so that the works are new to the model."""

RIGHTS_HOLDER: Final = "Demo Collecting Society"
WORK_SECONDS: Final = 30.0
QUOTE_SECONDS: Final = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step of the demo shows.

    Attributes:
        title: What was done.
        lines: What came of it.
    """

    title: str
    lines: tuple[str, ...]


def install(home: Path) -> Config:
    """Make keys and a database in a new state folder."""
    config = from_environment({"SAFEGEN_HOME": str(home)})
    KeyStore(config.keys).init()
    schema.upgrade(config.database_url)
    return config


def add_composed_works(config: Config, folder: Path, *, seeds: tuple[int, ...]) -> int:
    """Compose, render and catalog one work for each seed; nothing is allowed with them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, seed in enumerate(seeds, start=1):
        path = folder / f"Study No. {number}.wav"
        save(render(compose(seed), seconds=WORK_SECONDS), path)
        paths.append(path)
    terms = parse_terms(
        rights_holder=RIGHTS_HOLDER,
        license_name="known, not licensed",
        territories="*",
        uses="",
        valid_from="2020-01-01",
        valid_until="",
    )
    database = schema.open_database(config.database_url)
    try:
        declared = catalog.declare(tuple(paths), terms, artist="The Composer of the Demo")
        added = list(catalog.add(database, declared, now=now, jobs=1))
    finally:
        database.close()
    for one in added:
        if one.problem:
            raise SafegenError(one.problem)
    return len(added)


def run(out: Path, *, progress: Callable[[float], None] | None = None) -> Iterator[Step]:
    """Show every part of the gate, one step at a time.

    Args:
        out: An empty or missing folder; everything stays below it.
        progress: Share of the generation that is done, in [0, 1].

    Raises:
        SafegenError: If a step does not show what it promises.
    """
    config = install(out / "home")
    count = add_composed_works(config, out / "catalog", seeds=WORK_SEEDS)
    yield Step(
        title=f"{count} works composed, rendered and added to the catalog",
        lines=(f"{out / 'catalog'}", f"rights-holder: {RIGHTS_HOLDER}, nothing licensed"),
    )

    gate = Gate.open(out / "home")
    try:
        released = _generate(gate, out, progress)
        yield Step(title=f'released: "{PROMPT}"', lines=_released_lines(released))

        quoting = _quote(out)
        refused = gate.submit(
            load(quoting),
            ModelFacts(name="Somebody else's generator 1.0", version="unknown", license="unknown"),
            out=out / "released",
            source_name=quoting.name,
        )
        _expect(not refused.is_released, "the quotation was released")
        yield Step(title=f"refused: {quoting.name}", lines=_refused_lines(refused))

        yield from _verify(config, gate, released, out)
    finally:
        gate.close()

    yield _screen(config, out)
    yield from _audit(config)


def _generate(gate: Gate, out: Path, progress: Callable[[float], None] | None) -> Release:
    request = Request(prompt=PROMPT, seconds=12.0, seed=2026)
    generator = load_model("music-flow", device="cpu")
    release = gate.generate(generator, request, out=out / "released", progress=progress)
    _expect(release.is_released, f"the piece was refused: {release.judgement.decision.reasons}")
    return release


def _quote(out: Path) -> Path:
    """Put twelve seconds of a cataloged work under a tune of its own, as an MP3."""
    work = load(out / "catalog" / "Study No. 2.wav").cut(9.0, 9.0 + QUOTE_SECONDS)
    tune = resample(render(compose(71_000_000), seconds=QUOTE_SECONDS), work.sample_rate)
    n = min(work.waveform.shape[1], tune.waveform.shape[1])
    mixed = 0.8 * work.waveform[:, :n] + 0.15 * tune.waveform[:, :n]
    path = out / "uploads" / "quoting.mp3"
    path.parent.mkdir(exist_ok=True)
    save(Audio(waveform=mixed.astype(np.float32), sample_rate=work.sample_rate), path)
    return path


def _verify(config: Config, gate: Gate, released: Release, out: Path) -> Iterator[Step]:
    """Ask what four files are: the release, its re-encoding, other music, a copied mark."""
    if released.finished is None:
        return
    uploads = out / "uploads"
    piece = load(released.finished.path)
    encoded = uploads / "re-encoded at 64 kbit per s.mp3"
    save(piece, encoded, bitrate=64_000)

    other = render(compose(72_000_000), seconds=12.0)
    unknown = uploads / "other music.wav"
    save(other, unknown)

    # The residual of a mark of our own key, pasted onto another recording: what somebody
    # with both the marked and the unmarked sound could do. The other recording is turned
    # down, because a mark is only heard on a foreign host where that one is quiet.
    residual = watermark.embed(piece, payload=released.finished.payload, key=gate.mark_key.secret)
    other = resample(other, piece.sample_rate)
    n = min(other.waveform.shape[1], piece.waveform.shape[1])
    pasted = 0.3 * other.waveform[:, :n] + 2.0 * (residual.waveform - piece.waveform)[:, :n]
    copied = uploads / "copied mark.wav"
    save(Audio(waveform=pasted.astype(np.float32), sample_rate=piece.sample_rate), copied)

    database = schema.open_database(config.database_url)
    try:
        verifier = Verifier(
            database=database,
            keys=KeyStore(config.keys),
            inflation=watermark.inflation_of(config),
        )
        found = [
            verifier.verify(path) for path in (released.finished.path, encoded, unknown, copied)
        ]
    finally:
        database.close()
    wanted = (Verdict.OURS, Verdict.OURS, Verdict.UNKNOWN, Verdict.CLAIMED_MISMATCH)
    for one, verdict in zip(found, wanted, strict=True):
        _expect(one.verdict is verdict, f"{one.file} is {one.verdict}: {one.reason}")
    yield Step(title="verified", lines=tuple(_verified_line(one) for one in found))


def _screen(config: Config, out: Path) -> Step:
    """Judge the uploads like a platform would, with a report to look at."""
    ears = open_ears(config, scan=Scan.PLAIN)
    judge = policy.load("standard", config.policies)
    database = schema.open_database(config.database_url)
    try:
        screener = Screener(
            database=database,
            log=open_log(database, KeyStore(config.keys)),
            policy=judge,
            now=now,
            version=importlib.metadata.version("safegen"),
        )
        found = list(
            screener.screen(
                tuple(walk((out / "uploads",))),
                lambda todo: listen_here(todo, ears, with_picture=True),
                resume=False,
            )
        )
    finally:
        database.close()
    report = out / "report.html"
    write_report(found, report, policy=judge, at=now())
    lines = [f"{one.verdict.value:16} {Path(one.file).name}" for one in found]
    return Step(title=f"screened: {report}", lines=tuple(lines))


def _audit(config: Config) -> Iterator[Step]:
    """Answer the rights-holder, and hash the whole log again."""
    database = schema.open_database(config.database_url)
    try:
        log = open_log(database, KeyStore(config.keys))
        with database.read() as session:
            holder = find_rights_holder(session, RIGHTS_HOLDER)
            outputs = list(audit.matches(session, log, AuditScope.of(holder), window=Window()))
            report = log.verify(session)
    finally:
        database.close()
    yield Step(
        title=f"audited for {RIGHTS_HOLDER}: {len(outputs)} outputs quote its works",
        lines=tuple(
            f"{one.output.state:10} {one.output.kind:10} log entry {one.output.log_index}, "
            "inclusion proof holds"
            for one in outputs
        ),
    )
    yield Step(
        title="log verified",
        lines=(
            f"{report.size} entries hashed again, {report.checkpoints} signed checkpoints hold",
        ),
    )


def _released_lines(release: Release) -> tuple[str, ...]:
    finished = release.finished
    if finished is None:
        return ()
    overhead = sum(ms for name, ms in release.timings_ms.items() if name != "generate")
    mark = finished.mark
    return (
        str(finished.path),
        f"watermark {finished.payload:016x}"
        + (f", p {policy.p_text(mark.p_value)}" if mark else ""),
        f"C2PA {finished.c2pa_state}, log entry {release.position}",
        f"{release.item.seconds:g} s generated in "
        f"{release.timings_ms['generate'] / 1000:.1f} s, gate {overhead / 1000:.1f} s",
    )


def _refused_lines(release: Release) -> tuple[str, ...]:
    return (
        *(
            f"{reason.rule}: {reason.problem}"
            for reason in release.judgement.decision.reasons
            if reason.action is release.judgement.decision.action
        ),
        *(
            f"{m.match.query_start_seconds:.1f}-{m.match.query_end_seconds:.1f} s quote "
            f'"{m.title}" ({m.rights_holder}) at {m.match.reference_start_seconds:.1f} s'
            for m in release.judgement.matches
        ),
        f"log entry {release.position}, and nowhere else",
    )


def _verified_line(found: Verification) -> str:
    return f"{found.verdict.value:16} {Path(found.file).name}"


def _expect(holds: bool, problem: str) -> None:
    if not holds:
        raise SafegenError(
            f"the demo did not show what it promises: {problem}",
            remedy="Run `safegen doctor` and report this with its output.",
        )
