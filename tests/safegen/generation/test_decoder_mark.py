"""No call of a shipped model returns sound without the decoder's mark."""

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import safegen
from detectors import decoder_mark
from safegen.audio import Audio, load, save
from safegen.generation.base import Request
from safegen.generation.cards import CARDS, ModelCard
from safegen.generation.codec import STACK, Codec
from safegen.generation.compose import compose
from safegen.generation.procedural import render
from safegen.generation.systems import load as load_model
from safegen.generation.systems import load_codec
from safegen.training.synthesizers import copied
from tests.safegen.generation.staged_models import asked_of

NEURAL = tuple(card for card in CARDS if card.parameters and card.name != "codec")
OTHER = b"some other label"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_codec()


@pytest.fixture(scope="module")
def music() -> Audio:
    return render(compose(3), seconds=6.0)


def heard(audio: Audio, *, label: bytes = decoder_mark.LABEL) -> bool:
    finding = decoder_mark.hear(audio.waveform, audio.sample_rate, search=False, label=label)
    return finding.detected


@pytest.mark.parametrize(
    "way",
    [
        lambda codec, music: codec.decode(codec.latents(music)[0]),
        lambda codec, music: codec.decode_codes(codec.encode(music)),
        lambda codec, music: copied(music, codec, quantized=True),
        lambda codec, music: copied(music, codec, quantized=False),
    ],
    ids=["latents", "codes", "copy through codes", "copy through latents"],
)
def test_every_way_out_of_the_codec_is_marked(
    codec: Codec, music: Audio, way: Callable[[Codec, Audio], Audio]
) -> None:
    assert heard(way(codec, music))
    assert not heard(way(codec, music), label=OTHER)
    assert not heard(music)


@pytest.mark.parametrize("card", NEURAL, ids=lambda card: card.name)
def test_every_shipped_neural_model_returns_marked_sound(card: ModelCard, tmp_path: Path) -> None:
    generator = load_model(card.name)
    made = generator.generate(asked_of(card.name, seconds=6.0, seed=4)).audio
    path = tmp_path / "made.mp3"
    save(made, path, bitrate=64_000)

    assert heard(made)
    assert heard(load(path))
    assert f"{20 * decoder_mark.STRENGTH:g} dB" in card.mark


def test_the_shortest_clip_a_model_makes_does_not_break_the_ear() -> None:
    made = load_model("music-flow").generate(Request(prompt="bells", seconds=1.0, seed=4)).audio
    finding = decoder_mark.hear(made.waveform, made.sample_rate)

    assert 0.0 < finding.p_value <= 1.0


def test_the_mark_is_small_beside_what_the_codec_itself_changes(codec: Codec, music: Audio) -> None:
    z = codec.latents(music)[0]
    with torch.inference_mode():
        target = codec.log_mel(torch.from_numpy(music.waveform * 0.1 / music.waveform.std()))
        decoded = codec.decode_mel(z[None])
    error = (target[:, : decoded.shape[1]] - decoded).abs().mean()

    assert float(error) / 2 > decoder_mark.STRENGTH


def test_only_the_codec_turns_magnitudes_into_sound() -> None:
    # A second way from latents to sound would be a way around the mark.
    callers = set()
    root = Path(safegen.__file__).parent
    for path in root.rglob("*.py"):
        if path.is_relative_to(root / "evaluation"):
            continue  # benchmarks rebuild recordings, not latents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in ("griffin_lim", "magnitudes"):
                    callers.add(path.relative_to(root).as_posix())

    assert callers == {"generation/codec.py"}


def test_training_sees_log_mel_without_the_mark(codec: Codec) -> None:
    z = torch.zeros(20, codec.config.latent)
    with torch.inference_mode():
        log_mel = codec.decode_mel(z[None])[0]
        sound = codec.decode(z)
        marked = codec.log_mel(torch.from_numpy(sound.waveform))[0]
    added = decoder_mark.bias(STACK * len(z))
    ours = (marked - log_mel)[4:-4].numpy()

    assert float(np.mean(ours * added[4:-4])) > 0.5 * float(np.mean(added[4:-4] ** 2))
