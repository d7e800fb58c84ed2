"""What every generator is to the gate: something that turns a request into sound.

A generator holds no key, judges nothing and writes no files; the gate does. What the
shipped codec writes into its own sound is public and names nobody. A generator says
what it is through its card, and hands over, beside the sound, the white-box facts the
gate can check (the plan it wrote, the codec tokens it used).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asked for.

    Attributes:
        prompt: Text; may be empty.
        seconds: Wanted length, > 0.
        seed: Seed of this one item, in [0, 2**63).
        negative_prompt: What to steer away from, empty for nothing.
    """

    prompt: str
    seconds: float
    seed: int
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What goes into the record about the model, whoever made it.

    Attributes:
        name: As users type it, "music-flow" or the name a caller gave.
        version: Of the weights or of the foreign generator; "unknown" if untold.
        license: SPDX id or free text.
        weights_sha256: Lower-case hex, empty if there are none or they are not ours to see.
        training_manifest_sha256: Lower-case hex, empty if unknown.
    """

    name: str
    version: str
    license: str
    weights_sha256: str = ""
    training_manifest_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One output of a generator, without an id and unjudged.

    Attributes:
        audio: The sound.
        plan_json: Canonical JSON of the score the model wrote, "" if it wrote none.
        plan_tokens: The same as integers, shape (n,), empty if it wrote none.
        codes: Codec tokens, shape (codebooks, frames), empty if there are none.
    """

    audio: Audio
    plan_json: str
    plan_tokens: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]


class Generator(Protocol):
    """Anything that generates."""

    @property
    def facts(self) -> ModelFacts:
        """What the record says about the model."""

    def generate(
        self, request: Request, *, progress: Callable[[float], None] | None = None
    ) -> Generation:
        """Make one item; the same request gives the same bits on the same build.

        Args:
            request: What is wanted.
            progress: Called with the share done, in [0, 1].

        Raises:
            safegen.errors.InputError: If the request is outside what the model can do.
        """
