"""Which attacks need more than the marked sound: other copies, other clips, another key?

Each is told the whole scene and makes two sounds of it: one in which the mark was, and,
where that makes sense, the same done to the sound without the mark.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio
from safegen.evaluation.attacks import adversarial
from safegen.evaluation.attacks.adversarial import KEYED_GRID
from safegen.evaluation.attacks.base import Kind
from safegen.evaluation.watermarking.clips import ClipSpec, load_clip, others
from safegen.evaluation.watermarking.markers import AUDIOSEAL, KEYED, PERTH, Keyed, Marker

OTHER_COPY: Final = 1_000_000
"""Added to a clip's number for the id of its second copy."""

_LEARNING_CLIPS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What an attacker of one clip has.

    Attributes:
        marker: Under attack.
        place: Number of the clip, and of its id.
        specs: All clips of the run.
        clean: The clip without the mark.
        marked: The clip with the mark.
    """

    marker: Marker
    place: int
    specs: tuple[ClipSpec, ...]
    clean: Audio
    marked: Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """One row of the benchmark, described like an ``Attack``.

    Attributes:
        function: From a scene and the sound to attack (the marked or the clean one).
        markers: Names of the marks it means something for.
        has_negative: Whether it can be done to the clean sound without writing into it
            what was learned of the key.
        is_forgery: Whether being heard is the attacker's success.
    """

    name: str
    series: str
    strength: float
    unit: str
    description: str
    function: Callable[[Scene, Audio], Audio]
    markers: tuple[str, ...] = (KEYED, PERTH, AUDIOSEAL)
    has_negative: bool = True
    is_forgery: bool = False
    kind: Kind = Kind.ADVERSARIAL


def _overwrite(scene: Scene, audio: Audio) -> Audio:
    return adversarial.overwrite(audio, scene.marker.foreign)


def _subtract(scene: Scene, audio: Audio) -> Audio:
    return adversarial.mark_and_subtract(audio, scene.marker.foreign)


def _collude(scene: Scene, audio: Audio) -> Audio:
    copy = scene.marker.mark(scene.clean, scene.place + OTHER_COPY)
    return adversarial.collude([audio, copy])


def _copy_residual(scene: Scene, audio: Audio) -> Audio:
    target = others(scene.specs, scene.place, scene.specs[scene.place].kind, 1)
    if not target:
        return adversarial.copy_residual(audio, scene.clean, target=_backwards(scene.clean))
    return adversarial.copy_residual(audio, scene.clean, target=load_clip(target[0]))


def _average(seconds: float) -> Callable[[Scene, Audio], Audio]:
    """Learn from as many other clips as hold ``seconds`` in whole blocks."""
    clips = round(seconds / (2 * KEYED_GRID.block_seconds))

    def attack(scene: Scene, audio: Audio) -> Audio:
        around = [*range(scene.place + 1, len(scene.specs)), *range(scene.place)]
        if clips >= _LEARNING_CLIPS:
            # The same lesson for everybody: the last clips, less one's own.
            around = [place for place in reversed(range(len(scene.specs))) if place != scene.place]
        blocks = [
            block
            for place in around[:clips]
            for block in _blocks(scene.marker, place, scene.specs[place])
        ]
        learned = adversarial.signs_of(blocks, KEYED_GRID)
        strength = scene.marker.strength if isinstance(scene.marker, Keyed) else 0.0
        return adversarial.remove_signs(audio, learned, KEYED_GRID, strength=strength)

    return attack


@lru_cache(maxsize=1024)
def _blocks(marker: Marker, place: int, spec: ClipSpec) -> tuple[npt.NDArray[np.float64], ...]:
    """Measure another clip of the same owner, marked with its own id; once a process."""
    return tuple(adversarial.blocks_of(marker.mark(load_clip(spec), place), KEYED_GRID))


def _backwards(audio: Audio) -> Audio:
    return Audio(
        waveform=np.ascontiguousarray(audio.waveform[:, ::-1]), sample_rate=audio.sample_rate
    )


STAGED: Final[Mapping[str, Staged]] = {
    row.name: row
    for row in (
        Staged(
            name="overwrite",
            series="overwrite",
            strength=1,
            unit="marks",
            description="marked once more, with a key of the attacker's own",
            function=_overwrite,
            markers=(KEYED, AUDIOSEAL),
        ),
        Staged(
            name="subtract",
            series="mark and subtract",
            strength=1,
            unit="times",
            description="marked once more without the key, and the change subtracted",
            function=_subtract,
        ),
        Staged(
            name="collude-2",
            series="collusion",
            strength=2,
            unit="copies",
            description="mean of two copies with different ids; either id counts as exact",
            function=_collude,
            markers=(KEYED,),
            has_negative=False,
        ),
        Staged(
            name="average-41s",
            series="averaging",
            strength=41,
            unit="s",
            description="signs learned from 41 s of other clips under the key, then undone",
            function=_average(41.0),
            markers=(KEYED,),
            has_negative=False,
        ),
        Staged(
            name="average-410s",
            series="averaging",
            strength=410,
            unit="s",
            description="signs learned from up to 410 s of other clips under the key, then undone",
            function=_average(410.0),
            markers=(KEYED,),
            has_negative=False,
        ),
        Staged(
            name="copy-residual",
            series="copied residual",
            strength=1,
            unit="times",
            description="what the mark changed, pasted on another recording: heard is forged",
            function=_copy_residual,
            has_negative=False,
            is_forgery=True,
        ),
    )
}
"""Name -> attack that knows more than the sound."""
