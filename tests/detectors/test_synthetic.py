import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from detectors import features, synthetic
from detectors.base import Waveform
from detectors.errors import DetectorError
from detectors.synthetic import UNDECIDED, classify, judge, parse, shipped
from safegen.audio import Audio, load, resample
from safegen.generation.codec import LogMel, griffin_lim
from safegen.training.clips import Table
from safegen.training.synthetic import train
from safegen.watermark import embed

ASSETS = Path(__file__).parents[1] / "assets"
RATE = features.SAMPLE_RATE


def chord(*, seconds: float, rate: int = RATE, level: float = 0.1, seed: int = 0) -> Waveform:
    """Plucked notes over a little noise: enough like music to be measured."""
    dice = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    sound = dice.normal(0, 0.01, len(time))
    for start in np.arange(0, seconds, 0.5):
        pitch = float(dice.choice([220.0, 247.0, 262.0, 294.0, 330.0]))
        since = np.maximum(time - start, 0.0)
        envelope = np.where(time >= start, np.exp(-3 * since), 0.0)
        for harmonic in range(1, 12):
            sound += envelope * np.sin(2 * np.pi * pitch * harmonic * time) / harmonic
    sound *= level / np.sqrt(np.mean(sound**2))
    return sound[None].astype(np.float32)


def clip(name: str) -> Audio:
    """A committed CC0 recording, repeated until it lasts nine seconds."""
    audio = load(ASSETS / name)
    times = int(np.ceil(9.0 / audio.seconds))
    return Audio(waveform=np.tile(audio.waveform, times), sample_rate=audio.sample_rate)


def rebuilt(audio: Audio) -> Audio:
    """What the shipped codec does to phase, without its weights."""
    import torch

    mel = LogMel()
    mono = torch.from_numpy(resample(audio, 32_000).mono())
    mono = mono[: len(mono) // 640 * 640]
    mono = mono * (0.1 / mono.square().mean().sqrt())
    with torch.inference_mode():
        waveform = griffin_lim(mel.magnitudes(mel(mono[None]))[0], len(mono))
    return Audio(waveform=waveform[None].numpy(), sample_rate=32_000)


def test_every_evidence_feature_has_a_name_and_is_finite() -> None:
    row = features.evidence(chord(seconds=4.0)[0].astype(np.float64))

    assert row.shape == (len(features.names()),)
    assert np.isfinite(row).all()


@pytest.mark.parametrize("measure", [features.evidence, features.domain])
def test_features_do_not_depend_on_the_level(measure: object) -> None:
    segment = chord(seconds=4.0)[0].astype(np.float64)

    loud, quiet = measure(segment), measure(segment * 0.01)  # type: ignore[operator]

    np.testing.assert_allclose(loud, quiet, rtol=1e-6, atol=1e-6)


def test_features_hardly_depend_on_the_sample_rate_of_the_file() -> None:
    audio = Audio(waveform=chord(seconds=4.0, rate=44_100), sample_rate=44_100)
    low = resample(audio, 32_000)

    high_row = features.evidence(features.prepare(audio.waveform, 44_100)[:80_000])
    low_row = features.evidence(features.prepare(low.waveform, 32_000)[:80_000])

    assert np.corrcoef(high_row, low_row)[0, 1] > 0.99


def test_the_phase_of_a_steady_tone_is_steady_and_that_of_noise_is_not() -> None:
    time = np.arange(4 * RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 2_000 * time)
    noise = np.random.default_rng(1).normal(0, 0.1, 4 * RATE)
    phase = features.names().index("phase 300-600 Hz")

    assert features.evidence(tone)[phase] > 0.95
    assert features.evidence(noise)[phase] < 0.85


def test_a_flicker_at_the_frame_rate_of_the_codec_is_seen() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 4 * RATE)
    time = np.arange(4 * RATE) / RATE
    flickering = noise * (1 + 0.3 * np.sin(2 * np.pi * 50 * time))
    line = features.names().index("flicker 50 Hz")

    assert features.evidence(flickering)[line] > features.evidence(noise)[line] + 0.5


def test_rebuilding_phase_leaves_evidence() -> None:
    original = clip("guitar.ogg")
    before = features.prepare(original.waveform, original.sample_rate)
    after = rebuilt(original)
    changed = features.prepare(after.waveform, after.sample_rate)
    phase = features.names().index("phase 1000-1600 Hz")

    here = features.evidence(before[: features.SEGMENT_SAMPLES])[phase]
    there = features.evidence(changed[: features.SEGMENT_SAMPLES])[phase]

    assert abs(here - there) > 0.02


