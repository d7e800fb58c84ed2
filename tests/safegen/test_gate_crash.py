"""Kill the gate with SIGKILL, anywhere: the output folder must never lie.

Every case runs the whole gate in processes of a fork server (it imports everything once,
warms the classifier up on one thread and opens nothing; a process with a pool of threads
could not be forked safely), kills them, and then looks at what a stranger would find:
each file in the output folder is complete and has a committed record with its hash; what
was left half-done is finished or voided by the next start.
"""

import hashlib
import json
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry import releases
from registry.session import connect
from safegen.config import from_environment
from safegen.gate import Gate
from safegen.provenance import receipts
from safegen.provenance.keys import KeyStore
from safegen.provenance.log import open_log
from safegen.publishing import STAGING_NAME
from tests.safegen.conftest import TONE_RATE, TONE_SECONDS, tones

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
STREAM_STEPS = (
    ("stream-opened", 1),
    ("listened", 4),
    ("listened", 9),
    ("decided-early", 1),
    ("record-committed", 1),
    ("linked", 1),
    ("released", 1),
)
"""Where streams are killed: at a step's so manieth time."""
ROUNDS = 100

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "tests.safegen.warm_fork_server",
        "safegen.gate",
        "torchaudio",
        "c2pa",
        "soundfile",
        "scipy.signal",
        __name__,
    ]
)


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_this_step_leaves_no_unlogged_file(step: str, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    killed = _run(_release_once, home, out, 1, step)
    before = _visible(out)
    recovered = _run(_recover, home, out)

    assert killed == -signal.SIGKILL
    assert recovered == 0
    assert _run(_nothing_lies, home, out) == 0
    # What had been committed with its staged file complete is finished, not thrown away.
    visible = {"record-committed", "linked", "receipted", "folder-synced", "released"}
    assert len(_visible(out)) == (1 if step in visible else 0)
    assert set(before) <= set(_visible(out))
    # The next release is not hindered by the dead one.
    assert _run(_release_once, home, out, 2, "") == 0
    assert len(_visible(out)) == (2 if step in visible else 1)


@pytest.mark.parametrize(("step", "times"), STREAM_STEPS)
def test_a_stream_that_is_killed_at_this_step_was_in_the_log_before_it_was_heard(
    step: str, times: int, home: Path, tmp_path: Path
) -> None:
    out, heard = tmp_path / "out", tmp_path / "heard.raw"

    killed = _run(_stream_once, home, out, heard, step, times)
    logged = _run(_stream_is_logged, home) == 0
    recovered = _run(_recover, home, out)

    assert killed == -signal.SIGKILL
    assert recovered == 0
    assert logged  # every one of these steps is at the first sample's or later
    assert heard.stat().st_size > 0 or step == "stream-opened"
    assert _run(_nothing_lies, home, out) == 0
    finished = {"record-committed", "linked", "released"}
    assert len(_visible(out)) == (1 if step in finished else 0)
    if step not in finished:
        assert _run(_broken_off_is_logged, home) == 0


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
            for _ in range(dice.randrange(1, 32)):
                child.steps.recv_bytes()
            time.sleep(dice.uniform(0.0, 0.02))
            child.process.kill()
        for child in running:
            child.process.join()
            child.steps.close()
        _no_half_written_file(out)

    assert _run(_recover, home, out) == 0
    assert _run(_nothing_lies, home, out) == 0
    assert len(_visible(out)) >= ROUNDS // 10


def test_recovery_leaves_a_living_process_alone(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reader, writer = PROCESSES.Pipe(duplex=False)
    living = PROCESSES.Process(target=_release_slowly, args=(home, out, 3, writer))
    living.start()
    writer.close()

    reader.recv_bytes()
    recovered = _run(_recover, home, out)
    living.join()

    assert recovered == 0
    assert living.exitcode == 0
    assert len(_visible(out)) == 1
    assert _run(_nothing_lies, home, out) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """A process that releases until it is killed; one message on ``steps`` for each step."""

    process: BaseProcess
    steps: Connection


def _start(home: Path, out: Path, *, seed: int) -> _Child:
    reader, writer = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_release_forever, args=(home, out, seed, writer))
    process.start()
    writer.close()
    return _Child(process=process, steps=reader)


def _run(work: Any, *arguments: Any) -> int | None:
    process = PROCESSES.Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def _release_once(home: Path, out: Path, seed: int, die_at: str) -> None:
    def die(name: str) -> None:
        if name == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    gate = Gate.open(home, on_step=die)
    audio = tones(seed)
    gate.release(audio.waveform, audio.sample_rate, out=out, generator="test tones 1")
    gate.close()


def _stream_once(home: Path, out: Path, heard: Path, die_at: str, times: int) -> None:
    left = times

    def die(name: str) -> None:
        nonlocal left
        left -= name == die_at
        if name == die_at and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    gate = Gate.open(home, on_step=die)
    audio = tones(5)
    pieces = np.array_split(audio.waveform, 16, axis=1)
    with (
        heard.open("wb") as file,
        gate.release_stream(pieces, audio.sample_rate, out=out, generator="test tones 1") as stream,
    ):
        for chunk in stream:
            file.write(chunk.waveform.tobytes())
            file.flush()
    gate.close()


def _stream_is_logged(home: Path) -> None:
    entries = _entries(home)
    assert entries[0]["type"] == "stream"
    assert entries[0]["watermark"]["payload"]


def _broken_off_is_logged(home: Path) -> None:
    entries = _entries(home)
    assert entries[-1] == {**entries[-1], "type": "broken-off"}
    assert entries[-1]["record_id"] == entries[0]["record_id"]


def _entries(home: Path) -> list[dict[str, Any]]:
    config = from_environment({"SAFEGEN_HOME": str(home)})
    database = connect(config.database_url)
    log = open_log(database, KeyStore(config.keys))
    with database.read() as session:
        entries = [json.loads(log.entry(session, i)) for i in range(log.size(session))]
    database.close()
    return entries


def _release_slowly(home: Path, out: Path, seed: int, steps: Connection) -> None:
    def pause(name: str) -> None:
        if name == "record-committed":
            steps.send_bytes(b".")
            time.sleep(2.0)

    gate = Gate.open(home, on_step=pause)
    audio = tones(seed)
    gate.release(audio.waveform, audio.sample_rate, out=out, generator="test tones 1")
    gate.close()


def _release_forever(home: Path, out: Path, seed: int, steps: Connection) -> None:
    def tell(_: str) -> None:
        steps.send_bytes(b".")

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
        assert frames == round(TONE_SECONDS * TONE_RATE)


def _visible(out: Path) -> dict[str, str]:
    if not out.is_dir():
        return {}
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.iterdir()
        if path.suffix == ".wav"
    }


def test_the_tones_of_two_seeds_differ() -> None:
    assert not np.array_equal(tones(1).waveform, tones(2).waveform)
