"""MusicGen Melody: music told by a text, and by the melody of a sound.

The melody is heard as its chroma, the loudest of twelve pitch classes at a time, by the
checkpoint's own feature extractor. Chroma and text stand before the codes as a prefix; there
is no cross attention. Without a melody the prefix says "the first pitch class" throughout,
as in training.

Source: Copet et al., "Simple and Controllable Music Generation", arXiv 2306.05284, section
2.3; transformers 5.23, ``MusicgenMelodyForConditionalGeneration``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from safegen.audio import Audio, resample
from safegen.errors import InputError
from safegen.generation.base import Request
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Described, Device, Precision, settings
from safegen.generation.transformers_models.code_music import CodeMusic
from safegen.generation.transformers_models.loading import (
    load_model,
    load_settings_of,
    load_tokenizer,
    owned,
    quiet,
)
from safegen.generation.transformers_models.musicgen import TextStates, built, described
from safegen.generation.transformers_models.stepping import Told

CLASS: Final = "MusicgenMelodyForConditionalGeneration"
EXTRACTOR: Final = "MusicgenMelodyFeatureExtractor"
TEXT_COLUMNS: Final = 64
"""Positions kept for a text in what is told as the longest clip; more is checked when asked."""


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``public_families.FamilyModule``.

    Raises:
        InputError: If they are not those of a MusicGen Melody.
    """
    chroma = settings(folder / "config.json").get("chroma_length", 235)
    return described(
        folder,
        title="MusicGen Melody",
        accepts=("negative_prompt", "melody", "continue_from"),
        prefix_columns=(chroma if isinstance(chroma, int) else 0) + TEXT_COLUMNS,
    )


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> CodeMusic:
    """Build it; see ``public_families.FamilyModule``.

    Raises:
        InputError: If the files do not make a MusicGen Melody.
    """
    model = load_model(CLASS, folder, device="cpu", precision="float32")
    place = torch.device(device)
    conditions = MelodyConditions(
        model,
        words=TextStates(model, load_tokenizer(folder), device=place),
        extractor=load_settings_of(EXTRACTOR, folder),
        device=place,
    )
    return built(model, folder, card, conditions, device=device, precision=precision)


class MelodyConditions:
    """Tells a decoder without cross attention what is wanted, and what is not.

    Args:
        model: Loaded; of it the projection of chroma is used.
        words: Reads texts.
        extractor: Hears chroma.
        device: Where the projection runs.

    Raises:
        InputError: If the extractor hears other pitch classes than the model knows.
    """

    def __init__(
        self, model: Any, *, words: TextStates, extractor: Any, device: torch.device
    ) -> None:
        project = getattr(model, "audio_enc_to_dec_proj", None)
        self._project = owned(project).to(device) if project is not None else torch.nn.Identity()
        self._words, self._extractor, self._device = words, extractor, device
        self._classes = int(model.config.num_chroma)
        self._columns = int(model.config.chroma_length)
        if len(extractor.chroma_filters) != self._classes:
            raise InputError(
                f"the feature extractor hears {len(extractor.chroma_filters)} pitch classes, "
                f"the model knows {self._classes}",
                remedy="Fetch the checkpoint again: the two are not of one model.",
            )

    def told(self, request: Request) -> tuple[Told, Told]:
        """Say it for both sequences; what is not wanted has no melody."""
        wanted = self._words(request.prompt)
        if not request.prompt.strip():
            wanted = torch.zeros_like(wanted)
        unwanted = torch.zeros_like(wanted)
        if request.negative_prompt.strip():
            unwanted = self._words(request.negative_prompt)
        chroma = None if request.melody is None else self._chroma(request.melody)
        return self._one(chroma, wanted), self._one(None, unwanted)

    def _one(self, chroma: Tensor | None, words: Tensor) -> Told:
        if chroma is None:
            chroma = torch.zeros((1, self._classes))
            chroma[:, 0] = 1
        times = -(-self._columns // len(chroma))
        heard = self._project(chroma.to(self._device)).repeat(times, 1)[: self._columns]
        return Told(prefix=torch.cat([heard, words]), states=words.new_zeros((0, words.shape[1])))

    def _chroma(self, melody: Audio) -> Tensor:
        """Hear a melody, shape (columns, pitch classes)."""
        rate = int(self._extractor.sampling_rate)
        with quiet():
            found = self._extractor(
                resample(melody, rate).mono(), sampling_rate=rate, return_tensors="pt"
            )
        features: Tensor = found["input_features"][0]
        return features