@pytest.mark.parametrize(
    ("waveform", "rate", "reason"),
    [
        (chord(seconds=3.9), RATE, "too short"),
        (chord(seconds=6.0, level=1e-4), RATE, "too quiet"),
        (chord(seconds=6.0, rate=8_000), 8_000, "too narrow"),
        (np.zeros((1, 6 * RATE), dtype=np.float32), RATE, "too quiet"),
    ],
    ids=["short", "quiet", "telephone", "silence"],
)
def test_it_abstains_when_there_is_too_little_to_hear(
    waveform: Waveform, rate: int, reason: str
) -> None:
    finding = classify(waveform, rate)

    assert finding.abstained
    assert finding.reason.startswith(reason)
    assert finding.probability == UNDECIDED


def test_it_abstains_on_drums_alone_and_says_how_far_they_are() -> None:
    audio = clip("tabla.ogg")

    finding = classify(audio.waveform, audio.sample_rate)

    assert finding.abstained
    assert "unlike the music it knows: distance" in finding.reason
    assert finding.segments


@pytest.mark.parametrize("name", sorted(path.name for path in ASSETS.glob("*.ogg")))
def test_recordings_are_not_called_ours(name: str) -> None:
    audio = clip(name)

    finding = classify(audio.waveform, audio.sample_rate)

    assert finding.abstained or finding.probability < 0.5


def test_noise_is_not_called_ours() -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, (1, 8 * RATE)).astype(np.float32)

    finding = classify(noise, RATE)

    assert finding.abstained or finding.probability < 0.1


def test_a_watermark_is_no_argument() -> None:
    # If it were, the classifier would have learned the mark instead of the generator.
    audio = clip("guitar.ogg")
    marked = embed(audio, payload=0x1234, key=b"k" * 32)
    limitless = shipped()

    plain = limitless.log_odds(_evidence(audio)).mean()
    with_mark = limitless.log_odds(_evidence(marked)).mean()

    assert abs(plain - with_mark) < 1.0


def test_segments_cover_the_file_every_two_seconds() -> None:
    audio = clip("guitar.ogg")

    finding = judge(audio.waveform, audio.sample_rate, weights=shipped())

    starts = [segment.start_seconds for segment in finding.segments]
    assert starts[:3] == pytest.approx([0.0, 2.0, 4.0])
    assert all(0.0 <= segment.score <= 1.0 for segment in finding.segments)


def test_changed_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "WEIGHTS_SHA256", "0" * 64)
    shipped.cache_clear()

    with pytest.raises(DetectorError, match="pinned is 0000"):
        classify(chord(seconds=5.0), RATE)
    monkeypatch.undo()
    shipped.cache_clear()


def test_the_recipe_separates_what_differs_and_writes_the_same_bytes_twice() -> None:
    table = _table(shift=1.5)

    data, report = train(table)

    assert report.evidence > 0.99
    assert 0.35 < report.trivial < 0.65
    assert hashlib.sha256(data).digest() == hashlib.sha256(train(table)[0]).digest()
    weights = parse(data)
    assert weights.log_odds(table.evidence[table.own]).mean() > 0
    assert weights.probability(5.0) > weights.probability(-5.0)
    speech = table.kind == "speech"
    assert weights.speech_log_odds(table.domain[speech]).min() > 0
    assert weights.speech_log_odds(table.domain[~speech]).max() < 0


def test_the_recipe_finds_nothing_where_nothing_is() -> None:
    _, report = train(_table(shift=0.0))

    assert 0.3 < report.evidence < 0.7


def _evidence(audio: Audio) -> npt.NDArray[np.float64]:
    mono = features.prepare(audio.waveform, audio.sample_rate)
    return np.stack([features.evidence(segment) for _, segment in synthetic.segments(mono)])


def _table(*, shift: float) -> Table:
    """Random clips; ten evidence features differ by ``shift``, and speech lies elsewhere."""
    dice = np.random.default_rng(7)
    n = 240
    own = np.arange(n) % 2 == 0
    own[200:] = False
    kind = np.where(own, "output", "recording")
    kind[200:] = "speech"
    evidence = dice.normal(0, 1, (n, len(features.names())))
    evidence[own, :10] += shift
    domain = dice.normal(0, 1, (n, 3 * features.CEPSTRA - 1))
    domain[200:] += 1.0
    return Table(
        evidence=evidence,
        domain=domain,
        trivial=dice.normal(0, 1, (n, len(features.trivial_names()))),
        own=own,
        kind=kind,
        group=np.array([f"group {i // 2}" for i in range(n)]),
    )
