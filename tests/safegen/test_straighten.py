"""What was played faster or higher is brought back; what was not is left alone."""

import numpy as np
import pytest

from safegen.audio import Audio
from safegen.straighten import straighten

RATE = 22_050


def tone(seconds: float) -> Audio:
    time = np.arange(round(seconds * RATE)) / RATE
    return Audio(waveform=np.sin(2 * np.pi * 440 * time)[None].astype(np.float32), sample_rate=RATE)


def pitch_hz(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio.waveform[0] * np.hanning(audio.waveform.shape[1])))
    return float(np.argmax(spectrum) * RATE / audio.waveform.shape[1])


@pytest.mark.parametrize(
    ("speed", "semitones", "length", "hertz"),
    [
        (1.05, 0.0, 1.05, 440.0),
        (0.95, 0.0, 0.95, 440.0),
        (1.0, 2.0, 1.0, 440.0 / 2 ** (2 / 12)),
        (1.05, float(12 * np.log2(1.05)), 1.05, 440.0 / 1.05),
    ],
    ids=["too fast", "too slow", "too high", "record played too fast"],
)
def test_a_change_is_undone(speed: float, semitones: float, length: float, hertz: float) -> None:
    back = straighten(tone(4.0), speed=speed, semitones=semitones)

    assert back.seconds == pytest.approx(4.0 * length, rel=2e-3)
    assert pitch_hz(back) == pytest.approx(hertz, abs=1.5)


def test_what_was_not_changed_is_not_touched() -> None:
    audio = tone(2.0)

    assert straighten(audio, speed=1.0, semitones=0.01) is audio
