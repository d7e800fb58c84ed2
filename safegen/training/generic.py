"""Recipe: train the networks that say "synthetic", whoever the generator.

    corpus -> variants (codecs, speed and noise) -> maps -> balanced, disturbed batches
           -> a network for each seed, weights averaged -> one file with its data card

Half of a batch is real, the other half shares out evenly among the families of generators;
an excerpt is warped in frequency, equalized, cut off at the top and masked, real and fake
alike, so that a voice or a microphone says little. Before the last networks are trained,
one is trained without each group of families and judged on the family it never heard, by
speakers it never heard: that figure, and the trivial probe beside it, go into the card.

What may be learned from: clips of the role "train" whose license allows weights that ship,
and espeak's speech, which as output of a program is not under its license.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from scipy.signal import resample_poly
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from detectors.synthetic import trivial
from detectors.synthetic.generic import (
    ALL_BANDS,
    BANDS,
    HIGH,
    LOW,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Network,
    maps,
    pack,
    parse,
)
from safegen.audio import Audio
from safegen.errors import InputError
from safegen.evaluation.attacks import through_codec
from safegen.training.items import Item, read, trains_weights
from safegen.training.loop import Progress, Run, save_module, started_from

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]

LEARNING_RATE: Final = 2e-3
STEPS: Final = 240
BATCH: Final = 48
FRAMES: Final = 124
"""Of an excerpt, two seconds."""
SEEDS: Final = (1, 2, 3)
SMOOTHING: Final = 0.05
WARP: Final = 0.15
PAIRED: Final = 0.5
"""Share of copies whose batch holds their original too."""
OUTPUTS_OF_PROGRAMS: Final = ("espeak",)
FOLDS: Final[Mapping[str, tuple[str, ...]]] = {
    "vocoders": ("world", "griffin-lim", "codec", "hifigan"),
    "neural": ("piper", "hibari"),
    "statistical": ("flite-slt", "flite-rms", "flite-awb", "festival-hts"),
    "old": ("espeak", "flite-kal16", "festival-kal"),
}
"""Groups of generators that are left out together, because they sound alike."""
KINDS: Final[Mapping[str, str]] = {
    "flite-slt": "flite",
    "flite-rms": "flite",
    "flite-awb": "flite",
    "flite-kal16": "diphone",
    "festival-kal": "diphone",
}
"""Generators that count as one when a batch is drawn."""

HELD_SENTENCES: Final = "-english-held"
"""Ends the source of clips that a voice speaks from the sentences held out."""
JUDGED_EVERY: Final = 3
_GAP_SAMPLES: Final = 8_000
_AT_ONCE: Final = 32


def _coded(codec: str, bitrate: int) -> Callable[[Samples, int], Samples]:
    def change(clips: Samples, number: int) -> Samples:
        # Encoders are slow to start: all clips pass in a row, half a second apart.
        row = np.pad(clips, ((0, 0), (0, _GAP_SAMPLES))).reshape(1, -1)
        out = through_codec(
            Audio(waveform=row, sample_rate=SAMPLE_RATE), codec, bitrate=bitrate
        ).waveform
        return np.ascontiguousarray(out.reshape(len(clips), -1)[:, : clips.shape[1]])

    return change


def _sped(up: int, down: int) -> Callable[[Samples, int], Samples]:
    def change(clips: Samples, number: int) -> Samples:
        dice = np.random.default_rng((up, number))
        sped = resample_poly(clips, up, down, axis=1)
        sped = np.concatenate([sped, sped], axis=1)[:, : clips.shape[1]]
        noise = dice.standard_normal(sped.shape)
        under = 10 ** (-dice.uniform(15.0, 35.0, (len(sped), 1)) / 20)
        noise *= under * np.sqrt(np.mean(sped**2, axis=1, keepdims=True))
        return (sped + noise).astype(np.float32)

    return change


VARIANTS: Final[Mapping[str, Callable[[Samples, int], Samples]]] = {
    "clean": lambda clips, _: clips,
    "mp3-64k": _coded("mp3", 64_000),
    "aac-64k": _coded("aac", 64_000),
    "opus-24k": _coded("opus", 24_000),
    "slow": _sped(25, 23),
}
"""Forms in which every clip is learned from; the last one with noise."""
PROBE: Final = "trivial probe"
TESTED: Final = ("clean", "mp3-64k", "opus-24k")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Clips as maps.

    Attributes:
        maps: Of each variant, shape (clips, MAPS, frames, ALL_BANDS), float16.
        trivial: The probe's features, shape (clips, 8).
        generator: Shape (clips,); "" is real.
        source: Shape (clips,).
        clip: Shape (clips,); a copy has the name of its original.
        license: Shape (clips,).
    """

    maps: Mapping[str, npt.NDArray[np.float16]]
    trivial: Floats
    generator: npt.NDArray[np.str_]
    source: npt.NDArray[np.str_]
    clip: npt.NDArray[np.str_]
    license: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.generator)


