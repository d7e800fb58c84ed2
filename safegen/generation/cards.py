"""Which models ship?

One card for each row; ``safegen.generation.systems`` builds the row from it. Rows share
files: all decode with one codec, and the rows that draw tokens share one token model.
"""

from __future__ import annotations

from typing import Final

from safegen.errors import InputError
from safegen.generation.model_card import (
    INPUTS,
    WEIGHTS,
    ModelCard,
    WeightFile,
    checked_path,
    load_tensors,
)

__all__ = [
    "CARDS",
    "DEFAULT_MODEL",
    "INPUTS",
    "WEIGHTS",
    "ModelCard",
    "WeightFile",
    "card",
    "checked_path",
    "load_tensors",
]

DEFAULT_MODEL: Final = "music-flow"

_CODEC: Final = WeightFile(
    role="codec",
    name="codec.safetensors",
    sha256="7f0be7b635ef13615f5c12f860b850a7903134713f68d24af0157f5877974b2b",
)
_PLANNER: Final = WeightFile(
    role="planner",
    name="planner.safetensors",
    sha256="5f08be4c7e4340d93b5a908bb1c9b78e20c5f173e3f3d111056558b317ee4fcc",
)
_RENDERER: Final = WeightFile(
    role="renderer",
    name="renderer.safetensors",
    sha256="4eb6ea39a1fa57660d53853a407a43351c555b171b87b1421501982c3d557c32",
)
_TOKENS: Final = WeightFile(
    role="tokens",
    name="tokens.safetensors",
    sha256="fe129288658b2aaa941c34110a4130f6bedbde9331c448529eacc3df2b8add5f",
)
_READER: Final = WeightFile(
    role="reader",
    name="scene-reader.safetensors",
    sha256="f368555ef097ff73b24d61ec6410004d12e8d2036ae34ea73e921d6036cfb4fe",
)
_DECODER: Final = WeightFile(
    role="decoder",
    name="sounds-decoder.safetensors",
    sha256="ffd138c78af3d9ee516bbbda69c2f1aec5a8bebc9f469fa93e56b1f6cbf65369",
)
_GENERATOR: Final = WeightFile(
    role="generator",
    name="cascade-generator.safetensors",
    sha256="a5298958a6b2ecc17990ae6ff62f9b0739d2f6e7e973d32e8546ba6e8a6059cf",
)
_CASCADER: Final = WeightFile(
    role="cascader",
    name="cascade-unet.safetensors",
    sha256="ce8e25a37c5e2fe00eac9b64a70137fc21e2f017161d822909e94a32df4cc782",
)
_TRANSCRIBER: Final = WeightFile(
    role="transcriber",
    name="transcriber.safetensors",
    sha256="edb58195becaf5c7f4d7f61e775805df08e4f2fc0abf7e7c58186a26adc07573",
)
_JOINT: Final = WeightFile(
    role="joint",
    name="joint.safetensors",
    sha256="dad25a66a4d2fb05707309c5912aa4caf79d4e07608e28b8c11bf94abc3329c2",
)
_MUSIC_MANIFEST: Final = WeightFile(
    role="manifest",
    name="music-flow.manifest.safetensors",
    sha256="2cb1d4abbedc8d5ecf79ccd208cc2447e71ea004137600cead520e03bfbf982c",
)
_SOUNDS_MANIFEST: Final = WeightFile(
    role="manifest",
    name="sfx.manifest.safetensors",
    sha256="e73677008f8c836ae2a021fe5d5091e8afd322b99eeee4e87911d7d8fb7afcc1",
)

_MUSIC_DATA: Final = (
    "Procedural scores, each named by a seed, rendered with the MIT-licensed FluidR3Mono "
    "soundfont. No recording by anybody else was used."
)
_SOUND_DATA: Final = (
    "3,000 procedural sound scenes, each named by a seed: 20 sounds made by signal "
    "processing, five from the CC0 samples of sonic-pi; and the scores of music-flow, "
    "because one token model serves both."
)
_MUSIC_LIMITS: Final = (
    "Instrumental music in 4/4, 60 to 180 bpm, major and minor, 20 instruments; English "
    "prompts; no singing, no speech, no sound effects. Phase comes from Griffin-Lim and "
    "sounds soft."
)
_SOUND_LIMITS: Final = (
    "One to three of 25 sounds, in English; no music, no speech. What is not named among "
    "them is refused. High chirps and bells lose their finest partials in the codec. Below "
    "ten seconds the gate often finds too little to compare with the training items, and "
    "`strict` refuses what was not compared."
)
_CODEC_MARK: Final = (
    "The decoder writes a public pattern of 0.8 dB into every sound it makes, which "
    "`safegen verify` and `safegen screen` hear. It names the codec, nobody's key or "
    "installation; whoever edits the decoder can leave it out."
)
# The shipped runs were stopped and continued with other --steps on the way, so these
# commands give weights of the same quality, not the same bits.
_CODEC_RECIPE: Final = "safegen train codec --steps 2000 --items 2500"
_PLAN_RECIPE: Final = "safegen train text-plan --steps 1500"
_TOKENS_RECIPE: Final = "safegen train tokens --steps 2200"
_MANIFEST_RECIPE: Final = "safegen train manifest"
_SOUND_RECIPES: Final = (
    _CODEC_RECIPE,
    "safegen train sounds-decoder --steps 700",
    "safegen train scene-text",
    _TOKENS_RECIPE,
    "safegen train sfx-manifest",
)

