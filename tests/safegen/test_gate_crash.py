"""Kill the gate with SIGKILL, anywhere: the output folder must never lie.

Every case runs the whole gate in forked children (the parent imports everything once
and opens nothing), kills them, and then looks at what a stranger would find: each file
in the output folder is complete and has a committed record with its hash; what was
left half-done is finished or voided by the next start.
"""

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import c2pa
import numpy as np
import pytest
import torchaudio

from registry import releases
from registry.session import connect
from safegen.config import from_environment
from safegen.gate import Gate
from safegen.provenance import receipts
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from safegen.publishing import STAGING_NAME
from tests.safegen.conftest import tones

STEPS = (
    "admitted",
    "listened",
    "decided-early",
    "marked",
    "encoded",
    "signed",
    "read-back",
    "decided",
    "staged",
    "in-transaction",
    "record-committed",
    "linked",
    "receipted",
    "folder-synced",
    "released",
)
ROUNDS = 100

# Forked children inherit what is imported here; the gate imports it late.
assert c2pa
assert torchaudio


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_this_step_leaves_no_unlogged_file(step: str, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def die(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    status = _wait(_fork(lambda: _release_once(home, out, seed=1, on_step=die)))
    before = _visible(out)
    _child_must_pass(lambda: _recover(home, out))

    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    _child_must_pass(lambda: _nothing_lies(home, out))
    # What had been committed with its staged file complete is finished, not thrown away.
    visible = {"record-committed", "linked", "folder-synced", "released", "receipted"}
    assert len(_visible(out)) == (1 if step in visible else 0)
    assert set(before) <= set(_visible(out))
    # The next release is not hindered by the dead one.
    assert _wait(_fork(lambda: _release_once(home, out, seed=2))) == 0
    assert len(_visible(out)) == (2 if step in visible else 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_killed_at_random_leave_no_unlogged_file(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    dice = random.Random(20261121)  # noqa: S311 (a test's schedule)

    for round_ in range(ROUNDS):
        running = [_start(home, out, seed=2 * round_ + who) for who in range(2)]
        # Counted in the gate's own steps, so that a busy machine is killed as late in a
        # release as an idle one; two releases are about thirty steps.
        for child in running:
            _await_steps(child, dice.randrange(1, 32))
            time.sleep(dice.uniform(0.0, 0.02))
            os.kill(child.pid, signal.SIGKILL)
        for child in running:
            _wait(child.pid)
            os.close(child.steps)
        _no_half_written_file(out)

    _child_must_pass(lambda: _recover(home, out))
    _child_must_pass(lambda: _nothing_lies(home, out))
    assert len(_visible(out)) >= ROUNDS // 10


def test_recovery_leaves_a_living_process_alone(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reader, writer = os.pipe()

    def pause(name: str) -> None:
        if name == "record-committed":
            os.write(writer, b".")
            time.sleep(2.0)

    pid = _fork(lambda: _release_once(home, out, seed=3, on_step=pause))
    os.read(reader, 1)
    _child_must_pass(lambda: _recover(home, out))
    status = _wait(pid)

    assert status == 0
    assert len(_visible(out)) == 1
    _child_must_pass(lambda: _nothing_lies(home, out))


def _release_once(
    home: Path, out: Path, *, seed: int, on_step: Callable[[str], None] | None = None
) -> None:
    gate = Gate.open(home, on_step=on_step)
    audio = tones(seed)
    gate.release(audio.waveform, audio.sample_rate, out=out, generator="test tones 1")
    gate.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """A process that releases until it is killed; one byte on ``steps`` for each step."""

    pid: int
    steps: int


def _start(home: Path, out: Path, *, seed: int) -> _Child:
    reader, writer = os.pipe()
    pid = _fork(lambda: _release_forever(home, out, seed=seed, writer=writer))
    os.close(writer)
    return _Child(pid=pid, steps=reader)


def _await_steps(child: _Child, count: int) -> None:
    for _ in range(count):
        assert os.read(child.steps, 1), "the child ended by itself"


def _release_forever(home: Path, out: Path, *, seed: int, writer: int) -> None:
    def tell(_: str) -> None:
        os.write(writer, b".")

    gate = Gate.open(home, on_step=tell)
    while True:
        audio = tones(seed)
        seed += 1000
        gate.release(audio.waveform, audio.sample_rate, out=out, generator="test tones 1")


def _recover(home: Path, out: Path) -> None:
    gate = Gate.open(home)
    gate.publisher.recover(out)
    gate.close()


def _nothing_lies(home: Path, out: Path) -> None:
    config = from_environment({"SAFEGEN_HOME": str(home)})
    database = connect(config.database_url)
    keys = KeyStore(config.keys)
    log = open_log(database, keys)
    with database.read() as session:
        log.verify(session)
        assert not releases.prepared(session)
        rows = {
            Path(row.path).name: row
            for row in releases.list_outputs(session, state="released", limit=100_000)
        }
        for row in rows.values():
            assert log.entry(session, row.log_index) == row.record
    files = _visible(out)
    assert set(files) == set(rows)
    for name, sha256 in files.items():
        assert rows[name].sha256 == sha256
        verifier_keys = "\n".join(verifier.text for verifier in keys.log_verifiers())
        sidecar = receipts.sidecar(out / name)
        receipts.verify(sidecar, sha256=sha256, log_public_key=verifier_keys)
    assert not [path for path in (out / STAGING_NAME).glob("*/*") if path.is_file()]
    database.close()


def _no_half_written_file(out: Path) -> None:
    """Before any recovery: whatever is visible decodes to its full length."""
    import soundfile

    for name in _visible(out):
        frames = soundfile.info(str(out / name)).frames
        assert frames == tones(0).waveform.shape[1]


def _visible(out: Path) -> dict[str, str]:
    if not out.is_dir():
        return {}
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.iterdir()
        if path.suffix == ".wav"
    }


def _fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 (the parent reads the exit code)
        print(f"child: {type(error).__name__}: {error}")  # noqa: T201
        os._exit(1)


def _wait(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def _child_must_pass(work: Callable[[], None]) -> None:
    assert _wait(_fork(work)) == 0


def test_the_tones_of_two_seeds_differ() -> None:
    assert not np.array_equal(tones(1).waveform, tones(2).waveform)
