"""What would a perfect model measure? Scores rendered without any model, read the same way.

Each set is as large as the set of prompts. Clean renders say how often the meters are
right at all; renders passed through the codec say what a model that uses it can reach;
the second soundfont, which no generator has learned from, says what other timbres do to
the meters. Recordings of game music are an anchor for the distance only: nobody knows
their tempo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from safegen.audio import Audio, load
from safegen.evaluation.assets import music_files
from safegen.evaluation.generation_bench.wishes import Wish
from safegen.generation.codec import Codec
from safegen.generation.compose import Plan, compose
from safegen.generation.procedural import render
from safegen.generation.soundfont import SoundfontRenderer, find_soundfont

SEEDS: Final = range(9_000_000, 9_100_000)
"""Scores of the anchors; no training seed, and none of the meters', is among them."""
NOTHING: Final = Wish(prompt="", tempo_bpm=None, key=None, drums=None)
OTHER_SOUNDFONT: Final = "MuseScore_General_Lite.sf3"


class Anchor:
    """A sound whose making is known; it is made when it is first asked for.

    Args:
        name: Of the set and the item, for files.
        wish: What the score says; ``NOTHING`` if there is none.
        make: Makes the sound.
    """

    def __init__(self, name: str, wish: Wish, make: Callable[[], Audio]) -> None:
        self.name, self.wish, self._make = name, wish, make
        self._audio: Audio | None = None

    def audio(self) -> Audio:
        """Give the sound; it is kept while this object is."""
        if self._audio is None:
            self._audio = self._make()
        return self._audio


class Anchors:
    """Renders the sets of anchors.

    Args:
        assets: Folder of ``safegen eval assets``; without it, sine waves are rendered.
        codec: Passes sounds through.
        seconds: Length of every sound.
    """

    def __init__(self, assets: Path | None, codec: Codec, *, seconds: float) -> None:
        self._assets, self._codec, self._seconds = assets, codec, seconds
        self._fonts: dict[str, Path] = {}
        if assets is not None:
            training = find_soundfont(assets)
            other = next(iter(sorted(assets.rglob(OTHER_SOUNDFONT))), None)
            found = {"FluidR3": training, "MuseScore": other}
            self._fonts = {name: path for name, path in found.items() if path is not None}
        self._renderers: dict[str, SoundfontRenderer] = {}

    @property
    def renderers(self) -> tuple[str, ...]:
        """What can render here: soundfonts, or our own sine waves if there is none."""
        return tuple(self._fonts) or ("procedural",)

    @property
    def soundfonts(self) -> tuple[Path, ...]:
        """Files of the renderers."""
        return tuple(self._fonts.values())

    @property
    def reference(self) -> str:
        """The renderer that models learned from, as far as it is there."""
        return self.renderers[0]

    def rendered(self, renderer: str, numbers: range, *, coded: bool) -> Iterator[Anchor]:
        """Render scores.

        Args:
            renderer: One of ``renderers``.
            numbers: Which scores, counted from 0.
            coded: Whether they are passed through the codec, with all its codebooks.
        """
        for number in numbers:
            plan = compose(SEEDS[number])
            way = "coded" if coded else "clean"
            yield Anchor(
                f"{renderer}-{way}-{number}",
                wish_of(plan),
                partial(self._make, plan, renderer, coded),
            )

    def _make(self, plan: Plan, renderer: str, coded: bool) -> Audio:
        audio = self.play(plan, renderer=renderer, seconds=self._seconds)
        return self._codec.decode_codes(self._codec.encode(audio)) if coded else audio

    def play(self, plan: Plan, *, renderer: str, seconds: float) -> Audio:
        """Render one score from its beginning."""
        if renderer not in self._fonts:
            return render(plan, seconds=seconds)
        if renderer not in self._renderers:
            self._renderers[renderer] = SoundfontRenderer(self._fonts[renderer])
        return self._renderers[renderer].render(plan, seconds=seconds)

    def recordings(self, count: int) -> Iterator[Anchor]:
        """Cut excerpts of game music, as many from each file, evenly spread over it."""
        files = () if self._assets is None else music_files(self._assets)
        each = -(-count // len(files)) if files else 0
        places = [(path, part) for path in files for part in range(1, each + 1)]
        for path, part in places[:count]:
            cut = partial(_excerpt, path, share=part / (each + 1), seconds=self._seconds)
            yield Anchor(f"recording-{path.name}-{part}-of-{each}", NOTHING, cut)


def _excerpt(path: Path, *, share: float, seconds: float) -> Audio:
    whole = _loaded(path)
    start = share * max(0.0, whole.seconds - seconds)
    return whole.cut(start, start + seconds)


@lru_cache(maxsize=1)
def _loaded(path: Path) -> Audio:
    return load(path)


def wish_of(plan: Plan) -> Wish:
    """Say what a score asks for."""
    return Wish(
        prompt="",
        tempo_bpm=float(plan.tempo_bpm),
        key=plan.key,
        drums=plan.has_drums,
        instrument=plan.instrument,
    )
