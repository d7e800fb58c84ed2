"""What do all ears say about one upload? Never an exception: a fault is an answer.

Uploads come from strangers. Decoding and listening therefore happen in worker
processes when there is more than one job, and a file that takes its worker down is
reported as undecodable like any other bad file.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from detectors.base import Match
from detectors.composition import CompositionMatch, NotComparableError
from detectors.errors import DetectorError
from registry.catalog import NewFingerprint
from safegen.audio import Audio, load, sha256_file
from safegen.config import Config
from safegen.errors import InputError, SafegenError
from safegen.kept import kept_of
from safegen.matching import Prints, Scan, prints_of
from safegen.policy import Fault
from safegen.spectrogram import spectrogram_png
from safegen.synthesis import origin_of
from safegen.synthesis_picture import explanation_png

if TYPE_CHECKING:
    from detectors.base import WatermarkFinding
    from detectors.decoder_mark import DecoderMarkFinding
    from detectors.synthetic import SyntheticFinding
    from safegen.provenance.c2pa import C2paFinding

Answer = TypeVar("Answer")

_FAULT_CHARACTERS: Final = 300
_WAITING_PER_JOB: Final = 4
_CRASHED: Final = "the decoder crashed on it"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """Everything that listens, opened once for many files.

    Attributes:
        match: Finds the works of the catalog that a sound quotes.
        compare_notes: Finds the works whose notes a sound plays, perhaps.
        classify: Gives the synthetic score.
        detect: Listens for our watermarks.
        hear_root: Listens for the mark that the shipped codec's decoder writes.
        read_manifest: Reads Content Credentials from the file.
        scan: How thoroughly ``match`` looks.
    """

    match: Callable[[Prints], tuple[Match, ...]]
    compare_notes: Callable[[Prints], tuple[CompositionMatch, ...]]
    classify: Callable[[Audio], "SyntheticFinding"]
    detect: Callable[[Audio], "WatermarkFinding"]
    hear_root: Callable[[Audio], "DecoderMarkFinding"]
    read_manifest: Callable[[Path], "C2paFinding"]
    scan: Scan = Scan.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class EarFindings:
    """What every ear said; None where one gave no answer, and then a fault says why.

    ``not_compared`` says why compositions were not compared, "" if they were.
    """

    matches: tuple[Match, ...]
    synthetic: "SyntheticFinding | None"
    watermark: "WatermarkFinding | None"
    decoder_mark: "DecoderMarkFinding | None"
    c2pa: "C2paFinding | None"
    faults: tuple[Fault, ...]
    compositions: tuple[CompositionMatch, ...] = ()
    not_compared: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One upload after listening.

    Attributes:
        path: As named.
        sha256: Of the file's bytes, "" if it could not be read at all.
        size_bytes: Of the file.
        seconds: Of the sound, 0 if it cannot be decoded.
        findings: Of every ear; None if the file cannot be decoded.
        problem: Why it cannot be decoded, "" if it can.
        picture: A spectrogram as PNG, b"" if none was asked for.
        explanation: Why the classifier says what it says, as PNG; b"" if nobody asked or
            it gave no answer.
        kept: Of the sound, to compare it with works that come later.
        scan: How thoroughly it was compared with the catalog.
    """

    path: Path
    sha256: str
    size_bytes: int
    seconds: float
    findings: EarFindings | None
    problem: str
    picture: bytes
    kept: tuple[NewFingerprint, ...] = ()
    scan: Scan = Scan.PLAIN
    explanation: bytes = b""


