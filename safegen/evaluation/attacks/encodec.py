"""What EnCodec does to a sound, where a checkpoint lies in a local folder.

Nothing is fetched: the folder is one that transformers' ``EncodecModel`` saved, with
its weights as safetensors. The 24 kHz model is mono, so each channel goes alone.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from safegen.audio import Audio, resample
from safegen.errors import InputError
from safegen.evaluation.attacks.base import Attack, Kind, fit, like

BANDWIDTHS_KBPS: Final = (24.0, 12.0, 6.0, 3.0)


def rows(folder: Path) -> Mapping[str, Attack]:
    """Make one attack for each bandwidth that the checkpoint in ``folder`` knows.

    Raises:
        InputError: If the folder holds no checkpoint that can be loaded.
    """
    known = _model(folder).config.target_bandwidths
    return {
        f"encodec-{bandwidth:g}k": Attack(
            name=f"encodec-{bandwidth:g}k",
            kind=Kind.CODEC,
            series="EnCodec",
            strength=bandwidth,
            unit="kbit/s",
            description=f"EnCodec, {bandwidth:g} kbit/s a channel",
            function=partial(through_encodec, folder=folder, bandwidth_kbps=bandwidth),
        )
        for bandwidth in BANDWIDTHS_KBPS
        if bandwidth in known
    }


def through_encodec(audio: Audio, *, folder: Path, bandwidth_kbps: float) -> Audio:
    """Encode and decode each channel at the model's rate, cut to the sound's length."""
    import torch

    model = _model(folder)
    rate = int(model.config.sampling_rate)
    low = resample(audio, rate)
    channels = int(model.config.audio_channels)
    out = []
    with torch.inference_mode():
        for channel in low.waveform:
            batch = torch.from_numpy(np.tile(channel, (1, channels, 1)))
            found = model(batch, bandwidth=bandwidth_kbps)
            out.append(found.audio_values[0].mean(dim=0).numpy()[: len(channel)])
    return fit(resample(like(np.stack(out), low), audio.sample_rate).waveform, audio)


@lru_cache(maxsize=1)
def _model(folder: Path) -> Any:
    """Load the checkpoint once a process."""
    from transformers import EncodecModel

    try:
        model = EncodecModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        model.train(mode=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no EnCodec checkpoint ({str(error).splitlines()[0]})",
            remedy="Give the folder in which transformers' EncodecModel was saved: "
            "config.json and model.safetensors.",
        ) from error
    return model