def learnable(item: Item) -> bool:
    """Say whether the shipped networks may learn from a clip of the corpus."""
    if item.role != "train":
        return False
    return trains_weights(item.license) or item.generator in OUTPUTS_OF_PROGRAMS


def judging(item: Item) -> bool:
    """Say whether leave-out figures are read on a clip: new speakers, or new sentences.

    One clip in three is, because Opus is slow.
    """
    number = int(item.file.removesuffix(".flac").rsplit("-", 1)[-1])
    told = item.role == "calibrate" or item.source.endswith(HELD_SENTENCES)
    return told and number % JUDGED_EVERY == 0


def dataset(
    corpus: Path,
    *,
    work: Path,
    wanted: Callable[[Item], bool],
    variants: Sequence[str],
    note: Callable[[str], None],
) -> Table:
    """Draw the maps of a corpus, variant by variant; finished ones are kept in ``work``.

    Raises:
        InputError: If the folder is no corpus or holds no such clips.
    """
    items = [item for item in read(corpus) if wanted(item)]
    if not items:
        raise InputError(
            f"{corpus}: none of its clips can be used",
            remedy="Fill the folder with `corpora.write` first.",
        )
    work.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("\n".join(item.file for item in items).encode()).hexdigest()[:12]
    clips: list[Samples] = []
    drawn: dict[str, npt.NDArray[np.float16]] = {}
    probe = work / f"trivial-{name}.npy"
    paths = {variant: work / f"maps-{variant}-{name}.npy" for variant in variants}
    if not all(path.exists() for path in (probe, *paths.values())):
        clips = [_window(item.make()) for item in items]
    for variant, path in paths.items():
        if not path.exists():
            note(f"{variant}: {len(items)} clips")
            _keep(_drawn(clips, VARIANTS[variant]), path)
        drawn[variant] = np.load(path, mmap_mode="r")
    if not probe.exists():
        _keep(np.stack([_trivial(clip) for clip in clips]), probe)
    return Table(
        maps=drawn,
        trivial=np.load(probe),
        generator=np.array([item.generator for item in items]),
        source=np.array([item.source for item in items]),
        clip=np.array([item.file.rsplit("/", 1)[-1] for item in items]),
        license=np.array([item.license for item in items]),
    )


def train(
    table: Table,
    *,
    folder: Path,
    steps: int,
    seed: int,
    without: Sequence[str] = (),
    batch: int = BATCH,
    save_every: int = 50,
) -> Iterator[Progress]:
    """Train one network, or continue the run found in the folder.

    Args:
        table: From ``dataset``.
        folder: Where the run is kept; the result is ``network.safetensors``.
        steps: Optimizer steps of the whole run.
        seed: Of the run.
        without: Generators to leave out.
        batch: Excerpts per step, an even number.
        save_every: Steps between checkpoints.

    Yields:
        The loss of each step.

    Raises:
        InputError: If there is no clip of one of the classes.
    """
    real = np.flatnonzero(table.generator == "")
    kinds: dict[str, list[int]] = {}
    for place, generator in enumerate(table.generator.tolist()):
        if generator and generator not in without:
            kinds.setdefault(KINDS.get(generator, generator), []).append(place)
    if not len(real) or not kinds:
        raise InputError(
            f"{len(real)} real clips and {len(kinds)} kinds of synthetic ones to learn from",
            remedy="Give a corpus that holds both.",
        )
    originals = {table.clip[place]: int(place) for place in real}
    seen = [np.asarray(of_variant) for of_variant in table.maps.values()]
    groups = list(kinds.values())
    with started_from(seed):
        network = Network()
    run = Run(network.train(), steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    run.resume(folder)
    half = batch // 2
    truth = torch.cat([torch.ones(half), torch.zeros(half)])
    target = truth * (1 - 2 * SMOOTHING) + SMOOTHING
    while run.step < steps:
        dice = np.random.default_rng((seed, run.step))
        fake = [int(dice.choice(groups[int(dice.integers(len(groups)))])) for _ in range(half)]
        other = dice.choice(real, half).tolist()
        paired = [
            originals[table.clip[f]] if table.clip[f] in originals and dice.random() < PAIRED else o
            for f, o in zip(fake, other, strict=True)
        ]
        variants = dice.integers(len(seen), size=half)
        starts = dice.integers(0, seen[0].shape[2] - FRAMES + 1, size=half)
        rows = [
            seen[v][place, :, s : s + FRAMES]
            for side in (fake, paired)
            for v, place, s in zip(variants, side, starts, strict=True)
        ]
        excerpts = disturb(torch.from_numpy(np.stack(rows).astype(np.float32)), run.generator())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 1_000_003 + run.step)  # for dropout
            loss = F.binary_cross_entropy_with_logits(network(excerpts), target)
        yield run.update(loss)
        if run.step % save_every == 0 or run.step == steps:
            run.save(folder)
    save_module(run.averaged(), folder / "network.safetensors", prefix="")