CARDS: Final = (
    ModelCard(
        name="music-flow",
        version="2",
        summary="Writes a score for the prompt, then renders it with a flow through a mel codec.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=1.0,
        longest_seconds=120.0,
        parameters=9_309_467,
        files=(_CODEC, _PLANNER, _RENDERER, _MUSIC_MANIFEST),
        recipes=(
            _CODEC_RECIPE,
            _PLAN_RECIPE,
            "safegen train flow --steps 2900",
            _MANIFEST_RECIPE,
        ),
        training_data=_MUSIC_DATA,
        limits=_MUSIC_LIMITS,
        mark=_CODEC_MARK,
        accepts=("negative_prompt", "source", "inpaint"),
        after="Stable Audio and Mousai: latent diffusion, told where in the piece it is.",
        measured=(
            "`safegen eval generation`, 200 held-out prompts of 10 s: tempo .99, key .83, "
            "drums .95, instrument .71 (luck .12, .04, .52, .05), 0.16 s of one core a "
            "second."
        ),
    ),
    ModelCard(
        name="music-ar",
        version="1",
        summary="Writes a score for the prompt, then draws codec tokens frame by frame.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=1.0,
        longest_seconds=95.0,
        parameters=10_981_211,
        files=(_CODEC, _PLANNER, _TOKENS, _MUSIC_MANIFEST),
        recipes=(_CODEC_RECIPE, _PLAN_RECIPE, _TOKENS_RECIPE, _MANIFEST_RECIPE),
        training_data=_MUSIC_DATA + " The token model also learned from sound scenes (sfx-ar).",
        limits=_MUSIC_LIMITS + " With a melody the prompt chooses instruments, not the tempo.",
        mark=_CODEC_MARK,
        accepts=("negative_prompt", "melody", "continue_from"),
        after="MusicGen: codec tokens in the delay pattern, melody as one pitch class a frame.",
        measured=(
            "`safegen eval generation`, 200 held-out prompts of 10 s: tempo .99, key .76, "
            "drums .81, instrument .51 (luck .12, .04, .52, .05), 0.24 s of one core a "
            "second."
        ),
    ),
    ModelCard(
        name="music-cascade",
        version="1",
        summary="Writes a score, renders it at 12.5 frames a second, then adds the details.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=1.0,
        longest_seconds=95.0,
        parameters=7_315_123,
        files=(_CODEC, _PLANNER, _GENERATOR, _CASCADER, _MUSIC_MANIFEST),
        recipes=(
            _CODEC_RECIPE,
            _PLAN_RECIPE,
            "safegen train cascade-generator --steps 2800 --items 2500",
            "safegen train cascade-unet --steps 3800 --items 2500",
            _MANIFEST_RECIPE,
        ),
        training_data=_MUSIC_DATA,
        limits=_MUSIC_LIMITS,
        mark=_CODEC_MARK,
        accepts=("negative_prompt",),
        after="Noise2Music: a low-rate generator, then a cascader of one-dimensional U-Nets.",
        measured=(
            "`safegen eval generation`, 100 held-out prompts of 10 s: tempo .99, key .86, "
            "drums .93, instrument .63 (luck .12, .04, .50, .05), 0.11 s of one core a "
            "second."
        ),
    ),
    ModelCard(
        name="music-joint",
        version="1",
        summary="Places the prompt where music lies, writes a score from there, plays it.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=1.0,
        longest_seconds=95.0,
        parameters=11_430_747,
        files=(_CODEC, _PLANNER, _JOINT, _TOKENS, _MUSIC_MANIFEST),
        recipes=(
            _CODEC_RECIPE,
            _PLAN_RECIPE,
            "safegen train transcriber --steps 2500",
            "safegen train joint --steps 800",
            _TOKENS_RECIPE,
            _MANIFEST_RECIPE,
        ),
        training_data=_MUSIC_DATA + " The token model also learned from sound scenes (sfx-ar).",
        limits=(
            _MUSIC_LIMITS + " Moods get lost on the way through the joint embedding; with a "
            "melody the prompt chooses instruments only."
        ),
        mark=_CODEC_MARK,
        accepts=("negative_prompt", "melody", "story"),
        after="MusicLM: a joint embedding of music and text, then semantic, coarse, fine tokens.",
        measured=(
            "`safegen eval generation`, 100 held-out prompts of 10 s: tempo .95, key .92, "
            "drums .86, instrument .52 (luck .11, .04, .50, .05), 0.22 s of one core a "
            "second."
        ),
    ),
    ModelCard(
        name="continue",
        version="1",
        summary="Listens to a beginning, writes the score that follows, and plays it in stages.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=2.0,
        longest_seconds=95.0,
        parameters=11_477_438,
        files=(_CODEC, _PLANNER, _TRANSCRIBER, _TOKENS, _MUSIC_MANIFEST),
        recipes=(
            _CODEC_RECIPE,
            _PLAN_RECIPE,
            "safegen train transcriber --steps 2500",
            _TOKENS_RECIPE,
            _MANIFEST_RECIPE,
        ),
        training_data=_MUSIC_DATA + " The token model also learned from sound scenes (sfx-ar).",
        limits=(
            _MUSIC_LIMITS + " The beginning is heard again through the codec; a beginning in "
            "another style goes on in one of these. Three seconds leave the key open one time in "
            "four, and in unknown timbres the instrument half the time."
        ),
        mark=_CODEC_MARK,
        accepts=("continue_from",),
        after="AudioLM: semantic, coarse and fine tokens, from a few seconds of sound.",
        measured=(
            "`safegen eval generation`, 100 held-out beginnings of 3 s: tempo .95, key .34, "
            "drums .92, instrument .44 (luck .15, .04, .51, .05), 0.26 s of one core a "
            "second."
        ),
    ),
    ModelCard(
        name="sfx-ar",
        version="1",
        summary="Finds the sounds a prompt names, lays out a scene, draws tokens frame by frame.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=1.0,
        longest_seconds=95.0,
        parameters=10_102_151,
        files=(_CODEC, _DECODER, _READER, _TOKENS, _SOUNDS_MANIFEST),
        recipes=_SOUND_RECIPES,
        training_data=_SOUND_DATA,
        limits=_SOUND_LIMITS,
        mark=_CODEC_MARK,
        after="AudioGen: text to sound, with captions of mixed sounds.",
        measured=(
            "`safegen eval generation`, 100 held-out prompts of 10 s: the sound heard most "
            "clearly was asked for in .70 (luck .06, scenes through the codec .75), 0.21 s "
            "of one core a second."
        ),
    ),
    ModelCard(
        name="sfx-masked",
        version="1",
        summary="As sfx-ar, but fills all frames at once in a few passes.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=1.0,
        longest_seconds=95.0,
        parameters=10_102_151,
        files=(_CODEC, _DECODER, _READER, _TOKENS, _SOUNDS_MANIFEST),
        recipes=_SOUND_RECIPES,
        training_data=_SOUND_DATA,
        limits=_SOUND_LIMITS,
        mark=_CODEC_MARK,
        after="Diffsound: discrete diffusion over mel tokens.",
        measured=(
            "`safegen eval generation`, 100 held-out prompts of 10 s: the sound heard most "
            "clearly was asked for in .62 (luck .06, scenes through the codec .75), 0.10 s "
            "of one core a second."
        ),
    ),
    ModelCard(
        name="codec",
        version="2",
        summary="Encodes and decodes files at 250 to 1,000 bit/s; `safegen codec` uses it.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=0.04,
        longest_seconds=3600.0,
        parameters=2_583_585,
        files=(_CODEC, _MUSIC_MANIFEST),
        recipes=(_CODEC_RECIPE,),
        training_data=_MUSIC_DATA,
        limits=(
            "Mono, up to 16 kHz, at most an hour. Phase is made up on the way back: soft, "
            "and not for speech or archives. Trained on the music of one soundfont; other "
            "timbres lose more."
        ),
        mark=_CODEC_MARK,
        after="EnCodec: residual vector quantization, here of log-mel frames.",
        measured=(
            "`safegen eval codec-quality`, two 3 s clips each, four codebooks: ViSQOL 4.13 on "
            "game music, 3.85 on sound effects, 3.74 and 3.54 on scores in the timbres of "
            "training and in others; not quantized 4.24, 4.04, 4.07, 3.90; Opus at 12 kbit/s "
            "3.21, 2.54, 2.52, 2.27."
        ),
    ),
    ModelCard(
        name="procedural",
        version="1",
        summary="Composes by seed and plays on sine waves; for tests and the demo's catalog.",
        license="Apache-2.0",
        sample_rate=32_000,
        shortest_seconds=0.1,
        longest_seconds=600.0,
        parameters=0,
        files=(),
        recipes=(),
        training_data="None.",
        limits="Follows a named tempo and the presence of drums, nothing else of a prompt.",
        mark="None: it has no decoder. Only the gate marks what it makes.",
    ),
)


def card(name: str) -> ModelCard:
    """Look a model up.

    Raises:
        InputError: If no model has this name.
    """
    for found in CARDS:
        if found.name == name:
            return found
    names = ", ".join(x.name for x in CARDS)
    raise InputError(f"{name}: no such model", remedy=f"Choose one of: {names}.")
