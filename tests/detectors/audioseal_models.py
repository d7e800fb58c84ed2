"""AudioSeal's architecture, so small that a test can afford it, with random weights."""

import os
from pathlib import Path
from typing import Any

import torch

from detectors.audioseal import Card, Checkpoint, write_weights

os.environ["NO_TORCH_COMPILE"] = "1"


def tiny_network(role: str, *, seed: int, lstm: int = 0) -> torch.nn.Module:
    """Build what the package builds, a thousandth of its size."""
    from audioseal import builder, loader
    from omegaconf import OmegaConf

    name = {"generator": "audioseal_wm_16bits", "detector": "audioseal_detector_16bits"}[role]
    config: Any = OmegaConf.to_container(loader.load_local_model_config(name))
    config.pop("checkpoint")
    config["seanet"].update(n_filters=8, dimension=32, lstm=lstm)
    parse = loader.AudioSeal.parse_config
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: torch.nn.Module = (
            builder.create_generator(parse(config, config_type=builder.AudioSealWMConfig))
            if role == "generator"
            else builder.create_detector(parse(config, config_type=builder.AudioSealDetectorConfig))
        )
    return network.eval()


def tiny_tensors(role: str, *, seed: int = 1, presence_bias: float = 0.0) -> dict[str, Any]:
    """Give a tiny network's tensors; a bias above 0 makes the detector hear a mark anywhere."""
    tensors: dict[str, torch.Tensor] = dict(tiny_network(role, seed=seed).state_dict())
    if role == "generator":
        # Random weights make a mark as loud as speech; a real one is 26 dB below.
        last = "decoder.model.14.conv.conv.inner_conv"
        tensors = {k: v * 0.05 if k.startswith(last) else v for k, v in tensors.items()}
    else:
        bias = tensors["detector.1.bias"].clone()
        bias[1] += presence_bias
        tensors["detector.1.bias"] = bias
    return tensors


def tiny_weights(folder: Path, *, presence_bias: float = 0.0) -> Card:
    """Write a folder that ``AudioSeal.load`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_weights(
        folder,
        generator=Checkpoint(tensors=tiny_tensors("generator"), sha256="1" * 64),
        detector=Checkpoint(
            tensors=tiny_tensors("detector", presence_bias=presence_bias), sha256="2" * 64
        ),
        license="MIT",
        origin="random numbers",
    )