def trained(folder: Path) -> Network:
    """Read the network of a finished run."""
    network = Network()
    network.load_state_dict(load_file(folder / "network.safetensors"))
    return network.eval().requires_grad_(False)


def disturb(seen: Tensor, dice: torch.Generator) -> Tensor:
    """Warp, equalize, floor, cut off and mask maps, each excerpt its own way.

    Args:
        seen: Shape (n, MAPS, frames, ALL_BANDS).
        dice: Source of randomness.

    Returns:
        Shape (n, MAPS, frames, BANDS).
    """
    n = len(seen)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, generator=dice)

    centers = torch.arange(LOW, HIGH) + 0.0
    place = (centers * draw(1 - WARP, 1 + WARP)).clamp(0, ALL_BANDS - 1.01)
    below = place.long()
    share = (place - below)[:, None, None]
    index = below[:, None, None].expand(-1, seen.shape[1], seen.shape[2], -1)
    warped = torch.gather(seen, 3, index) * (1 - share) + torch.gather(seen, 3, index + 1) * share
    level = warped[:, 0]
    curve = torch.randn(n, 1, 6, generator=dice) * 0.5
    level = level + F.interpolate(curve, size=BANDS, mode="linear")
    top = level.amax(dim=(1, 2), keepdim=True)
    level = torch.maximum(level, top - draw(3.0, 5.5)[:, None])
    bands = torch.arange(BANDS)
    start, width = draw(0, BANDS - 2), draw(2, 14)
    hidden = (bands >= start) & (bands < start + width) & (draw(0, 1) < 0.4)
    hidden |= (bands >= draw(28, BANDS)) & (draw(0, 1) < 0.4)
    disturbed = torch.cat([level[:, None], warped[:, 1:]], dim=1)
    flat = disturbed.mean(dim=2, keepdim=True).expand_as(disturbed)
    return torch.where(hidden[:, None, None], flat, disturbed)


def scores(networks: Sequence[Network], seen: npt.NDArray[np.float16]) -> Floats:
    """Ask networks about whole windows and average; shape (clips,)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(seen), _AT_ONCE):
            part = np.asarray(seen[start : start + _AT_ONCE], dtype=np.float32)
            window = torch.from_numpy(part)[..., LOW:HIGH]
            parts.append(torch.stack([network(window) for network in networks]).mean(dim=0))
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How scores tell generators from real sound.

    Attributes:
        auc: Of each generator against all real clips, in [0, 1].
        eer: Equal error rate of all of them together, in [0, 1].
    """

    auc: dict[str, float]
    eer: float


def judge(score: Floats, table: Table, generators: Sequence[str]) -> Judgement:
    """Compare the scores of some generators with those of real clips."""
    from sklearn.metrics import roc_auc_score, roc_curve

    real = table.generator == ""
    auc = {
        generator: round(
            float(roc_auc_score(truth[rows], score[rows])),
            3,
        )
        for generator in generators
        if (truth := table.generator == generator).any()
        for rows in (truth | real,)
    }
    rows = real | np.isin(table.generator, list(auc))
    if not auc:
        return Judgement(auc={}, eer=0.5)
    false_alarms, hits, _ = roc_curve(~real[rows], score[rows])
    crossing = int(np.abs(false_alarms - (1 - hits)).argmin())
    eer = float((false_alarms[crossing] + 1 - hits[crossing]) / 2)
    return Judgement(auc=auc, eer=round(eer, 3))


def probe(table: Table, test: Table, *, without: Sequence[str]) -> Floats:
    """Score what eight trivial features say, fitted on the same clips; shape (clips,)."""
    from sklearn.linear_model import LogisticRegression

    rows = ~np.isin(table.generator, list(without))
    mean, scale = table.trivial[rows].mean(axis=0), table.trivial[rows].std(axis=0) + 1e-9
    fitted = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(
        (table.trivial[rows] - mean) / scale, table.generator[rows] != ""
    )
    return np.asarray(fitted.decision_function((test.trivial - mean) / scale), dtype=np.float64)


