"""The leading pitch class of each frame."""

import numpy as np

from safegen.audio import Audio
from safegen.generation.melody import NONE, chroma_of, classes_of

RATE = 32_000


def tones(*midi: int, seconds: float = 0.8) -> Audio:
    t = np.arange(int(seconds * RATE)) / RATE
    parts = [
        sum(0.2 / k * np.sin(2 * np.pi * k * 440 * 2 ** ((m - 69) / 12) * t) for k in range(1, 4))
        for m in midi
    ]
    return Audio(waveform=np.concatenate(parts).astype(np.float32)[None], sample_rate=RATE)


def test_each_note_of_a_line_is_named_whatever_its_octave() -> None:
    found = classes_of(tones(60, 67, 81, 70))

    middles = found[[10, 30, 50, 70]]
    assert len(found) == 80
    assert middles.tolist() == [0, 7, 9, 10]


def test_silence_has_no_leading_pitch() -> None:
    sound = tones(64)
    silent = Audio(waveform=np.zeros_like(sound.waveform), sample_rate=RATE)
    both = Audio(
        waveform=np.concatenate([sound.waveform, silent.waveform], axis=1), sample_rate=RATE
    )

    found = classes_of(both)

    assert (found[2:17] == 4).all()
    assert (found[24:] == NONE).all()
    assert not chroma_of(both)[24:].any()


def test_a_sound_shorter_than_a_frame_has_no_melody() -> None:
    assert classes_of(tones(60, seconds=0.03)).shape == (0,)
