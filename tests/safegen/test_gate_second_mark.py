"""With AudioSeal's weights installed a release carries both marks, or it is none."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from detectors.audioseal import AudioSeal, message
from detectors.base import Waveform
from detectors.presence import WINDOW, AudioSealFinding, Tally
from registry import releases
from safegen import policy, second_mark, watermark
from safegen.audio import load, save
from safegen.checking import run_check
from safegen.cli import main
from safegen.config import from_environment
from safegen.errors import IntegrityError, ReleaseBlockedError
from safegen.gate import Gate
from safegen.policy import Action, CheckResult, Outcome, decide
from tests.detectors.audioseal_models import tiny_weights
from tests.safegen.conftest import tones


@pytest.fixture
def installed(home: Path) -> Path:
    """The installation, with tiny random networks as its AudioSeal."""
    tiny_weights(second_mark.folder(from_environment({"SAFEGEN_HOME": str(home)})))
    return home


@pytest.fixture
def gate(installed: Path) -> Iterator[Gate]:
    gate = Gate.open(installed)
    yield gate
    gate.close()


def heard(bits: int, *, marked: bool = True) -> AudioSealFinding:
    """What a detector that works would say."""
    logits = np.array([1.0 if bits >> (15 - i) & 1 else -1.0 for i in range(16)], np.float32)
    tally = Tally()
    tally.add(
        start=0,
        channel=0,
        log_odds=np.full(WINDOW, 3.0 if marked else -3.0, np.float32),
        bit_logits=np.repeat(logits[:, None], WINDOW, axis=1),
    )
    return tally.finding(None)


def test_a_detector_that_hears_nothing_blocks_the_release(gate: Gate, tmp_path: Path) -> None:
    # Random networks cannot find their own mark: the keyed mark alone is not enough then.
    audio = tones(1)

    with pytest.raises(ReleaseBlockedError, match=r"blocked by R7: .*AudioSeal") as refusal:
        gate.release(audio.waveform, audio.sample_rate, out=tmp_path / "out", generator="Tones")

    assert not list((tmp_path / "out").glob("*.wav"))
    with gate.database.read() as session:
        row = releases.get_output(session, refusal.value.record_id)
    checks = {check["name"]: check for check in json.loads(row.record)["checks"]}
    assert checks["watermark"]["outcome"] == "pass"
    assert checks["audioseal"]["outcome"] == "fail"


@pytest.mark.parametrize("wrong_bits", [0, 1, 2])
def test_a_release_needs_the_outputs_own_message(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong_bits: int
) -> None:
    words: list[int] = []
    embed = AudioSeal.embed

    def remember(
        self: AudioSeal, waveform: Waveform, sample_rate: int, *, payload: int, key: bytes
    ) -> Waveform:
        words.append(message(payload, key))
        return embed(self, waveform, sample_rate, payload=payload, key=key)

    def hear(self: AudioSeal, waveform: Waveform, sample_rate: int) -> AudioSealFinding:
        return heard(words[-1] ^ ((1 << wrong_bits) - 1))

    monkeypatch.setattr(AudioSeal, "embed", remember)
    monkeypatch.setattr(AudioSeal, "heard", hear)
    audio = tones(2)

    if wrong_bits == 2:
        with pytest.raises(ReleaseBlockedError, match="14 of 16 bits"):
            gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")
        return
    release = gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")

    assert release.finished is not None
    assert words == [message(release.finished.payload, gate.mark_key.secret)]
    found = watermark.detect(load(release.finished.path), keys=gate.mark_keys)
    assert found.payload == release.finished.payload


def test_both_marks_are_in_the_sound_that_is_encoded(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Waveform] = []

    def hear(self: AudioSeal, waveform: Waveform, sample_rate: int) -> AudioSealFinding:
        read.append(waveform)
        return heard(0, marked=False)

    monkeypatch.setattr(AudioSeal, "heard", hear)
    monkeypatch.setattr("secrets.randbits", lambda _: 7)
    audio = tones(3)

    with pytest.raises(ReleaseBlockedError):
        gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")

    second = second_mark.from_home(from_environment({"SAFEGEN_HOME": str(tmp_path / "home")}))
    assert second is not None
    key = gate.mark_key.secret
    delta = second.embed(audio.waveform, audio.sample_rate, payload=7, key=key) - audio.waveform
    keyed = watermark.embed(audio, payload=7, key=key).waveform
    rest = read[0] - keyed
    assert float((rest * delta).sum() / (delta**2).sum()) == pytest.approx(1.0, abs=0.2)


def test_verification_says_how_well_the_bits_agree_with_the_record(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate.open(home)
    audio = tones(5)
    release = gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")
    gate.close()
    assert release.finished is not None
    config = from_environment({"SAFEGEN_HOME": str(home)})
    args = ["verify", str(release.finished.path), "--format", "jsonl"]
    runner = CliRunner(env={"SAFEGEN_HOME": str(home)})
    before = json.loads(runner.invoke(main, args).stdout)
    tiny_weights(second_mark.folder(config))
    word = message(release.finished.payload, gate.mark_key.secret)
    monkeypatch.setattr(AudioSeal, "heard", lambda *_: heard(word))

    result = runner.invoke(main, args)
    explained = runner.invoke(main, [*args[:2], "--explain"])
    other = tmp_path / "other.wav"
    save(tones(6), other)
    unknown = json.loads(runner.invoke(main, ["verify", str(other), *args[2:]]).stdout)

    assert before["audioseal"] is None
    found = json.loads(result.stdout)
    assert found["verdict"] == "ours"
    assert found["audioseal"]["agreement_p"] == 2**-16
    assert "presence 1.00" in explained.stdout
    # Somebody's AudioSeal is no claim of ours.
    assert unknown["verdict"] == "unknown"
    assert unknown["audioseal"] == {
        "detected": True, "presence": 1.0, "p_value": 1.0, "agreement_p": None
    }  # fmt: skip


def test_a_long_sound_gets_the_time_that_listening_to_it_takes(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: dict[str, float] = {}

    def run(name: str, check: Callable[[], CheckResult], *, limit_seconds: float) -> CheckResult:
        limits[name] = limit_seconds
        return run_check(name, check, limit_seconds=limit_seconds)

    monkeypatch.setattr("safegen.steps.run_check", run)
    monkeypatch.setattr("safegen.steps.CHECK_SECONDS", 1.0)
    audio = tones(8)

    with pytest.raises(ReleaseBlockedError):
        gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")

    assert limits["audioseal"] == pytest.approx(audio.seconds)


def test_without_the_weights_there_is_no_such_check(home: Path, tmp_path: Path) -> None:
    gate = Gate.open(home)
    audio = tones(4)

    release = gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="Tones")
    gate.close()

    assert "audioseal" not in {check.name for check in release.judgement.checks}


def test_damaged_weights_stop_the_gate_from_opening(installed: Path) -> None:
    folder = second_mark.folder(from_environment({"SAFEGEN_HOME": str(installed)}))
    (folder / "audioseal-detector.safetensors").write_bytes(b"")

    with pytest.raises(IntegrityError, match="the card says"):
        Gate.open(installed)


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.PASS])
@pytest.mark.parametrize("name", policy.SHIPPED)
def test_no_policy_releases_what_the_second_mark_did_not_clear(name: str, outcome: Outcome) -> None:
    passed = [
        CheckResult(name=check, outcome=Outcome.PASS)
        for check in (*policy.CHECK_NAMES, policy.SECOND_MARK)
    ]
    rules = policy.load(name)
    assert decide(rules, passed).action is Action.RELEASE

    decision = decide(rules, [*passed[:-1], CheckResult(name=policy.SECOND_MARK, outcome=outcome)])

    assert decision.action >= Action.QUARANTINE
    assert decision.reasons[0].rule in ("R7", "R10")


def test_a_stream_carries_both_marks_in_every_piece(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = tones(9, seconds=12.0)
    words: set[int] = set()
    embed = AudioSeal.embed

    def remember(
        self: AudioSeal, waveform: Waveform, sample_rate: int, *, payload: int, key: bytes
    ) -> Waveform:
        words.add(message(payload, key))
        return embed(self, waveform, sample_rate, payload=payload, key=key)

    def hear(self: AudioSeal, waveform: Waveform, sample_rate: int) -> AudioSealFinding:
        return heard(next(iter(words)))

    monkeypatch.setattr(AudioSeal, "embed", remember)
    monkeypatch.setattr(AudioSeal, "heard", hear)
    pieces = np.array_split(audio.waveform, 17, axis=1)

    with gate.release_stream(pieces, audio.sample_rate, out=tmp_path, generator="Tones") as stream:
        chunks = list(stream)

    release = stream.release
    assert release.finished is not None
    mark = release.finished.payload
    assert words == {message(mark, gate.mark_key.secret)}
    streamed = np.concatenate([chunk.waveform for chunk in chunks], axis=1)
    keyed = watermark.embed(
        audio,
        payload=mark,
        key=gate.mark_key.secret,
        epoch=watermark.epoch_of(release.item.time),
    ).waveform
    added = np.abs(streamed - keyed).reshape(12, -1).max(axis=1)
    assert added.min() > 1e-4  # AudioSeal's in every second
