"""The classifier as it ships: who made a sound, and when is it silent?"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from detectors.errors import DetectorError
from detectors.synthetic import (
    SynthesisVerdict,
    SyntheticFinding,
    classify,
    judge,
    judging,
    shipped,
    shipping,
    traces,
)
from safegen.audio import Audio
from safegen.generation.base import Request
from safegen.generation.systems import load
from safegen.watermark import embed

RATE = 32_000


def said(audio: Audio) -> SyntheticFinding:
    return classify(audio.waveform, audio.sample_rate)


@pytest.fixture(scope="module")
def procedural() -> Audio:
    request = Request(prompt="a calm piano piece at 90 bpm", seconds=10.0, seed=5)

    return load("procedural").generate(request).audio


@pytest.fixture(scope="module")
def flow() -> Audio:
    request = Request(prompt="a fast rock song with drums at 140 bpm", seconds=10.0, seed=5)

    return load("music-flow").generate(request).audio


def noise(seconds: float, *, rate: int = RATE, rms: float = 0.1) -> Audio:
    dice = np.random.default_rng(1)
    swell = 1.0 + 0.5 * np.sin(np.arange(round(seconds * rate)) * 12.0 / rate)
    waveform = (dice.standard_normal((1, len(swell))) * swell).astype(np.float32) * rms

    return Audio(waveform=waveform, sample_rate=rate)


def test_an_output_of_the_default_model_is_recognized_without_its_mark(flow: Audio) -> None:
    finding = said(flow)

    assert finding.verdict is SynthesisVerdict.OWN_GENERATOR
    assert finding.generator == "music-flow"
    assert finding.probability > 0.95
    assert finding.p_value <= 0.01
    assert not finding.abstained
    assert finding.reason == ""


def test_an_output_of_the_procedural_row_is_recognized(procedural: Audio) -> None:
    finding = said(procedural)

    assert finding.verdict is SynthesisVerdict.OWN_GENERATOR
    assert finding.generator == "procedural"


def test_the_watermark_is_not_what_the_heads_hear(flow: Audio) -> None:
    marked = embed(flow, payload=7, key=b"k" * 32)
    plain, other = said(flow), said(marked)

    assert other.verdict is plain.verdict
    assert abs(other.llr - plain.llr) < 1.0
    assert said(embed(noise(10.0), payload=7, key=b"k" * 32)).generator == ""


def test_the_level_of_a_sound_changes_nothing(flow: Audio) -> None:
    quiet = Audio(waveform=flow.waveform * np.float32(0.03), sample_rate=flow.sample_rate)

    assert said(quiet).answers[0].score == pytest.approx(said(flow).answers[0].score, abs=0.3)


TIME = np.arange(8 * 16_000) / 16_000


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (0.1 * np.random.default_rng(1).standard_normal(len(TIME)), "a steady noise"),
        (0.3 * np.sin(2 * np.pi * 440 * TIME), "a few tones"),
        (0.3 * np.sign(np.sin(2 * np.pi * 220 * TIME)), "a few tones"),
        (np.full(len(TIME), 0.1), "too quiet"),
        (0.5 * (np.arange(len(TIME)) % 186 == 0), "a steady noise"),
        (sum(np.sin(2 * np.pi * 50 * k * TIME) / k for k in range(1, 150)) * 0.1, "a "),
        (0.9 * (np.arange(len(TIME)) == 3_000), "a click"),
        (np.where(np.arange(len(TIME)) == 9, np.nan, 0.1 * np.sin(TIME)), "broken"),
        (np.where(np.arange(len(TIME)) == 9, 1e30, 0.1 * np.sin(TIME)), "broken"),
    ],
)
def test_test_signals_accuse_nobody(sound: npt.NDArray[np.float64], reason: str) -> None:
    finding = classify(sound[None].astype(np.float32), 16_000)

    assert finding.verdict is SynthesisVerdict.INCONCLUSIVE
    assert finding.reason.startswith(reason)
    assert finding.generator == ""


def test_channels_that_cancel_are_heard_by_themselves(flow: Audio) -> None:
    mono = flow.mono()
    both = Audio(waveform=np.stack([mono, -mono]), sample_rate=flow.sample_rate)

    assert said(both).generator == said(flow).generator


def test_a_constant_under_a_sound_changes_nothing(flow: Audio) -> None:
    lifted = Audio(waveform=flow.waveform + np.float32(0.2), sample_rate=flow.sample_rate)

    assert said(lifted).answers[0].score == pytest.approx(said(flow).answers[0].score, abs=0.3)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (noise(3.9), "too short"),
        (noise(8.0, rate=7_000), "too narrow"),
        (noise(8.0, rms=1e-5), "too quiet"),
    ],
)
def test_what_cannot_be_judged_is_not_judged(audio: Audio, reason: str) -> None:
    finding = said(audio)

    assert finding.verdict is SynthesisVerdict.INCONCLUSIVE
    assert finding.abstained
    assert finding.reason.startswith(reason)
    assert finding.probability == finding.prior
    assert finding.segments == ()


def test_the_probability_is_that_at_the_stated_prior(flow: Audio) -> None:
    rare = judge(flow.waveform, flow.sample_rate, roster=shipped(), prior=0.01)
    even = said(flow)

    assert rare.prior == 0.01
    assert rare.llr == even.llr
    assert rare.probability < even.probability
    odds = even.probability / (1 - even.probability) / 99
    assert rare.probability == pytest.approx(odds / (1 + odds), rel=1e-6)


def test_the_timeline_covers_the_file_in_windows_of_the_stated_resolution(flow: Audio) -> None:
    finding = said(flow)

    assert finding.resolution_seconds == 4.0
    assert [s.start_seconds for s in finding.segments] == [0.0, 2.0, 4.0, 6.0]
    assert all(s.end_seconds - s.start_seconds == 4.0 for s in finding.segments)
    assert all(0.0 <= s.score <= 1.0 for s in finding.segments)


def test_the_verdict_is_never_that_people_made_it() -> None:
    assert {v.value for v in SynthesisVerdict} == {
        "own_generator",
        "known_generator",
        "synthetic_likely",
        "inconclusive",
        "no_synthesis_evidence",
    }


def test_a_finding_names_what_it_rests_on(flow: Audio) -> None:
    finding = said(flow)

    assert finding.model_id.startswith("roster-")
    assert finding.calibration_id
    assert finding.data_card_id
    fewer = replace(shipped(), entries=shipped().entries[1:])
    assert judge(flow.waveform, flow.sample_rate, roster=fewer).model_id != finding.model_id


def test_without_entries_nobody_is_named_and_without_combs_no_comb(flow: Audio) -> None:
    bare = replace(shipped(), entries=(), combs=False)
    finding = judge(flow.waveform, flow.sample_rate, roster=bare)

    assert finding.generator == ""
    assert finding.combs == ()
    assert finding.verdict in (
        SynthesisVerdict.INCONCLUSIVE,
        SynthesisVerdict.SYNTHETIC_LIKELY,
        SynthesisVerdict.NO_SYNTHESIS_EVIDENCE,
    )


def test_an_entry_answers_only_for_the_kind_of_sound_it_was_heard_making(flow: Audio) -> None:
    answers = {a.name: a for a in said(flow).answers}

    assert not answers["espeak"].applied
    assert "speech" in answers["espeak"].reason
    assert answers["music-flow"].applied


def test_long_files_are_heard_at_evenly_spaced_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MOST_WINDOWS", 3)
    heard = judging.hear(noise(20.0, rate=16_000).waveform, 16_000)

    assert heard.starts.tolist() == [0.0, 8.0, 16.0]


def test_windows_of_silence_are_left_out() -> None:
    loud = noise(4.0, rate=16_000).waveform
    whole = np.concatenate([loud, np.zeros_like(loud), np.zeros_like(loud), loud], axis=1)
    heard = judging.hear(whole, 16_000)

    assert heard.starts.tolist() == [0.0, 2.0, 10.0, 12.0]


def test_stereo_and_other_rates_are_heard_like_mono() -> None:
    mono = noise(6.0, rate=44_100)
    both = np.repeat(mono.waveform, 2, axis=0)
    one, two = (judging.hear(w, 44_100).windows for w in (mono.waveform, both))

    assert np.abs(one.residual - two.residual).max() < 0.05
    assert one.residual.shape[1] == traces.LAST_BIN - traces.FIRST_BIN


@pytest.fixture
def forgetful() -> Iterator[None]:
    shipped.cache_clear()
    yield
    shipped.cache_clear()


@pytest.mark.usefixtures("forgetful")
def test_changed_weights_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "INDEX_SHA256", "0" * 64)

    with pytest.raises(DetectorError, match="pinned is 0000"):
        shipped()


def test_every_shipped_file_is_the_one_the_index_names() -> None:
    from importlib import resources

    folder = resources.files("detectors") / "weights" / "synthetic"
    index = json.loads((folder / "roster.json").read_bytes())
    rows = [index["reference"], *index["entries"]]

    assert len(rows) >= 15
    for row in rows:
        data = (folder / row["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]


def test_the_shipped_entries_are_calibrated_against_the_shipped_reference() -> None:
    roster = shipped()

    assert {e.name for e in roster.entries} >= {
        "music-flow",
        "procedural",
        "codec",
        "ace-step",
        "hifigan",
        "world",
        "griffin-lim",
        "piper",
        "hibari",
        "espeak",
    }
    assert all(e.reference == roster.reference.digest for e in roster.entries)
    assert {e.name for e in roster.entries if e.own} == {"music-flow", "procedural", "codec"}
