"""How do past outputs get compared with new works without anybody waiting for it?

A child process of its own session runs ``safegen catalog rescan``. Only one re-scan runs
at a time in an installation, whoever started it: it holds a lock that dies with its
process. Whoever finds the lock held may leave, because a re-scan looks for new works
again after it let go of the lock. A child that dies loses nothing: its run is a row of
the registry, and the next re-scan goes on there.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safegen.config import Config
from safegen.recording import now

_LOCK: Final = "lock"
_LOG: Final = "log.txt"
_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.05
_children: list["subprocess.Popen[bytes]"] = []
"""Held, because a handle that goes away before its child draws a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A re-scan that runs behind this process.

    Attributes:
        process_id: Of the child.
        log: Where it writes what it finds, beside the tamper-evident log.
    """

    process_id: int
    log: Path


def log_of(config: Config) -> Path:
    """Give the file into which re-scans in the background write."""
    return config.rescans / _LOG


@contextlib.contextmanager
def alone(config: Config) -> Iterator[bool]:
    """Hold the installation's lock of re-scans for the block; says whether it is held."""
    handle = _opened(config)
    try:
        yield _takes(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)


def is_running(config: Config) -> bool:
    """Whether a re-scan runs in this installation, on this machine."""
    if not (config.rescans / _LOCK).exists():
        return False
    handle = _opened(config)
    try:
        return not _takes(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def start_rescan(config: Config) -> Started | None:
    """Start a re-scan that outlives this process.

    Returns:
        None if one runs already, which will compare what is new, too.

    Raises:
        OSError: If no process can be started or its log cannot be written.
    """
    if is_running(config):
        return None
    config.rescans.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = log_of(config)
    environment = os.environ | {
        "SAFEGEN_HOME": str(config.home),
        "SAFEGEN_DATABASE_URL": config.database_url,
    }
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, f"{now():%Y-%m-%dT%H:%M:%SZ} comparing past outputs\n".encode())
        child = subprocess.Popen(
            # -P: a folder called safegen in the current one is not this program.
            [sys.executable, "-P", "-m", "safegen", "catalog", "rescan"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
    finally:
        os.close(handle)
    _children.append(child)
    return Started(process_id=child.pid, log=path)


def _opened(config: Config) -> int:
    config.rescans.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(config.rescans / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _takes(handle: int, kind: int) -> bool:
    """Lock if nobody else has; a few tries, because who only asks holds it for a moment."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False
