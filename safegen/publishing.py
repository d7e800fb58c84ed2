"""How does a file reach the output folder so that a crash at any point leaves no lie behind?

A file in the output folder is always complete and always in the log. The order is:
stage, make durable, commit record and log entry, link, write the receipt beside it, make
the folder durable, log ``released``. ``link`` is atomic and never overwrites, so the
folder never shows half a file; the record is committed before the link, so it never shows
an unlogged one. What a dead process left is finished or voided by ``Publisher.recover``.

Each item in work owns a folder below ``.safegen-staging`` next to its destination (the
same file system, or ``link`` would fail) and holds an ``flock`` on it while it lives;
recovery touches only folders whose lock it can take.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from registry import releases
from registry.releases import NewModel, NewOutput, OutputRow
from registry.session import Database
from safegen.audio import Audio
from safegen.errors import SafegenError
from safegen.kept import kept_of, plain_of
from safegen.matching import prints_of
from safegen.provenance import receipts
from safegen.provenance.log import Log
from safegen.provenance.record import canonical

STAGING_NAME: Final = ".safegen-staging"
_STAGING_LOCK: Final = ".lock"
_ITEM_LOCK: Final = "lock"
_STAGED_NAME: Final = "final"
_LEFT_STEM: Final = "left-"
RELEASED_MODE: Final = 0o644
MIN_FREE_BYTES: Final = 64 * 1024 * 1024

log_ = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A private folder for one item on its way out.

    Attributes:
        record_id: Whose it is.
        folder: ``<out>/.safegen-staging/<record_id>``, mode 0700.
        final: Where the finished file must lie before ``Publisher.publish``.
    """

    record_id: str
    folder: Path
    final: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was found of earlier, dead processes.

    Attributes:
        finished: Records whose file was complete and is now released.
        voided: Records whose file was lost before it was visible.
        swept: Staging folders without a record, deleted.
        broken_off: Records of streams that had not ended.
    """

    finished: tuple[str, ...]
    voided: tuple[str, ...]
    swept: tuple[str, ...]
    broken_off: tuple[str, ...] = ()


class Publisher:
    """Moves staged files into output folders, with a record and two log entries each.

    Args:
        database: Holds the outputs and the log.
        log: Appends inside this class's transactions.
        on_step: Called with the name of each step that has just been completed.
        now: Gives the current UTC time.
    """

    def __init__(
        self,
        database: Database,
        log: Log,
        *,
        on_step: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._log = log
        self._on_step = on_step
        self._now = now
        self._open: set[str] = set()

    @contextlib.contextmanager
    def stage(self, record_id: str, out: Path) -> Iterator[Stage]:
        """Own a staging folder for the length of the block; it is gone afterwards.

        Raises:
            SafegenError: If the output folder cannot be written or its disk is nearly full.
        """
        root = _staging_root(out)
        folder = root / record_id
        with _locked(root / _STAGING_LOCK, fcntl.LOCK_SH):
            folder.mkdir(mode=0o700)
            handle = _take(folder / _ITEM_LOCK, fcntl.LOCK_EX)
        try:
            yield Stage(record_id=record_id, folder=folder, final=folder / _STAGED_NAME)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)

    def open_stream(self, output: NewOutput, model: NewModel) -> int:
        """Log an output before its first sample leaves; returns its position in the log.

        ``refuse`` or ``publish`` completes it under the same id. The caller owns its staging
        folder until then: a stream without one is a dead process's.

        Args:
            output: In state "prepared", with the name of the file to come and no hash.
            model: Which model makes it.
        """
        position = self._commit(output, model, step="stream-opened")
        self._open.add(output.output_id)
        return position

    def is_open(self, record_id: str) -> bool:
        """Tell whether a stream was opened here and its end is not in the log yet."""
        return record_id in self._open

    def refuse(self, output: NewOutput, model: NewModel) -> int:
        """Log an output that will not be released; returns its position in the log."""
        return self._commit(output, model, step="refusal-committed")

    def publish(self, stage: Stage, destination: Path, output: NewOutput, model: NewModel) -> int:
        """Release a staged file; returns the position of its record in the log.

        Args:
            stage: ``stage.final`` holds the complete file.
            destination: Its name in the output folder; must not exist.
            output: Its row, in state "prepared", with ``path`` and ``sha256`` set;
                ``output.record`` becomes the log's leaf.
            model: Which model made it.

        Raises:
            SafegenError: If the file could not be linked; the record is then voided.
        """
        # 1 The bytes are on disk before anything speaks of them. Staging is private; the
        # released file is readable like any other.
        stage.final.chmod(RELEASED_MODE)
        _sync_file(stage.final)
        _sync_folder(stage.folder)
        self._on_step("staged")

        # 2 Record, log entry and checkpoint, or none of them.
        position = self._commit(output, model, step="record-committed")

        # 3 One atomic, never overwriting step makes the file visible.
        try:
            os.link(stage.final, destination)
            self._on_step("linked")
            self._write_receipt(destination, position)
            self._on_step("receipted")
            _sync_folder(destination.parent)
            self._on_step("folder-synced")
        except OSError as error:
            self._close(output.output_id, "void", sha256=output.sha256)
            raise SafegenError(
                f"{destination}: could not be put into the output folder ({error})",
                remedy="Use an output folder on a local file system that supports hard links.",
            ) from error

        # 4 The log says that it happened.
        self._close(output.output_id, "released", sha256=output.sha256)
        self._on_step("released")
        return position

    def recover(self, out: Path | None = None) -> Recovery:
        """Finish or void what dead processes left; harmless beside living ones.

        Args:
            out: An output folder whose orphaned staging folders are swept as well.
        """
        finished: list[str] = []
        voided: list[str] = []
        broken_off: list[str] = []
        with self._database.read() as session:
            waiting = releases.prepared(session)
        for row in waiting:
            record_id = row.output_id
            folder = Path(row.path).parent / STAGING_NAME / record_id
            with contextlib.ExitStack() as stack:
                if folder.is_dir() and not stack.enter_context(_if_free(folder / _ITEM_LOCK)):
                    continue  # its process lives
                if not row.sha256:
                    self._break_off(row, folder)
                    broken_off.append(record_id)
                elif self._finish_or_void(row, folder / _STAGED_NAME):
                    finished.append(record_id)
                else:
                    voided.append(record_id)
                shutil.rmtree(folder, ignore_errors=True)
        swept = self._sweep(out) if out is not None else []
        found = Recovery(
            finished=tuple(finished),
            voided=tuple(voided),
            swept=tuple(swept),
            broken_off=tuple(broken_off),
        )
        if found != Recovery(finished=(), voided=(), swept=()):
            log_.info("recovered: %s", found)
        return found

    def _finish_or_void(self, row: OutputRow, staged: Path) -> bool:
        path = Path(row.path)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            if _sha256(staged) == row.sha256:
                os.link(staged, path)
        if _sha256(path) == row.sha256:
            self._write_receipt(path, row.log_index)
            _sync_folder(path.parent)
            return self._close(row.output_id, "released", sha256=row.sha256)
        self._close(row.output_id, "void", sha256=row.sha256)
        return False

    def _break_off(self, row: OutputRow, folder: Path) -> None:
        """Close a stream whose process died, with the fingerprint of what had left."""
        left = heard_until_now(folder)
        with self._database.begin() as session:
            if left is not None and releases.get_output(session, row.output_id).state == "prepared":
                prints = plain_of(kept_of(prints_of(left)))
                releases.note_heard(
                    session, row.output_id, seconds=left.seconds, fingerprint=prints
                )
        self._close(row.output_id, "blocked", sha256="", entry="broken-off")

    def _write_receipt(self, path: Path, position: int) -> None:
        """Put the proof beside the file; the log can write it again at any time."""
        with self._database.read() as session:
            receipt = receipts.issue(session, self._log, position=position)
        receipts.write(receipt, receipts.sidecar(path))

    def _sweep(self, out: Path) -> list[str]:
        root = out / STAGING_NAME
        if not root.is_dir():
            return []
        swept: list[str] = []
        # Exclusive: nobody is between making a folder and locking it.
        with _locked(root / _STAGING_LOCK, fcntl.LOCK_EX):
            for folder in sorted(path for path in root.iterdir() if path.is_dir()):
                with _if_free(folder / _ITEM_LOCK) as free:
                    if free and not self._is_prepared(folder.name):
                        shutil.rmtree(folder, ignore_errors=True)
                        swept.append(folder.name)
        return swept

    def _is_prepared(self, record_id: str) -> bool:
        with self._database.read() as session:
            return any(row.output_id == record_id for row in releases.prepared(session))

    def _commit(self, output: NewOutput, model: NewModel, *, step: str) -> int:
        with self._database.begin() as session:
            position = self._log.append(session, [output.record])[0]
            model_id = releases.record_model(session, model, at=output.created_at)
            logged = dataclasses.replace(output, log_index=position, model_id=model_id)
            if output.output_id in self._open:
                releases.complete_output(session, logged)
            else:
                releases.insert_output(session, logged)
            self._on_step("in-transaction")
        self._open.discard(output.output_id)
        self._on_step(step)
        return position

    def _close(self, record_id: str, state: str, *, sha256: str, entry: str = "") -> bool:
        """Move a prepared record to its last state, once; False if another process did.

        The log entry has the state's name, or that of ``entry``.
        """
        written = canonical(
            {
                "v": 1,
                "type": entry or state,
                "record_id": record_id,
                "sha256": sha256,
                "time": self._now().isoformat(timespec="milliseconds"),
            }
        )
        with self._database.begin() as session:
            if releases.get_output(session, record_id).state != "prepared":
                return state == "released"
            self._log.append(session, [written])
            releases.set_state(session, record_id, state)
        return True


def note_heard(stage: Stage, audio: Audio) -> None:
    """Keep what leaves as a stream in its staging folder, for recovery."""
    name = f"{_LEFT_STEM}{audio.waveform.shape[0]}x{audio.sample_rate}.f32"
    with (stage.folder / name).open("ab") as file:
        file.write(np.ascontiguousarray(audio.waveform.T, dtype="<f4").tobytes())


def heard_until_now(folder: Path) -> Audio | None:
    """Read what ``note_heard`` kept; None if nothing had left, or the folder is gone."""
    for path in folder.glob(f"{_LEFT_STEM}*x*.f32"):
        channels, _, rate = path.stem.removeprefix(_LEFT_STEM).partition("x")
        samples = np.frombuffer(path.read_bytes(), dtype="<f4")
        whole = samples[: len(samples) // int(channels) * int(channels)]
        waveform = np.ascontiguousarray(whole.reshape(-1, int(channels)).T, dtype=np.float32)
        return Audio(waveform=waveform, sample_rate=int(rate)) if waveform.size else None
    return None


def _staging_root(out: Path) -> Path:
    root = out / STAGING_NAME
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
    except OSError as error:
        raise SafegenError(
            f"{out}: cannot be used as an output folder ({error})",
            remedy="Name a folder that you may write to.",
        ) from error
    if free < MIN_FREE_BYTES:
        raise SafegenError(
            f"{out}: {free // 2**20} MiB free, {MIN_FREE_BYTES // 2**20} MiB needed",
            remedy="Free some space or name another output folder.",
        )
    return root


def _take(path: Path, kind: int) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, kind)
    except OSError:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    handle = _take(path, kind)
    try:
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _if_free(path: Path) -> Iterator[bool]:
    """Hold the lock for the block if nobody else does; says which."""
    try:
        handle = _take(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        yield False
        return
    try:
        yield True
    finally:
        os.close(handle)


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    """Hash a file, "" if it is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
