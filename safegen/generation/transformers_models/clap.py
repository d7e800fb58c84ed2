"""How near is a sound to a text? CLAP puts both into one space and tells by the angle.

CLAP hears ten seconds. A longer sound is heard in windows, the last of which ends with the
sound, and stands where the mean of them points; the library would hear one window, chosen by
the global dice. What a score means depends on the model: compare scores of one model only.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining", arXiv 2211.06687.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from safegen.audio import Audio, Waveform, resample
from safegen.errors import InputError
from safegen.generation.base import ModelFacts
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import Described, Device, Precision, settings
from safegen.generation.requests import check_text
from safegen.generation.transformers_models.loading import (
    load_model,
    load_settings_of,
    load_tokenizer,
    quiet,
)

Embedding = npt.NDArray[np.float32]

LONGEST_SECONDS: Final = 3600.0
_SHORTEST_SECONDS: Final = 0.1
_EDGE_POSITIONS: Final = 2
"""Positions that RoBERTa counts from."""
_BATCH: Final = 8


def describe(folder: Path) -> Described:
    """Read a checkpoint's settings; see ``public_families.FamilyModule``.

    Raises:
        InputError: If they are not those of a CLAP.
    """
    config, found = settings(folder / "config.json"), _extractor(folder)
    rate, window = found.get("sampling_rate", 48_000), found.get("max_length_s", 10)
    if config.get("model_type") != "clap" or not all(
        isinstance(x, int | float) and x > 0 for x in (rate, window)
    ):
        raise InputError(
            f"{folder}: no settings of a CLAP ({rate!r} Hz, windows of {window!r} s)",
            remedy="Fetch the checkpoint again.",
        )
    return Described(
        summary="Tells how near a sound is to a text.",
        sample_rate=int(rate),
        channels=1,
        shortest_seconds=_SHORTEST_SECONDS,
        longest_seconds=LONGEST_SECONDS,
        limits=f"Makes no sound. Hears {window:g} s at once, a longer sound in windows.",
    )


def load(folder: Path, card: ModelCard, *, device: Device, precision: Precision) -> Clap:
    """Build it; see ``public_families.FamilyModule``.

    Raises:
        InputError: If the files do not make a CLAP.
    """
    return Clap(
        card=card,
        model=load_model("ClapModel", folder, device=device, precision=precision),
        extractor=load_settings_of("ClapFeatureExtractor", folder),
        tokenizer=load_tokenizer(folder),
    )


class Clap:
    """A loaded CLAP."""

    def __init__(self, *, card: ModelCard, model: Any, extractor: Any, tokenizer: Any) -> None:
        self.card = card
        self._model = model
        self._extractor = extractor
        self._tokenizer = tokenizer
        self._window = round(extractor.max_length_s * extractor.sampling_rate)
        self._most_words = model.config.text_config.max_position_embeddings - _EDGE_POSITIONS

    @property
    def facts(self) -> ModelFacts:
        """What a record says about it."""
        return self.card.facts

    def score(self, audio: Audio, prompt: str) -> float:
        """Tell how near a sound is to a text: the cosine, in [-1, 1].

        Raises:
            InputError: As ``of_texts`` and ``of_sound``.
        """
        return float(np.clip(self.of_sound(audio) @ self.of_texts([prompt])[0], -1.0, 1.0))

    def of_texts(self, texts: Sequence[str]) -> Embedding:
        """Place texts, shape (texts, width), each of length 1.

        Raises:
            InputError: If one is empty, no text, or longer than the model reads.
        """
        rows = []
        for text in texts:
            if not text.strip():
                raise InputError("an empty text is near to nothing", remedy="Describe the sound.")
            check_text("text", text)
            with torch.inference_mode(), quiet():
                words = self._tokenizer(text, return_tensors="pt")
                if words["input_ids"].shape[1] > self._most_words:
                    raise InputError(
                        f"the text has {words['input_ids'].shape[1]} tokens, {self.card.name} "
                        f"reads {self._most_words}",
                        remedy="Shorten it.",
                    )
                told = self._model.get_text_features(
                    input_ids=words["input_ids"].to(self._model.device),
                    attention_mask=words["attention_mask"].to(self._model.device),
                )
            rows.append(told.pooler_output[0].float().cpu().numpy())
        return np.stack([_unit(row) for row in rows])

    def of_sound(self, audio: Audio) -> Embedding:
        """Place a sound, shape (width,), of length 1; channels are mixed.

        Raises:
            InputError: If it is shorter or longer than can be heard.
        """
        if not _SHORTEST_SECONDS <= audio.seconds <= LONGEST_SECONDS:
            raise InputError(
                f"{audio.seconds:.3g} s of sound, {self.card.name} hears {_SHORTEST_SECONDS:g} to "
                f"{LONGEST_SECONDS:g} s",
                remedy="Give a sound of such a length.",
            )
        mono = Audio(waveform=audio.mono()[None], sample_rate=audio.sample_rate)
        windows = self._windows(resample(mono, self._extractor.sampling_rate).waveform[0])
        rows = [
            row
            for first in range(0, len(windows), _BATCH)
            for row in self._of_windows(windows[first : first + _BATCH])
        ]
        return _unit(np.mean([_unit(row) for row in rows], axis=0))

    def _windows(self, wave: Waveform) -> list[Waveform]:
        """Cut into whole windows; the last one ends with the sound. A short sound is one."""
        last = max(0, len(wave) - self._window)
        starts = [*range(0, last, self._window), last]
        return [wave[start : start + self._window] for start in starts]

    def _of_windows(self, windows: Sequence[Waveform]) -> Embedding:
        first = next(self._model.parameters())
        with torch.inference_mode(), quiet(), _dice_put_back():
            features = self._extractor(
                list(windows), sampling_rate=self._extractor.sampling_rate, return_tensors="pt"
            )["input_features"]
            told = self._model.get_audio_features(
                input_features=features.to(device=first.device, dtype=first.dtype),
                # No window is longer than one; the library would say so of one by chance.
                is_longer=torch.zeros(len(windows), 1, dtype=torch.bool, device=first.device),
            )
        found: Embedding = told.pooler_output.float().cpu().numpy()
        return found


@contextmanager
def _dice_put_back() -> Iterator[None]:
    """Leave numpy's global dice as they were: the library throws them for nothing."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def _unit(row: Embedding) -> Embedding:
    length = float(np.linalg.norm(row))
    return np.asarray(row / max(length, 1e-12), dtype=np.float32)


def _extractor(folder: Path) -> dict[str, Any]:
    """Read the settings of the ears, which stand in one of two files."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            found = settings(folder / name)
            inner = found.get("feature_extractor", found)
            return inner if isinstance(inner, dict) else {}
    raise InputError(
        f"{folder}: without preprocessor_config.json", remedy="Fetch the checkpoint again."
    )
