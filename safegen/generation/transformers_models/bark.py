"""Bark: a text is spoken, with laughter and music if it says so; the open heir of AudioLM.

Bark says at most 15 s at once, so a text is said in parts: a sentence, or short ones
together. Each part hears what the part before said and keeps its voice. A part is finished
as a whole, because its last stage hears forwards and backwards; a stream gives part by part.

How long a text takes is Bark's to decide: ``Request.seconds`` is the most that is said, and
what is asked beyond the end of the text stays unsaid.

Voice presets are not read: they stand in files that no list of hashes covers.

Source: suno-ai/bark; Borsos et al., "AudioLM", arXiv 2209.03143, for the three stages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Generation, ModelFacts, Request, joined
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Described, Device, Precision
from safegen.generation.requests import check
from safegen.generation.stages import dice
from safegen.generation.transformers_models import bark_settings
from safegen.generation.transformers_models.bark_settings import BarkSettings
from safegen.generation.transformers_models.bark_stages import BarkStages, Part, Said
from safegen.generation.transformers_models.loading import load_model, load_tokenizer, quiet

SHORTEST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0
_PART_IDS: Final = 64
"""About 13 s of speech; more ids are said in one part only where a sentence has no place to
part."""
_SENTENCE: Final = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")
_STAGES: Final = ("semantic", "coarse", "fine")

Progress = Callable[[float], None]


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``public_families.FamilyModule``.

    Raises:
        InputError: If they are not those of a Bark.
    """
    told = bark_settings.read(folder)
    at_once = told.most_tokens / told.semantic_rate_hz
    return Described(
        summary="Speaks a text, in three stages: meaning, coarse sound, fine sound.",
        sample_rate=told.sample_rate,
        channels=1,
        shortest_seconds=SHORTEST_SECONDS,
        longest_seconds=LONGEST_SECONDS,
        limits="The length that is asked for is the most that is said: it ends when the text "
        f"does. At most {at_once:.0f} s are said at once, so a longer text is said in parts, and "
        "a stream gives part by part. The voice follows from the seed; voice presets are not "
        "read.",
    )


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> Bark:
    """Build it; see ``public_families.FamilyModule``.

    Raises:
        InputError: If the files do not make a Bark.
    """
    told = bark_settings.read(folder)
    model = load_model("BarkModel", folder, device=device, precision=precision)
    return Bark(card=card, model=model, tokenizer=load_tokenizer(folder), settings=told)


@dataclass(slots=True, kw_only=True)
class _Speaker:
    """An item on its way: what is left to say, and what was said last."""

    request: Request
    parts: list[tuple[int, ...]]
    number: int = 0
    frames: int = 0
    before: Said | None = None


