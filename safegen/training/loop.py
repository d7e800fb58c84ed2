"""How does a training run survive being stopped?

Every recipe is a ``Run``: a model, an optimizer and a step counter that save to two
files (safetensors and JSON, no pickle) and continue as if nothing had happened. The
randomness of a step is drawn from a generator seeded by (seed, step), so a resumed run
computes the same losses as one that was never stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from safegen.errors import InputError

WARMUP_STEPS: Final = 50
EMA_DECAY: Final = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of training, finished.

    Attributes:
        step: Steps done so far, from 1.
        steps: Steps of the whole run.
        loss: Of this step; its unit is the recipe's.
        figures: What else the recipe reports, name to value.
    """

    step: int
    steps: int
    loss: float
    figures: dict[str, float]


class Run:
    """A model in training, with its optimizer, its averaged weights and its history.

    Args:
        model: Trained in place.
        steps: Length of the cosine schedule.
        learning_rate: At the top of the schedule.
        seed: Of every random draw of the run.
    """

    def __init__(self, model: nn.Module, *, steps: int, learning_rate: float, seed: int) -> None:
        self.model = model
        self.steps = steps
        self.learning_rate = learning_rate
        self.seed = seed
        self.step = 0
        self.losses: list[float] = []
        parameters = [p for p in model.parameters() if p.requires_grad]
        self._parameters = parameters
        self.optimizer = torch.optim.AdamW(
            parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.average = [p.detach().clone() for p in parameters]

    def generator(self) -> torch.Generator:
        """Give the dice of the current step."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)

    def update(self, loss: Tensor, **figures: float) -> Progress:
        """Follow the gradient of a loss by one step.

        Raises:
            ValueError: If the loss is not finite.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            msg = f"the loss is {value} at step {self.step}"
            raise ValueError(msg)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * self._schedule()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(EMA_DECAY, self.step / (self.step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list[Tensor](self._parameters), 1.0 - decay)
        self.losses.append(value)
        return Progress(step=self.step, steps=self.steps, loss=value, figures=figures)

    def averaged(self) -> dict[str, Tensor]:
        """Give the state of the model with the exponential moving average of its weights."""
        state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        names = [name for name, p in self.model.named_parameters() if p.requires_grad]
        state.update(zip(names, self.average, strict=True))
        return state

    def save(self, folder: Path) -> None:
        """Write the run's state under a folder; the last complete state survives a crash."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{k}": v.contiguous() for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{i}": v for i, v in enumerate(self.average)}
        for i, parameter in enumerate(self._parameters):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{i}.{name}"] = value
        facts = {"step": self.step, "steps": self.steps, "losses": self.losses, "seed": self.seed}
        temporary = folder / "checkpoint.part"
        save_file(
            {k: v.clone() for k, v in tensors.items()},
            temporary,
            metadata={"run": json.dumps(facts)},
        )
        temporary.replace(folder / "checkpoint.safetensors")
        (folder / "losses.json").write_text(json.dumps(facts))

    def resume(self, folder: Path) -> bool:
        """Continue from a folder; False if nothing was saved there.

        Raises:
            InputError: If the checkpoint belongs to another model or seed.
        """
        path = folder / "checkpoint.safetensors"
        if not path.exists():
            return False
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["run"])
        tensors = load_file(path)
        if facts["seed"] != self.seed:
            raise InputError(
                f"{path} was started with seed {facts['seed']}, not {self.seed}",
                remedy="Choose another folder or the same seed.",
            )
        try:
            self.model.load_state_dict(_section(tensors, "model."))
        except RuntimeError as error:
            raise InputError(f"{path} belongs to another model: {error}") from error
        self.average = [tensors[f"average.{i}"] for i in range(len(self.average))]
        for i, parameter in enumerate(self._parameters):
            state = _section(tensors, f"optimizer.{i}.")
            if state:
                self.optimizer.state[parameter] = state
        self.step, self.losses = facts["step"], facts["losses"]
        return True

    def _schedule(self) -> float:
        """Warm up linearly, then fall along a cosine to two percent."""
        if self.step < WARMUP_STEPS:
            return (self.step + 1) / WARMUP_STEPS
        share = min(1.0, (self.step - WARMUP_STEPS) / max(1, self.steps - WARMUP_STEPS))
        return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * share))


@contextmanager
def started_from(seed: int) -> Iterator[None]:
    """Draw first weights from a seed and leave the global randomness as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def save_module(state: dict[str, Tensor], path: Path, *, prefix: str) -> None:
    """Write the part of a state that belongs to one module, under its own names."""
    save_file({k: v.contiguous() for k, v in _section(state, prefix).items()}, path)


def read_losses(folder: Path) -> list[float]:
    """Read the loss of every step of a saved run."""
    losses: list[float] = json.loads((folder / "losses.json").read_text())["losses"]
    return losses


def draw_losses(losses: Iterable[float], path: Path, *, title: str) -> None:
    """Draw a loss curve, smoothed over a fiftieth of the run, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import numpy as np
    from matplotlib import pyplot

    values = np.asarray(list(losses), dtype=np.float64)
    if len(values) == 0:
        return
    width = max(1, len(values) // 50)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(values, alpha=0.25, linewidth=0.6)
    axes.plot(np.arange(len(smooth)) + width / 2, smooth)
    axes.set(xlabel="step", ylabel="loss", title=title)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def _section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
