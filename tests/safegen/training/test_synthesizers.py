import shutil

import numpy as np
import pytest

from safegen.audio import Audio
from safegen.errors import InputError, SafegenError
from safegen.training import optional, voices
from safegen.training.optional import TEXT, WAVE
from safegen.training.synthesizers import SYNTHESIZERS, Need, Synthesizer, synthesizer
from safegen.training.vocoders import SAMPLE_RATE, log_mel
from tests.safegen.training.voice_help import babbling

SENTENCE = "The ferry leaves at seven, whether or not the fog has lifted."
COPIES = [name for name, row in SYNTHESIZERS.items() if row.kind == "copy"]
TEXTS = [name for name, row in SYNTHESIZERS.items() if row.kind == "text"]


def here(name: str) -> Synthesizer:
    """Look a synthesizer up, or skip and say what would have to be installed."""
    found = synthesizer(name)
    if found.missing:
        pytest.skip(f"{name} needs " + ", ".join(f"`{need.get}`" for need in found.missing))
    return found


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_mono_as_long_as_its_original_and_no_recording_of_it(name: str) -> None:
    original = babbling(2.0, sample_rate=SAMPLE_RATE, seed=3)

    copied = here(name).copy(original)

    assert copied.waveform.shape[0] == 1
    assert copied.sample_rate == (here(name).sample_rate or original.sample_rate)
    assert copied.seconds == pytest.approx(original.seconds, abs=0.04)
    if copied.sample_rate == original.sample_rate:
        assert not np.allclose(copied.waveform, original.waveform, atol=1e-3)


@pytest.mark.parametrize("name", ["griffin-lim", "codec", "world"])
def test_the_same_recording_gives_the_same_copy(name: str) -> None:
    original = babbling(1.0, sample_rate=SAMPLE_RATE, seed=4)

    first, second = (here(name).copy(original) for _ in range(2))

    assert np.array_equal(first.waveform, second.waveform)


def test_griffin_lim_keeps_the_spectrogram() -> None:
    original = babbling(2.0, sample_rate=SAMPLE_RATE, seed=5)
    other = babbling(2.0, sample_rate=SAMPLE_RATE, seed=6)

    copied = synthesizer("griffin-lim").copy(original)

    def mel(audio: Audio) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        import torch

        drawn: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = log_mel(
            torch.from_numpy(audio.mono())
        ).numpy()
        return drawn

    near = float(np.abs(mel(copied) - mel(original)).mean())
    far = float(np.abs(mel(other) - mel(original)).mean())
    assert near < 0.5
    assert far > 3 * near


@pytest.mark.parametrize("name", TEXTS)
def test_a_voice_speaks_a_sentence(name: str) -> None:
    said = here(name).speak(SENTENCE)

    assert said.sample_rate == here(name).sample_rate
    assert said.waveform.shape[0] == 1
    assert 2.0 < said.seconds < 8.0
    assert float(np.sqrt(np.mean(said.waveform**2))) > 0.01


def test_what_is_missing_is_named_with_the_command_that_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(InputError, match="flite-slt: flite not found\nRun `apt install flite`"):
        synthesizer("flite-slt").speak(SENTENCE)


def test_a_missing_library_is_found_out_without_importing_it() -> None:
    need = Need(kind="library", name="no_such_vocoder", get="pip install no-such-vocoder")
    row = Synthesizer(
        name="x",
        family="vocoder",
        sample_rate=None,
        tool_license="MIT",
        needs=(need,),
        copies=lambda audio: audio,
    )

    assert row.missing == (need,)
    with pytest.raises(InputError, match="pip install no-such-vocoder"):
        row.copy(babbling(0.5, sample_rate=16_000, seed=1))


def test_a_package_without_the_file_is_an_error_with_a_remedy() -> None:
    with pytest.raises(InputError, match="pip install no_such_package"):
        optional.package_file("no_such_package", "model.onnx")
    with pytest.raises(InputError, match=r"json: no file model\.onnx"):
        optional.package_file("json", "model.onnx")


def test_a_name_that_is_in_no_row_lists_the_rows() -> None:
    with pytest.raises(InputError, match=r"(?s)no synthesizer 'wavenet'.*griffin-lim"):
        synthesizer("wavenet")


def test_a_voice_copies_nothing_and_a_vocoder_speaks_nothing() -> None:
    with pytest.raises(ValueError, match="speaks text"):
        synthesizer("espeak").copy(babbling(0.5, sample_rate=16_000, seed=1))
    with pytest.raises(ValueError, match="copies recordings"):
        synthesizer("codec").speak(SENTENCE)


def test_each_row_is_one_kind_and_says_its_licenses() -> None:
    for name, row in SYNTHESIZERS.items():
        assert row.name == name
        assert (row.copies is None) != (row.speaks is None)
        assert row.tool_license
        assert (row.kind == "text") <= bool(row.voice_license)


def test_a_text_reaches_a_program_as_a_file_and_never_as_an_option() -> None:
    # "cat" stands for a voice: it prints the file that it is given.
    printed = optional.output_of("cat", TEXT, text="--version; $(id) 'quoted'")

    assert printed == "--version; $(id) 'quoted'\n"


def test_a_program_that_fails_or_writes_nothing_is_an_error() -> None:
    with pytest.raises(SafegenError, match="false ended with status 1"):
        optional.spoken_by("false", TEXT, WAVE, text="Hello.")
    with pytest.raises(InputError, match="no such file"):
        optional.spoken_by("true", TEXT, WAVE, text="Hello.")


def test_a_program_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "_LIMIT_SECONDS", 0.2)

    with pytest.raises(SafegenError, match=r"sleep took more than 0.2 s"):
        optional.output_of("sleep", "5", text="Hello.")


def test_phonemes_get_their_punctuation_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "output_of", lambda *_, text: " həloʊ\n wɜld\n\n")

    assert voices.phonemes("Hello, world!", voice="en-us") == "həloʊ, wɜld!"
    assert voices.phonemes("Hello world", voice="en-us") == "həloʊ, wɜld."


def test_a_text_without_words_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "output_of", lambda *_, text: "\n")

    with pytest.raises(InputError, match="nothing to say"):
        voices.phonemes("...", voice="en-us")


def test_phonemes_are_numbered_with_a_blank_after_each() -> None:
    table = {"_": [0], "^": [1], "$": [2], "a": [14], "b": [15]}

    assert voices.phoneme_ids("aéb", table) == [1, 0, 14, 0, 15, 0, 2]