def open_ears(config: Config, *, scan: Scan) -> Ears:
    """Open the ears of an installation: its catalog, its watermark keys, its trust anchors.

    Args:
        config: Of the installation.
        scan: How thoroughly to compare with the catalog.

    Raises:
        SafegenError: If the keys are missing.
        RegistryError: If the database is missing or out of date.
    """
    from detectors import decoder_mark
    from registry import schema
    from safegen import watermark
    from safegen.matching import CatalogMatcher
    from safegen.provenance import c2pa
    from safegen.provenance.keys import KeyStore
    from safegen.synthesis import classifier_of

    keys = KeyStore(config.keys)
    mark_keys = keys.watermark_keys()
    inflation = watermark.inflation_of(config)
    anchors = keys.trust_anchors()
    matcher = CatalogMatcher(schema.open_database(config.database_url), index_folder=config.index)
    return Ears(
        match=lambda prints: matcher.match_prints(prints, deep=scan is Scan.DEEP),
        compare_notes=lambda prints: matcher.compositions_prints(prints, deep=scan is Scan.DEEP),
        classify=classifier_of(config),
        detect=lambda audio: watermark.detect(audio, keys=mark_keys, inflation=inflation),
        hear_root=lambda audio: decoder_mark.hear(audio.waveform, audio.sample_rate),
        read_manifest=lambda path: c2pa.read(path, trust_anchors=anchors),
        scan=scan,
    )


def listen(path: Path, ears: Ears, *, with_picture: bool, with_explanation: bool = False) -> Heard:
    """Decode a file and ask every ear; whatever goes wrong becomes part of the answer."""
    sha256, size_bytes = "", 0
    try:
        size_bytes = path.stat().st_size
        sha256 = sha256_file(path)
        audio = load(path)
    except Exception as error:
        problem = error.problem if isinstance(error, InputError) else _text(error)
        log.debug("%s cannot be decoded", path, exc_info=True)
        return _unheard(path, problem.removeprefix(f"{path}: "), sha256, size_bytes)
    faults: list[Fault] = []

    def ask(ear: str, question: Callable[[], Answer]) -> Answer | None:
        try:
            return question()
        except Exception as error:
            log.debug("%s: the %s ear failed", path, ear, exc_info=True)
            faults.append(Fault(ear=ear, problem=_text(error)))
            return None

    matches: tuple[Match, ...] | None = None
    kept: tuple[NewFingerprint, ...] | None = None
    notes: _Notes | None = None
    if prints := ask("catalog", lambda: prints_of(audio)):
        matches = ask("catalog", lambda: ears.match(prints))
        kept = ask("catalog", lambda: kept_of(prints))
        notes = ask("composition", lambda: _notes(ears, prints))
    synthetic = ask("synthetic", lambda: ears.classify(audio))
    mark = ask("watermark", lambda: ears.detect(audio))
    root = ask("decoder_mark", lambda: ears.hear_root(audio))
    manifest = ask("c2pa", lambda: ears.read_manifest(path))
    findings = EarFindings(
        matches=matches or (),
        synthetic=synthetic,
        watermark=mark,
        decoder_mark=root,
        c2pa=manifest,
        faults=tuple(faults),
        compositions=notes.found if notes else (),
        not_compared=notes.problem if notes else "they could not be compared",
    )
    return Heard(
        path=path,
        sha256=sha256,
        size_bytes=size_bytes,
        seconds=audio.seconds,
        findings=findings,
        problem="",
        picture=spectrogram_png(audio) if with_picture else b"",
        kept=kept or (),
        scan=ears.scan,
        explanation=_explanation(path, audio, findings) if with_explanation else b"",
    )


