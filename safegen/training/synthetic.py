"""Recipe: train the classifier that recognizes the shipped generator.

    clips -> histories -> features -> standardize -> logistic regression -> calibration
                                   -> whitened domain features -> limit of the known

The regression is fitted on evidence features only. Calibration and the limit of the
domain are set on folds that share no track and no prompt with what they were fitted on.
Beside the score stands what eight trivial features reach on the same folds: a classifier
that does not beat them has learned the data set, not the generator.

The result is a safetensors file; its hash goes into ``detectors.synthetic``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors import features
from detectors.synthetic import NEIGHBORS, Weights, parse
from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Generator
from safegen.generation.codec import Codec
from safegen.training import clips
from safegen.training.clips import Clip, Table
from safegen.training.outputs import excerpt, generated, prompts_of, requests_for

Floats = npt.NDArray[np.float64]

PROMPT_SEEDS: Final = range(8_000_000, 8_100_000)
RENDER_SEEDS: Final = range(8_200_000, 8_300_000)
RENDERS: Final = 48
SPEECH_LANGUAGES: Final = ("en", "es")
"""French and Italian are held out."""
OUTPUT_SECONDS: Final = 5.0
FOLDS: Final = 5
REGULARIZATION: Final = 0.05
DOMAIN_AXES: Final = 16
DOMAIN_QUANTILE: Final = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What cross-validation says; all values are areas under the curve, in [0, 1].

    Attributes:
        evidence: Of the classifier.
        trivial: Of eight trivial features on the same folds.
        rows: How many rows of each kind there were.
    """

    evidence: float
    trivial: float
    rows: dict[str, int]


def dataset(
    assets: Path,
    *,
    work: Path,
    count: int,
    generator: Generator,
    codec: Codec,
    note: Callable[[str], None],
) -> Table:
    """Measure the training clips of both classes, part by part; finished parts are kept.

    Raises:
        InputError: If the assets hold no music or no soundfont.
    """
    from safegen.generation.soundfont import SoundfontRenderer, find_soundfont

    work.mkdir(parents=True, exist_ok=True)
    soundfont = find_soundfont(assets)
    if soundfont is None:
        raise InputError(
            f"{assets}: no soundfont", remedy="Run `safegen eval assets --out FOLDER` first."
        )
    weights = generator.facts.weights_sha256[:12]
    digest = hashlib.sha256(codec.quantizer.codebook.numpy().tobytes()).hexdigest()[:12]

    def recordings() -> Iterator[tuple[str, Audio]]:
        return clips.recordings(
            assets,
            clips.TRAINING_PACKAGES,
            per_track=3,
            seconds=clips.CLIP_SECONDS,
            folder=work / "recordings",
            seed=1,
        )

    def copies() -> Iterator[Clip]:
        for number, (name, audio) in enumerate(recordings()):
            if number % 4 == 0:
                passed = clips.copy(audio, codec, quantized=number % 8 == 0)
                yield Clip(audio=passed, own=True, kind="copy", group=name, lossless=False)

    def sampled() -> Iterator[Clip]:
        for name, audio in clips.samples(assets, held_out=False, seconds=clips.CLIP_SECONDS):
            yield Clip(audio=audio, own=False, kind="sample", group=name, lossless=True)

    def sample_copies() -> Iterator[Clip]:
        found = clips.samples(assets, held_out=False, seconds=clips.CLIP_SECONDS)
        for number, (name, audio) in enumerate(found):
            if number % 2 == 0:
                passed = clips.copy(audio, codec, quantized=number % 4 == 0)
                yield Clip(audio=passed, own=True, kind="copy", group=name, lossless=True)

    def outputs() -> Iterator[Clip]:
        prompts = prompts_of(PROMPT_SEEDS[:count])
        requests = requests_for(prompts, seconds=OUTPUT_SECONDS, first_seed=PROMPT_SEEDS.start)
        made = generated(generator, requests, folder=work / "outputs")
        for number, generation in enumerate(made):
            cut = excerpt(generation.audio, seconds=clips.CLIP_SECONDS, start=(number % 5) / 5)
            group = f"prompt:{number}"
            yield Clip(audio=cut, own=True, kind="output", group=group, lossless=True)

    def played() -> Iterator[Clip]:
        return clips.renders(
            SoundfontRenderer(soundfont), RENDER_SEEDS[:RENDERS], seconds=clips.CLIP_SECONDS
        )

    def recorded() -> Iterator[Clip]:
        for name, audio in recordings():
            yield Clip(audio=audio, own=False, kind="recording", group=name, lossless=False)

    parts: dict[str, Callable[[], Iterator[Clip]]] = {
        "recording": recorded,
        "render": played,
        f"copy-{digest}": copies,
        f"output-{weights}-{count}": outputs,
        "speech": lambda: clips.speech(assets, SPEECH_LANGUAGES, count=30),
        "sample": sampled,
        f"sample-copy-{digest}": sample_copies,
    }
    tables = []
    for seed, (name, make) in enumerate(parts.items()):
        path = work / f"table-{name}.npz"
        if not path.exists():
            rows = []
            for row in clips.measure(make(), seed=seed):
                rows.append(row)
                if len(rows) % 20 == 0:
                    note(f"{name}: {len(rows)} clips")
            if not rows:
                raise InputError(
                    f"{assets}: no clips for {name}",
                    remedy="Run `safegen eval assets --out FOLDER` first.",
                )
            clips.keep(clips.join(rows), path)
        tables.append(clips.kept(path))
    return clips.join(tables)


