"""Public codecs give back every sample, at their rate, and what the library itself gives."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from safegen.audio import Audio
from safegen.errors import InputError, IntegrityError
from safegen.generation import public_codes
from safegen.generation.public_families import module_of, recognize
from safegen.generation.transformers_models.codecs import PublicCodec, describe, load
from safegen.generation.transformers_models.loading import load_model
from tests.safegen.generation.tiny_codecs import card_of, save_dac, save_encodec, save_mimi

FOLDERS: dict[str, Callable[[Path], Path]] = {
    "encodec": save_encodec,
    "encodec in chunks": lambda folder: save_encodec(folder, is_chunked=True),
    "dac": save_dac,
    "mimi": save_mimi,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("codecs")
    return {name: save(made / name.replace(" ", "-")) for name, save in FOLDERS.items()}


@pytest.fixture(scope="module")
def codecs(folders: dict[str, Path]) -> dict[str, PublicCodec]:
    return {
        name: load(folder, card_of(folder), device="cpu", precision="float32")
        for name, folder in folders.items()
    }


def noise(samples: int, *, rate: int = 22_050, channels: int = 1) -> Audio:
    waveform = np.random.default_rng(7).normal(0, 0.3, (channels, samples))
    return Audio(waveform=waveform.astype(np.float32), sample_rate=rate)


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize(
    ("samples", "channels"), [(1, 1), (50, 2), (4801, 1), (9999, 2), (4801, 5)]
)
def test_every_sample_comes_back(
    codecs: dict[str, PublicCodec], name: str, samples: int, channels: int
) -> None:
    codec = codecs[name]
    audio = noise(samples, channels=channels)

    coded = codec.encode(audio)
    back = codec.decode(coded)

    assert back.sample_rate == codec.shape.sample_rate
    assert back.waveform.shape == (
        2 if channels == 2 and codec.shape.channels == 2 else 1,
        -(-samples * back.sample_rate // 22_050),
    )
    assert np.isfinite(back.waveform).all()


@pytest.mark.parametrize("name", FOLDERS)
def test_fewer_codebooks_are_the_first_of_all(codecs: dict[str, PublicCodec], name: str) -> None:
    audio = noise(9999, channels=codecs[name].shape.channels)

    all_of_them, two = (codecs[name].encode(audio, codebooks=n) for n in (None, 2))

    assert all_of_them.codes.shape[0] == codecs[name].shape.codebooks == 4
    assert np.array_equal(two.codes, all_of_them.codes[:2])
    assert len(np.unique(all_of_them.codes)) > 6
    assert not np.array_equal(
        codecs[name].decode(two).waveform, codecs[name].decode(all_of_them).waveform
    )


def by_the_library(folder: Path, name: str, wave: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Encode and decode with the class itself; the length is one that it can do."""
    class_name = {"dac": "DacModel", "mimi": "MimiModel"}.get(name, "EncodecModel")
    model = load_model(class_name, folder, device="cpu", precision="float32")
    with torch.inference_mode():
        given = torch.from_numpy(wave)[None]
        if class_name == "EncodecModel":
            told = model(given, bandwidth=model.config.target_bandwidths[-1])
            codes = told.audio_codes[:, 0]
            return torch.cat(list(codes), dim=1), told.audio_values[0]
        told = model(given)
        return told.audio_codes[0], told.audio_values.reshape(1, -1)


@pytest.mark.parametrize(
    ("name", "samples"),
    [("encodec", 7000), ("encodec in chunks", 4752 + 3200), ("dac", 6400), ("mimi", 3840)],
)
def test_codes_and_sound_are_those_of_the_library(
    codecs: dict[str, PublicCodec], folders: dict[str, Path], name: str, samples: int
) -> None:
    shape = codecs[name].shape
    audio = noise(samples, rate=shape.sample_rate, channels=shape.channels)
    codes, sound = by_the_library(folders[name], name, audio.waveform)

    coded = codecs[name].encode(audio)
    back = codecs[name].decode(coded).waveform

    assert np.array_equal(coded.codes, codes[:, : coded.codes.shape[1]].numpy())
    theirs = sound[:, :samples].numpy()
    assert np.abs(back[:, : theirs.shape[1]] - theirs).max() < 1e-5
    assert np.abs(theirs).max() > 1e-3


