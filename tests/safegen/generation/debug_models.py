"""Models small enough to build in a test: the real classes, tiny sizes, fixed weights."""

import torch

from safegen.generation.cards import card
from safegen.generation.codec import Codec, CodecConfig
from safegen.generation.music_flow import MusicFlow
from safegen.generation.planner import Planner, PlannerConfig
from safegen.generation.renderer import Renderer, RendererConfig
from safegen.generation.samplers import FlowSettings
from safegen.generation.text import TextConfig

CODEC = CodecConfig(width=16, encoder_blocks=1, decoder_blocks=1, latent=8, codebooks=2, codes=16)
PLANNER = PlannerConfig(
    text=TextConfig(embedding=8, width=16, layers=1, heads=2), layers=1, heads=2
)
RENDERER = RendererConfig(latent=8, text_width=16, width=16, layers=2, heads=2, reach=8)


def debug_codec() -> Codec:
    torch.manual_seed(0)
    codec = Codec(CODEC)
    codec.quantizer.codebook.normal_()
    return codec.eval()


def debug_planner() -> Planner:
    torch.manual_seed(1)
    return Planner(PLANNER).eval()


def debug_renderer() -> Renderer:
    torch.manual_seed(2)
    renderer = Renderer(RENDERER)
    torch.nn.init.normal_(renderer.outlet.weight, std=0.5)
    torch.nn.init.normal_(renderer.roll.weight, std=0.5)
    return renderer.eval()


def debug_system() -> MusicFlow:
    return MusicFlow(
        card("music-flow"),
        codec=debug_codec(),
        planner=debug_planner(),
        renderer=debug_renderer(),
        settings=FlowSettings(steps=2, guidance=2.0),
    )