class Bark:
    """A loaded Bark."""

    def __init__(
        self, *, card: ModelCard, model: Any, tokenizer: Any, settings: BarkSettings
    ) -> None:
        self.card = card
        self._settings = settings
        self._tokenizer = tokenizer
        # Eight bits of a sound are heard, whatever the precision of what was written.
        self._codec = model.codec_model.float()
        self._stages = BarkStages(model, settings)

    @property
    def facts(self) -> ModelFacts:
        """What a record says about it."""
        return self.card.facts

    def generate(self, request: Request, *, progress: Progress | None = None) -> Generation:
        """Say one text; see ``Generator``."""
        return self.generate_batch([request], progress=progress)[0]

    def generate_batch(
        self, requests: Sequence[Request], *, progress: Progress | None = None
    ) -> list[Generation]:
        """Say texts; each has the bits it has alone; see ``BatchGenerator``."""
        speakers = [self._speaker(request) for request in requests]
        said: list[list[Generation]] = [[] for _ in speakers]
        report = _Report(speakers, progress)
        while waiting := [x for x in range(len(speakers)) if self._room(speakers[x])]:
            fresh = self._said([speakers[item] for item in waiting], report)
            for item, piece in zip(waiting, fresh, strict=True):
                said[item].append(piece)
        report.done()
        return [joined(pieces) for pieces in said]

    def stream(self, request: Request, *, progress: Progress | None = None) -> Iterator[Generation]:
        """Say one text part by part; ``joined`` gives what ``generate`` does."""
        speaker = self._speaker(request)
        return self._streamed(speaker, _Report([speaker], progress))

    def _streamed(self, speaker: _Speaker, report: _Report) -> Iterator[Generation]:
        while self._room(speaker):
            yield self._said([speaker], report)[0]
        report.done()

    def _speaker(self, request: Request) -> _Speaker:
        check(request, self.card)
        parts = self._parts(request.prompt)
        for ids in parts:
            if len(ids) > self._settings.most_words:
                raise InputError(
                    f"a sentence of {len(ids)} tokens, {self.card.name} says at most "
                    f"{self._settings.most_words} at once",
                    remedy="Part it into shorter sentences.",
                )
        return _Speaker(request=request, parts=parts)

    def _parts(self, text: str) -> list[tuple[int, ...]]:
        """Part a text where sentences end, and long sentences between words; short ones join."""
        pieces: list[str] = []
        for sentence in filter(None, map(str.strip, _SENTENCE.split(text))):
            is_short = self._fits(sentence)
            for place, word in enumerate([sentence] if is_short else sentence.split()):
                # A long sentence begins a part of its own.
                may_join = bool(pieces) and (is_short or place > 0)
                if may_join and self._fits(f"{pieces[-1]} {word}"):
                    pieces[-1] += f" {word}"
                else:
                    pieces.append(word)
        return [self._ids(piece) for piece in pieces]

    def _fits(self, text: str) -> bool:
        return len(self._ids(text)) <= min(_PART_IDS, self._settings.most_words)

    def _ids(self, text: str) -> tuple[int, ...]:
        with quiet():
            return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _room(self, speaker: _Speaker) -> int:
        """Say how many semantic tokens may follow; 0 if all is said."""
        own = self._settings
        if speaker.number == len(speaker.parts):
            return 0
        left = speaker.request.seconds - speaker.frames / own.coarse_rate_hz
        room = min(own.most_tokens, own.tokens_in(left))
        # Less than a frame of sound is nothing.
        return room if int(room * own.coarse_per_semantic / own.coarse_codebooks) else 0

    def _said(self, speakers: Sequence[_Speaker], report: _Report) -> list[Generation]:
        """Say the next part of each."""
        parts = [
            Part(
                words=speaker.parts[speaker.number],
                before=speaker.before,
                most_tokens=self._room(speaker),
                dice=tuple(  # type: ignore[arg-type]  # three stages
                    dice(speaker.request.seed, f"bark {stage} {speaker.number}")
                    for stage in _STAGES
                ),
            )
            for speaker in speakers
        ]
        with torch.inference_mode(), quiet():
            said = self._stages.say(parts, report.step)
            pieces = [self._heard(one.codes) for one in said]
        for speaker, one in zip(speakers, said, strict=True):
            speaker.before = one
            speaker.number += 1
            speaker.frames += one.codes.shape[1]
        report.finished(len(speakers))
        return pieces

    def _heard(self, codes: torch.Tensor) -> Generation:
        told = self._codec.decode(codes[None, None].to(self._stages.device), [None])
        waveform = told.audio_values[0].float().cpu().numpy()
        return Generation(
            audio=Audio(
                waveform=np.ascontiguousarray(waveform), sample_rate=self._settings.sample_rate
            ),
            plan_json="",
            plan_tokens=np.zeros(0, np.int64),
            codes=codes.numpy(),
        )


class _Report:
    """Tells the share done: parts that are finished, and tokens of those under way."""

    def __init__(self, speakers: Sequence[_Speaker], progress: Progress | None) -> None:
        self._parts = sum(len(speaker.parts) for speaker in speakers)
        self._progress = progress or (lambda _: None)
        self._finished = 0
        self._written = 0

    def step(self, tokens: int) -> None:
        """Note tokens of any stage; how many there will be nobody knows."""
        self._written += tokens
        under_way = self._written / (self._written + _TYPICAL_TOKENS)
        self._progress(min(1.0, (self._finished + under_way) / self._parts))

    def finished(self, parts: int) -> None:
        """Note parts that are said."""
        self._finished += parts
        self._written = 0
        self._progress(min(1.0, self._finished / self._parts))

    def done(self) -> None:
        """Note the end, which may come before all parts are said."""
        self._progress(1.0)


_TYPICAL_TOKENS: Final = 1000
