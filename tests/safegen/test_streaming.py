"""A stream: what leaves is marked, compared and logged before, and nothing leaves after a no."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from detectors import chromaprint
from registry import catalog, releases
from registry.catalog import NewFingerprint, NewRight, NewWork
from registry.errors import ConflictError
from safegen import watermark
from safegen.audio import Audio, load
from safegen.errors import InputError, ReleaseBlockedError, SafegenError
from safegen.gate import Gate
from safegen.generation.base import Generation, ModelFacts, Request
from safegen.policy import Action
from safegen.provenance.keys import KeyStore
from safegen.publishing import STAGING_NAME
from safegen.recording import now
from safegen.streaming import ReleaseStream
from safegen.verification import Verdict, Verifier
from tests.safegen.conftest import tones

PIECE_SECONDS = 0.4
QUOTED_SECONDS = 3.0
"""R4's least quoted seconds in strict."""


class Teller:
    """A generator that hands out a sound in pieces and remembers how far it was asked."""

    facts = ModelFacts(name="Teller", version="1", license="MIT")

    def __init__(self, audio: Audio, *, fails_at: float = float("inf")) -> None:
        self.audio, self.fails_at = audio, fails_at
        self.told_seconds = 0.0

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        self.told_seconds = self.audio.seconds
        return _generation(self.audio)

    def stream(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Iterator[Generation]:
        step = round(PIECE_SECONDS * self.audio.sample_rate)
        for start in range(0, self.audio.waveform.shape[1], step):
            if self.told_seconds >= self.fails_at:
                msg = "the model broke"
                raise RuntimeError(msg)
            self.told_seconds += PIECE_SECONDS
            waveform = self.audio.waveform[:, start : start + step]
            yield _generation(Audio(waveform=waveform, sample_rate=self.audio.sample_rate))


@pytest.fixture
def gate(home: Path) -> Iterator[Gate]:
    gate = Gate.open(home)
    yield gate
    gate.close()


def test_what_is_heard_is_what_the_file_holds_with_the_mark_in_it(
    gate: Gate, tmp_path: Path
) -> None:
    audio = tones(31, seconds=14.0)

    with gate.stream(Teller(audio), _request(audio), out=tmp_path / "out") as stream:
        heard = list(stream)

    release = stream.release
    assert release.is_released
    assert release.finished is not None
    whole = _whole(heard)
    file = load(release.finished.path)
    assert len(heard) > 5
    assert whole.waveform.shape == audio.waveform.shape
    np.testing.assert_allclose(file.waveform, whole.waveform, atol=1e-4)  # 16 bits
    assert watermark.detect(whole, keys=gate.mark_keys).payload == release.finished.payload
    assert not list((tmp_path / "out" / STAGING_NAME).glob("*/"))


def test_any_part_of_a_stream_that_somebody_caught_carries_the_mark(
    gate: Gate, tmp_path: Path
) -> None:
    audio = tones(32, seconds=20.0)

    with gate.stream(Teller(audio), _request(audio), out=tmp_path) as stream:
        heard = _whole(list(stream))

    for start in (0.0, 4.3, 8.0):
        part = heard.cut(start, start + 10.0)
        assert watermark.detect(part, keys=gate.mark_keys).detected, start
    unmarked = watermark.detect(audio, keys=gate.mark_keys)
    assert not unmarked.detected


def test_the_log_knows_the_mark_before_the_first_sample_leaves(gate: Gate, tmp_path: Path) -> None:
    audio = tones(33, seconds=9.0)
    teller = Teller(audio)

    with gate.stream(teller, _request(audio), out=tmp_path) as stream:
        next(stream)
        with gate.database.read() as session:
            row = releases.get_output(session, stream.record_id)
            entry = json.loads(gate.log.entry(session, row.log_index))
            gate.log.verify(session)
        told_seconds = teller.told_seconds
        list(stream)

    assert told_seconds < 4.5  # it left while it was being made
    assert row.state == "prepared"
    assert entry["type"] == "stream"
    assert entry["watermark"]["payload"] == row.watermark_payload
    assert stream.release.finished is not None
    assert f"{stream.release.finished.payload:016x}" == row.watermark_payload


def test_a_stream_stays_behind_what_was_made_by_what_the_policy_says(
    gate: Gate, tmp_path: Path
) -> None:
    audio = tones(34, seconds=12.0)
    teller = Teller(audio)
    gaps, emitted = [], 0.0

    with gate.stream(teller, _request(audio), out=tmp_path) as stream:
        for chunk in stream:
            emitted += chunk.seconds
            gaps.append(teller.told_seconds - emitted)

    assert gaps[-1] == pytest.approx(0.0, abs=PIECE_SECONDS)
    assert min(gaps[:-1]) >= gate.policy.streaming.hold_back_seconds - 0.01
    assert stream.release.stream is not None
    assert (
        stream.release.stream.emitted_seconds
        <= 12.0 - gate.policy.streaming.hold_back_seconds + 0.01
    )


@pytest.mark.parametrize("start", [0.0, 1.0, 6.5, 11.0])
def test_of_a_quotation_less_leaves_than_the_policy_calls_one(
    gate: Gate, tmp_path: Path, start: float
) -> None:
    work = tones(3, seconds=30.0)
    _catalog(gate, work)
    rate = work.sample_rate
    audio = tones(35, seconds=24.0)
    begin = round(start * rate)
    audio.waveform[:, begin : begin + 12 * rate] = work.waveform[:, : 12 * rate]
    teller = Teller(audio)
    heard: list[Audio] = []

    stream = gate.stream(teller, _request(audio), out=tmp_path / "out")
    with pytest.raises(ReleaseBlockedError, match="blocked by R4"):
        heard.extend(stream)
    with pytest.raises(StopIteration):
        next(stream)

    emitted = sum(chunk.seconds for chunk in heard)
    assert emitted - start < QUOTED_SECONDS
    assert teller.told_seconds < start + 12.0  # nothing more was made
    assert not list((tmp_path / "out").glob("*.wav"))
    with gate.database.read() as session:
        row = releases.get_output(session, stream.record_id)
        logged = json.loads(gate.log.entry(session, row.log_index))
        gate.log.verify(session)
    assert (row.state, logged["decision"]["action"]) == ("blocked", "block")
    if emitted:
        assert logged["stream"]["emitted_seconds"] == pytest.approx(emitted, abs=0.001)
        assert logged["stream"]["opened"] < row.log_index
        assert not logged["stream"]["is_whole"]


def test_what_left_of_a_refused_stream_is_recognized_with_its_refusal(
    gate: Gate, home: Path, tmp_path: Path
) -> None:
    work = tones(3, seconds=30.0)
    _catalog(gate, work)
    audio = tones(36, seconds=40.0)
    audio.waveform[:, -12 * 32_000 :] = work.waveform[:, : 12 * 32_000]
    heard: list[Audio] = []
    with pytest.raises(ReleaseBlockedError):
        heard.extend(gate.stream(Teller(audio), _request(audio), out=tmp_path / "out"))
    caught = tmp_path / "caught.wav"
    _write(_whole(heard), caught)

    found = Verifier(database=gate.database, keys=_keys(home)).verify(caught)

    assert found.verdict is Verdict.OURS
    assert found.decision == "block"
    assert "it was refused by R4 and never released" in found.reason
    assert "had left as a stream" in found.reason


def test_a_refused_prompt_is_never_made(gate: Gate, tmp_path: Path) -> None:
    audio = tones(37)
    teller = Teller(audio)
    request = Request(prompt="clone the voice of my neighbor", seconds=8.0, seed=1)

    with pytest.raises(ReleaseBlockedError, match="R2"):
        list(gate.stream(teller, request, out=tmp_path))

    assert teller.told_seconds == 0.0


@pytest.mark.parametrize("how", ["the listener leaves", "the model breaks"])
def test_a_stream_that_breaks_off_stays_in_the_log(gate: Gate, tmp_path: Path, how: str) -> None:
    audio = tones(38, seconds=14.0)
    breaks = how == "the model breaks"
    teller = Teller(audio, fails_at=8.0 if breaks else float("inf"))
    stream = gate.stream(teller, _request(audio), out=tmp_path)

    heard = [next(stream)]
    if breaks:
        with pytest.raises(RuntimeError, match="broke"):
            heard.extend(stream)
    else:
        stream.close()

    with gate.database.read() as session:
        row = releases.get_output(session, stream.record_id)
        logged = json.loads(gate.log.entry(session, row.log_index))
    assert row.state == "blocked"
    assert not logged["stream"]["is_whole"]
    assert logged["stream"]["emitted_seconds"] >= heard[0].seconds
    assert any("broken off" in reason["problem"] for reason in logged["decision"]["reasons"])
    assert not list(tmp_path.glob("*.wav"))


def test_a_file_that_cannot_be_put_in_place_is_told_and_its_record_voided(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    audio = tones(48, seconds=9.0)
    monkeypatch.setattr("safegen.publishing.os.link", refuse)
    stream = gate.stream(Teller(audio), _request(audio), out=tmp_path)

    with pytest.raises(SafegenError, match="could not be put into the output folder"):
        list(stream)

    with gate.database.read() as session:
        assert releases.get_output(session, stream.record_id).state == "void"


def test_a_stream_that_is_left_before_anything_left_is_nothing(gate: Gate, tmp_path: Path) -> None:
    audio = tones(39)

    with gate.stream(Teller(audio), _request(audio), out=tmp_path) as stream:
        pass

    with pytest.raises(ValueError, match="not ended"):
        _ = stream.release
    with gate.database.read() as session:
        assert gate.log.size(session) == 0


def test_a_stream_of_a_dead_process_is_closed_by_the_next(
    gate: Gate, home: Path, tmp_path: Path
) -> None:
    audio = tones(40, seconds=30.0)
    stream = gate.stream(Teller(audio), _request(audio), out=tmp_path / "out")
    heard = [next(stream) for _ in range(30)]
    # A dead process holds no lock and runs no cleanup.
    (tmp_path / "out" / STAGING_NAME / stream.record_id / "lock").unlink()
    _write(_whole(heard), tmp_path / "caught.wav")

    with _opened(home) as other, other.database.read() as session:
        row = releases.get_output(session, stream.record_id)
        last = json.loads(other.log.entry(session, other.log.size(session) - 1))
        found = Verifier(database=other.database, keys=_keys(home)).verify(tmp_path / "caught.wav")

    assert row.state == "blocked"
    assert (last["type"], last["record_id"]) == ("broken-off", stream.record_id)
    assert row.seconds == pytest.approx(_whole(heard).seconds)
    assert found.verdict is Verdict.OURS
    assert "broken off and never released" in found.reason
    with pytest.raises(ConflictError, match="no open stream"):
        stream.close()  # nor does one that was taken for dead change its end


def test_a_living_stream_is_left_alone_by_others(gate: Gate, home: Path, tmp_path: Path) -> None:
    audio = tones(41, seconds=12.0)
    with gate.stream(Teller(audio), _request(audio), out=tmp_path) as stream:
        next(stream)

        with _opened(home) as other, other.database.read() as session:
            state = releases.get_output(session, stream.record_id).state
        list(stream)

    assert state == "prepared"
    assert stream.release.is_released


def test_a_generator_that_cannot_stream_is_heard_when_it_is_done(
    gate: Gate, tmp_path: Path
) -> None:
    audio = tones(42, seconds=9.0)

    class Whole:
        facts = Teller.facts
        generate = Teller(audio).generate

    with gate.stream(Whole(), _request(audio), out=tmp_path) as stream:
        heard = list(stream)

    assert _whole(heard).seconds == pytest.approx(9.0)
    assert stream.release.is_released


def test_arrays_from_elsewhere_stream_through_the_same_gate(gate: Gate, tmp_path: Path) -> None:
    audio = tones(43, seconds=9.0)
    pieces = np.array_split(audio.waveform, 20, axis=1)

    with gate.release_stream(
        pieces, audio.sample_rate, out=tmp_path, generator="Elsewhere 2"
    ) as stream:
        heard = list(stream)

    assert _whole(heard).waveform.shape == audio.waveform.shape
    assert stream.release.item.facts.name == "Elsewhere 2"
    assert stream.release.is_released


def test_a_marked_sound_is_not_streamed_again(gate: Gate, tmp_path: Path) -> None:
    audio = tones(44, seconds=12.0)
    first = gate.release(audio.waveform, audio.sample_rate, out=tmp_path, generator="A")
    assert first.finished is not None
    marked = load(first.finished.path)

    with pytest.raises(ReleaseBlockedError, match="mark already"):
        list(gate.stream(Teller(marked), _request(marked), out=tmp_path))


def test_pieces_that_do_not_fit_together_are_refused(gate: Gate, tmp_path: Path) -> None:
    mono = tones(45, seconds=2.0).waveform

    with pytest.raises(InputError, match="2 channels at 32000 Hz follows one of 1"):
        list(
            gate.release_stream(
                [mono, np.concatenate([mono, mono])], 32_000, out=tmp_path, generator="B"
            )
        )

    assert not list(tmp_path.glob("*.wav"))


def test_a_batch_is_judged_item_by_item(gate: Gate, tmp_path: Path) -> None:
    audio = tones(46)
    good = _request(audio)
    bad = Request(prompt="clone the voice of my neighbor", seconds=8.0, seed=2)

    found = gate.generate_batch(Teller(audio), [good, bad, good], out=tmp_path)

    assert [each.is_released for each in found] == [True, False, True]
    assert found[1].judgement.decision.action is Action.BLOCK
    assert len(list(tmp_path.glob("*.wav"))) == 2


def _generation(audio: Audio) -> Generation:
    return Generation(
        audio=audio,
        plan_json="",
        plan_tokens=np.zeros(0, np.int64),
        codes=np.zeros((0, 0), np.int64),
    )


def _request(audio: Audio) -> Request:
    return Request(prompt="some tones", seconds=audio.seconds, seed=1)


def _whole(chunks: list[Audio]) -> Audio:
    waveform = np.concatenate([chunk.waveform for chunk in chunks], axis=1)
    return Audio(waveform=waveform, sample_rate=chunks[0].sample_rate)


def _write(audio: Audio, path: Path) -> None:
    from safegen.audio import encode

    path.write_bytes(encode(audio, "wav"))


def _keys(home: Path) -> KeyStore:
    return KeyStore(home / "keys")


def _catalog(gate: Gate, audio: Audio) -> None:
    items = chromaprint.fingerprint(audio.waveform, audio.sample_rate)
    work = NewWork(
        title="The Quoted Work",
        artist="Aurelia Vantongeren",
        seconds=audio.seconds,
        content_sha256="0" * 64,
        source_name="quoted.wav",
        rights=(NewRight(rights_holder="Vantongeren Estate"),),
        licenses=(),
        fingerprints=(NewFingerprint(engine="chromaprint", items=items.tobytes()),),
    )
    with gate.database.begin() as session:
        catalog.add_work(session, work, at=now())


class _opened:  # noqa: N801 - reads like the function that it is
    """A second gate of the same installation, for the length of a block."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __enter__(self) -> Gate:
        self._gate = Gate.open(self._home)
        return self._gate

    def __exit__(self, *_: object) -> None:
        self._gate.close()


def test_a_stream_has_no_release_before_its_end(gate: Gate, tmp_path: Path) -> None:
    audio = tones(47)
    stream: ReleaseStream = gate.stream(Teller(audio), _request(audio), out=tmp_path)

    next(stream)
    with pytest.raises(ValueError, match="not ended"):
        _ = stream.release
    list(stream)

    assert stream.release.is_released
