"""The staged systems, tiny: four codebooks, fixed weights, the real classes."""

import numpy as np
import torch

from safegen.audio import Audio
from safegen.generation.base import Request
from safegen.generation.cards import ModelCard
from safegen.generation.coarse_fine import StageSettings
from safegen.generation.codec import SAMPLE_RATE, Codec, CodecConfig
from safegen.generation.continuation import Continuation
from safegen.generation.joint import Joint, JointConfig
from safegen.generation.story import MusicJoint
from safegen.generation.token_samplers import FillSettings
from safegen.generation.tokens import TokenConfig, TokenModel
from safegen.generation.transcriber import Transcriber, TranscriberConfig
from tests.safegen.generation.debug_models import debug_planner

CODEC = CodecConfig(width=16, encoder_blocks=1, decoder_blocks=1, latent=8, codebooks=4, codes=16)
TOKENS = TokenConfig(codes=16, latent=8, text_width=16, width=16, layers=1, heads=2, reach=8)
TRANSCRIBER = TranscriberConfig(latent=8, width=16, blocks=1, layers=1, heads=2)
JOINT = JointConfig(heard=32, read=16, inner=16, embedding=8, states=2)
SETTINGS = StageSettings(fine=FillSettings(passes=(1, 1, 2, 1)))


def staged_card(name: str, *accepts: str) -> ModelCard:
    return ModelCard(
        name=name,
        version="0",
        summary="",
        license="Apache-2.0",
        sample_rate=SAMPLE_RATE,
        shortest_seconds=1.0,
        longest_seconds=20.0,
        parameters=0,
        files=(),
        recipes=(),
        training_data="",
        limits="",
        mark="",
        accepts=accepts,
    )


def staged_codec() -> Codec:
    torch.manual_seed(0)
    codec = Codec(CODEC)
    codec.quantizer.codebook.normal_()
    return codec.eval()


def staged_tokens(codec: Codec) -> TokenModel:
    torch.manual_seed(4)
    model = TokenModel(TOKENS, codebook=codec.quantizer.codebook)
    # Steering starts at zero; here prompts shall be heard.
    assert model.backbone.steering is not None
    torch.nn.init.normal_(model.backbone.steering.weight, std=1.0)
    return model.eval()


def staged_transcriber() -> Transcriber:
    torch.manual_seed(5)
    return Transcriber(TRANSCRIBER).eval()


def staged_joint() -> Joint:
    torch.manual_seed(6)
    return Joint(JOINT).eval()


def continuation() -> Continuation:
    codec = staged_codec()
    return Continuation(
        staged_card("continue", "continue_from"),
        codec=codec,
        planner=debug_planner(),
        transcriber=staged_transcriber(),
        tokens=staged_tokens(codec),
        settings=SETTINGS,
    )


def music_joint() -> MusicJoint:
    codec = staged_codec()
    return MusicJoint(
        staged_card("music-joint", "negative_prompt", "melody", "story"),
        codec=codec,
        planner=debug_planner(),
        joint=staged_joint(),
        tokens=staged_tokens(codec),
        settings=SETTINGS,
    )


def tune(seconds: float, *, hertz: float = 440.0) -> Audio:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    beat = 0.2 + 0.8 * (times * 2 % 1 < 0.5)
    waveform = (0.3 * beat * np.sin(2 * np.pi * hertz * times)).astype(np.float32)
    return Audio(waveform=waveform[None], sample_rate=SAMPLE_RATE)


def asked_of(name: str, *, seconds: float, seed: int) -> Request:
    """Ask a shipped row for what it can make."""
    if name.startswith("sfx"):
        return Request(prompt="a siren over rain", seconds=seconds, seed=seed)
    if name == "continue":
        return Request(prompt="", seconds=seconds, seed=seed, continue_from=tune(2.0))
    prompt = "a calm piano piece in A minor, 80 bpm, with drums"
    return Request(prompt=prompt, seconds=seconds, seed=seed)