def select(
    table: Table,
    test: Table,
    *,
    folder: Path,
    steps: int,
    batch: int,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Leave each group of generators out and judge it; runs are kept and continued.

    Returns:
        For each group and variant, the area under the curve of its generators and their
        equal error rate; the same for the trivial probe.
    """
    figures: dict[str, Any] = {}
    for name, group in FOLDS.items():
        heard = [generator for generator in group if generator in test.generator]
        run = folder / f"without-{name}"
        for progress in train(
            table, folder=run, steps=steps, seed=SEEDS[0], without=group, batch=batch
        ):
            if progress.step % 50 == 0:
                note(f"without {name}: step {progress.step}, loss {progress.loss:.3f}")
        network = trained(run)
        row = {
            variant: asdict(judge(scores([network], seen), test, heard))
            for variant, seen in test.maps.items()
        }
        row[PROBE] = asdict(judge(probe(table, test, without=group), test, heard))
        note(f"without {name}: {json.dumps(row)}")
        figures[name] = row
    return figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a whole run of the recipe gives.

    Attributes:
        weights: Bytes that ``detectors.synthetic.generic.parse`` reads.
        auc: Mean area under the curve of generators that were left out, in [0, 1].
        auc_trivial: The same of the trivial probe.
    """

    weights: bytes
    auc: float
    auc_trivial: float


def make(
    corpus: Path, *, folder: Path, steps: int, batch: int, note: Callable[[str], None]
) -> Made:
    """Run the whole recipe; whatever is finished is not done again.

    Raises:
        InputError: If the folder is no corpus, or lacks one of the classes.
    """
    table = dataset(corpus, work=folder, wanted=learnable, variants=tuple(VARIANTS), note=note)
    test = dataset(corpus, work=folder, wanted=judging, variants=TESTED, note=note)
    figures = select(table, test, folder=folder, steps=steps, batch=batch, note=note)
    networks = []
    for seed in SEEDS:
        run = folder / f"seed-{seed}"
        for progress in train(table, folder=run, steps=steps, seed=seed, batch=batch):
            if progress.step % 50 == 0:
                note(f"seed {seed}: step {progress.step}, loss {progress.loss:.3f}")
        networks.append(trained(run))
    return Made(
        weights=finish(networks, table, steps=steps, figures=figures),
        auc=_mean_auc(figures, TESTED[0]),
        auc_trivial=_mean_auc(figures, PROBE),
    )


def _mean_auc(figures: Mapping[str, Any], column: str) -> float:
    areas = [area for row in figures.values() for area in row[column]["auc"].values()]
    return round(float(np.mean(areas)), 3) if areas else 0.5


def finish(
    networks: Sequence[Network],
    table: Table,
    *,
    steps: int,
    figures: Mapping[str, Any],
) -> bytes:
    """Pack trained networks with their data card."""
    used = {
        generator or "real": {
            "clips": int((table.generator == generator).sum()),
            "sources": sorted(set(table.source[table.generator == generator].tolist())),
            "licenses": sorted(set(table.license[table.generator == generator].tolist())),
        }
        for generator in sorted(set(table.generator.tolist()))
    }
    card = {
        "purpose": "speech, 4 s windows, 16 kHz; a score, no probability",
        "clips": used,
        "variants": sorted(table.maps),
        "seeds": list(SEEDS[: len(networks)]),
        "steps": steps,
        "left out": figures,
        "note": "espeak's clips are output of a program, which its license does not cover",
    }
    data = pack(networks, card)
    parse(data)
    return data


def _window(audio: Audio) -> Samples:
    if audio.sample_rate != SAMPLE_RATE:
        raise InputError(
            f"a clip has {audio.sample_rate} Hz, not {SAMPLE_RATE}",
            remedy="Give a corpus of speech.",
        )
    samples = audio.mono()[:WINDOW_SAMPLES]
    return np.pad(samples, (0, WINDOW_SAMPLES - len(samples))).astype(np.float32)


def _drawn(
    clips: Sequence[Samples], change: Callable[[Samples, int], Samples]
) -> npt.NDArray[np.float16]:
    parts = []
    for start in range(0, len(clips), _AT_ONCE):
        changed = change(np.stack(clips[start : start + _AT_ONCE]), start)
        with torch.inference_mode():
            parts.append(maps(torch.from_numpy(changed)).numpy().astype(np.float16))
    return np.concatenate(parts)


def _trivial(clip: Samples) -> Floats:
    return trivial.trivial(trivial.prepare(clip[None], SAMPLE_RATE))


def _keep(rows: npt.NDArray[Any], path: Path) -> None:
    """Write an array; it is complete if it is there."""
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
    temporary.replace(path)