def _explanation(path: Path, audio: Audio, found: EarFindings) -> bytes:
    """Draw why the classifier says what it says, while the sound is at hand."""
    if found.synthetic is None:
        return b""
    return explanation_png(
        audio,
        found.synthetic,
        origin_of(
            found.synthetic, mark=found.watermark, root=found.decoder_mark, manifest=found.c2pa
        ),
        name=path.name,
        mark=found.watermark,
        root=found.decoder_mark,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Notes:
    """Whose notes a sound plays, or why that was not asked."""

    found: tuple[CompositionMatch, ...] = ()
    problem: str = ""


def _notes(ears: Ears, prints: Prints) -> _Notes:
    try:
        return _Notes(found=ears.compare_notes(prints))
    except NotComparableError as error:
        return _Notes(problem=str(error))


def listen_here(
    paths: Iterable[Path], ears: Ears, *, with_picture: bool, with_explanation: bool = False
) -> Iterator[tuple[Heard, ...]]:
    """Listen in this process, one file at a time."""
    for path in paths:
        yield (listen(path, ears, with_picture=with_picture, with_explanation=with_explanation),)


def listen_in_pool(
    paths: Iterable[Path],
    open_: Callable[[Config], Ears],
    config: Config,
    *,
    jobs: int,
    with_picture: bool,
    with_explanation: bool = False,
) -> Iterator[tuple[Heard, ...]]:
    """Listen in ``jobs`` processes; groups of results come in the order of the paths.

    Args:
        paths: Consumed as workers get free.
        open_: Opens the ears in each worker; must be importable.
        config: Handed to it.
        jobs: Number of processes.
        with_picture: Whether to draw spectrograms.
        with_explanation: Whether to draw why the classifier says what it says.
    """
    drawn = _Drawn(picture=with_picture, explanation=with_explanation)
    todo = iter(paths)
    waiting: deque[tuple[Path, Future[Heard]]] = deque()
    pool = _pool(jobs, open_, config)
    try:
        while True:
            for path in islice(todo, jobs * _WAITING_PER_JOB - len(waiting)):
                waiting.append((path, _submit(pool, path, drawn)))
            if not waiting:
                return
            wait([waiting[0][1]])
            if any(isinstance(_failure(future), BrokenProcessPool) for _, future in waiting):
                # A file in this batch ended a worker, and the pool with it.
                pool.shutdown(wait=False, cancel_futures=True)
                yield tuple(_one_by_one(waiting, open_, config, drawn=drawn))
                waiting.clear()
                pool = _pool(jobs, open_, config)
                continue
            group: list[Heard] = []
            while waiting and waiting[0][1].done():
                group.append(waiting.popleft()[1].result())
            yield tuple(group)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """What workers draw."""

    picture: bool
    explanation: bool


def _submit(pool: ProcessPoolExecutor, path: Path, drawn: _Drawn) -> Future[Heard]:
    try:
        return pool.submit(_work, path, drawn)
    except BrokenProcessPool as error:
        failed: Future[Heard] = Future()
        failed.set_exception(error)
        return failed


def _failure(future: Future[Heard]) -> BaseException | None:
    return future.exception() if future.done() and not future.cancelled() else None


_ears: Ears | None = None
"""Of this worker process."""


def _pool(jobs: int, open_: Callable[[Config], Ears], config: Config) -> ProcessPoolExecutor:
    # Spawned: a forked child would inherit database connections and torch's threads.
    return ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(open_, config)
    )


def _start_worker(open_: Callable[[Config], Ears], config: Config) -> None:
    global _ears  # noqa: PLW0603 - a worker has one set of ears for its whole life
    # Before numpy and torch start their threads: the jobs share the cores already.
    os.environ["OMP_NUM_THREADS"] = "1"
    _ears = open_(config)


def _work(path: Path, drawn: _Drawn) -> Heard:
    if _ears is None:
        msg = "the worker was not started with ears"
        raise RuntimeError(msg)
    return listen(path, _ears, with_picture=drawn.picture, with_explanation=drawn.explanation)


def _one_by_one(
    waiting: Iterable[tuple[Path, Future[Heard]]],
    open_: Callable[[Config], Ears],
    config: Config,
    *,
    drawn: _Drawn,
) -> Iterator[Heard]:
    """Hear what a broken pool left, so that only the deadly file pays for it."""
    pool = _pool(1, open_, config)
    try:
        for path, future in waiting:
            if future.done() and _failure(future) is None:
                yield future.result()
                continue
            try:
                yield _submit(pool, path, drawn).result()
            except BrokenProcessPool:
                yield _unheard(path, _CRASHED, sha256_file(path), path.stat().st_size)
                pool = _pool(1, open_, config)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _unheard(path: Path, problem: str, sha256: str, size_bytes: int) -> Heard:
    return Heard(
        path=path,
        sha256=sha256,
        size_bytes=size_bytes,
        seconds=0.0,
        findings=None,
        problem=problem or "it cannot be decoded",
        picture=b"",
    )


def _text(error: Exception) -> str:
    """One line, without the remedy that our own errors carry."""
    first = (str(error).splitlines() or [""])[0]
    is_ours = isinstance(error, DetectorError | SafegenError)
    return (first if is_ours else f"{type(error).__name__}: {first}")[:_FAULT_CHARACTERS]