@pytest.mark.parametrize("name", FOLDERS)
def test_settings_are_described_without_the_library(
    folders: dict[str, Path], codecs: dict[str, PublicCodec], name: str
) -> None:
    told = describe(folders[name])

    assert recognize(folders[name]).role == "codec"
    assert module_of(recognize(folders[name])).describe is describe
    assert (told.sample_rate, told.channels) == (
        codecs[name].shape.sample_rate,
        codecs[name].shape.channels,
    )
    assert f"{codecs[name].shape.codebook_bitrate:.0f} bit/s" in told.summary


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"audio_channels": 3}, "3 channels"),
        ({"target_bandwidths": []}, "describes no codec"),
        ({"codebook_size": "many"}, "describes no codec"),
        ({"target_bandwidths": [0.001]}, "0 codebooks"),
    ],
)
def test_settings_of_no_codec_are_refused(
    folders: dict[str, Path], tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    found = json.loads((folders["encodec"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(found | change))

    with pytest.raises(InputError, match=problem):
        describe(tmp_path)


def test_what_a_codec_cannot_do_is_refused(codecs: dict[str, PublicCodec]) -> None:
    codec = codecs["dac"]
    coded = codec.encode(noise(5000))

    for codebooks in (0, 5):
        with pytest.raises(InputError, match="1 to 4"):
            codec.encode(noise(5000), codebooks=codebooks)
    with pytest.raises(InputError, match="longer than the 300 s"):
        codec.encode(Audio(waveform=np.zeros((1, 300_001), np.float32), sample_rate=1000))
    for wrong in (
        replace(coded, samples=coded.samples + 1000),
        replace(coded, codes=coded.codes + 64),
        replace(coded, codes=-coded.codes - 1),
        replace(coded, scales=np.ones(1, np.float32)),
    ):
        with pytest.raises(InputError, match="are not"):
            codec.decode(wrong)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_gives_back_the_codes(codecs: dict[str, PublicCodec], name: str) -> None:
    coded = codecs[name].encode(noise(9999, channels=2), codebooks=3)

    data = public_codes.write(coded, codecs[name])
    found = public_codes.read(data)
    public_codes.refuse_other(found, codecs[name].card)

    assert public_codes.is_one(data[:4096])
    assert found.seconds == pytest.approx(9999 / 22_050, abs=1e-3)
    assert np.array_equal(
        codecs[name].decode(found.coded).waveform, codecs[name].decode(coded).waveform
    )


def test_codes_of_other_weights_are_refused(codecs: dict[str, PublicCodec]) -> None:
    found = public_codes.read(
        public_codes.write(codecs["encodec"].encode(noise(500)), codecs["encodec"])
    )

    with pytest.raises(InputError, match="made by owner/tiny with weights"):
        public_codes.refuse_other(found, codecs["dac"].card)


def edited(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Change what the head of a file tells."""
    length = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + length])
    told = json.loads(head["__metadata__"][public_codes.METADATA_KEY])
    change(told)
    head["__metadata__"][public_codes.METADATA_KEY] = json.dumps(told)
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


BAD: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"RIFF" + b"a" * 100,
    "another schema": lambda data: edited(data, lambda x: x.update(schema="v2")),
    "a field too many": lambda data: edited(data, lambda x: x.update(more=1)),
    "a field of another kind": lambda data: edited(data, lambda x: x.update(samples=1.5)),
    "no samples": lambda data: edited(data, lambda x: x.update(samples=0)),
    "a day of samples": lambda data: edited(data, lambda x: x.update(samples=10**10)),
    "eight channels": lambda data: edited(data, lambda x: x.update(channels=8)),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_file_that_holds_no_codes_is_refused(
    codecs: dict[str, PublicCodec], change: Callable[[bytes], bytes]
) -> None:
    data = public_codes.write(codecs["encodec"].encode(noise(500)), codecs["encodec"])

    with pytest.raises(InputError):
        public_codes.read(change(data))


def test_a_cut_file_is_damaged(codecs: dict[str, PublicCodec]) -> None:
    data = public_codes.write(codecs["encodec"].encode(noise(5000)), codecs["encodec"])

    with pytest.raises(IntegrityError, match="cut"):
        public_codes.read(data[:-3])