def train(table: Table) -> tuple[bytes, Report]:
    """Fit, calibrate and pack the classifier.

    Returns:
        The bytes of a weights file that ``detectors.synthetic.parse`` reads, and what
        cross-validation says. The same table gives the same bytes.
    """
    from safetensors.numpy import save
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold

    spoken = table.domain[table.kind == "speech"]
    table = clips.select(table, table.kind != "speech")
    importance = _importance(table)
    folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=0)
    splits = list(folds.split(table.evidence, table.kind, groups=table.group))
    held = np.zeros(len(table))
    probe = np.zeros(len(table))
    distance = np.zeros(len(table))
    for fit, test in splits:
        held[test] = _fit(table.evidence[fit], table.own[fit], importance[fit]).score(
            table.evidence[test]
        )
        probe[test] = _fit(table.trivial[fit], table.own[fit], importance[fit]).score(
            table.trivial[test]
        )
        distance[test] = _domain(table.domain[fit]).distance(table.domain[test])
    calibration = LogisticRegression(C=1.0).fit(held[:, None], table.own, importance)
    line = _fit(table.evidence, table.own, importance)
    domain = _domain(table.domain)
    heard = np.concatenate([table.domain, spoken])
    is_speech = np.arange(len(heard)) >= len(table)
    weight = np.where(is_speech, len(table) / max(1, len(spoken)), 1.0)
    speech = _fit(heard, is_speech, weight)
    facts = {
        "features": list(features.names()),
        "intercept": line.intercept,
        "slope": float(calibration.coef_[0, 0]),
        "offset": float(calibration.intercept_[0]),
        "domain_limit": float(np.quantile(distance, DOMAIN_QUANTILE)),
        "speech_intercept": speech.intercept,
    }
    tensors = {
        "mean": line.mean,
        "scale": line.scale,
        "coefficients": line.coefficients,
        "domain_mean": domain.mean,
        "domain_axes": domain.axes,
        "known": domain.known,
        "speech_mean": speech.mean,
        "speech_scale": speech.scale,
        "speech_coefficients": speech.coefficients,
    }
    data = save(
        {name: tensor.astype(np.float32) for name, tensor in tensors.items()},
        metadata={"classifier": json.dumps(facts, sort_keys=True)},
    )
    parse(data)
    kinds, counts = np.unique(table.kind, return_counts=True)
    report = Report(
        evidence=float(roc_auc_score(table.own, held)),
        trivial=float(roc_auc_score(table.own, probe)),
        rows=dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
    )
    return data, report


def trivial_line(table: Table) -> Line:
    """Fit the trivial probe on a whole table."""
    table = clips.select(table, table.kind != "speech")
    return _fit(table.trivial, table.own, _importance(table))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A fitted logistic regression with its standardization."""

    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: float

    def score(self, rows: Floats) -> Floats:
        """Log-odds of rows of shape (n, f)."""
        return (rows - self.mean) / self.scale @ self.coefficients + self.intercept


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What the classifier has heard, on whitened axes."""

    mean: Floats
    axes: Floats
    known: Floats

    def distance(self, rows: Floats) -> Floats:
        """As ``detectors.synthetic.Weights.distance``."""
        none = np.zeros(0)
        return Weights(
            mean=none,
            scale=none,
            coefficients=none,
            intercept=0.0,
            slope=1.0,
            offset=0.0,
            domain_mean=self.mean,
            domain_axes=self.axes,
            known=self.known,
            domain_limit=0.0,
            speech_mean=none,
            speech_scale=none,
            speech_coefficients=none,
            speech_intercept=0.0,
            model_id="",
        ).distance(rows)


def _fit(rows: Floats, own: npt.NDArray[np.bool_], importance: Floats) -> Line:
    from sklearn.linear_model import LogisticRegression

    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    fitted = LogisticRegression(C=REGULARIZATION, max_iter=2000).fit(
        (rows - mean) / scale, own, importance
    )
    return Line(
        mean=mean,
        scale=scale,
        coefficients=fitted.coef_[0],
        intercept=float(fitted.intercept_[0]),
    )


def _domain(rows: Floats) -> Domain:
    """Whiten the leading principal axes; the known segments are every row."""
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((rows - mean).T))
    leading = np.argsort(values)[::-1][:DOMAIN_AXES]
    axes = vectors[:, leading] / np.sqrt(values[leading])
    # An eigenvector's sign is arbitrary; fix it, so that the file is reproducible.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(leading))])
    known = (rows - mean) @ axes
    if len(known) < NEIGHBORS:
        msg = f"{len(known)} segments are too few, at least {NEIGHBORS}"
        raise ValueError(msg)
    return Domain(mean=mean, axes=axes, known=known)


def _importance(table: Table) -> Floats:
    """Weigh rows so that the classes, and the kinds inside a class, count the same."""
    weights = np.zeros(len(table))
    for own in (False, True):
        kinds = np.unique(table.kind[table.own == own])
        for kind in kinds:
            rows = (table.own == own) & (table.kind == kind)
            weights[rows] = len(table) / (2 * len(kinds) * rows.sum())
    return weights
