"""How well does a feature tell the classes apart, on sources and generators it was not fitted on?

Each feature alone, and all together, are given to a logistic regression. It is fitted
without the sources and the generators that it is then asked about, so that a feature
counts only if it carries over. The figure is the area under the curve (AUC): of one real
and one fake file picked at random, how often the fake one has the higher score. One half
is guessing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from safegen.evaluation.metrics import holm

LEAST_AUC: Final = 0.60
"""Below this a feature is no use to a model, however sure the difference is."""
ALPHA: Final = 0.05
"""Chance that any feature is called a confound in a data set that has none."""
FEW_GROUPS: Final = 4
"""With fewer sources or generators in a class, files are drawn anew instead of them."""
FOLDS: Final = 4
RANDOM_FOLDS: Final = 5
DRAWS: Final = 1000
TOGETHER: Final = "all together"
_MOST_UNITS: Final = 200
_SEED: Final = 20_261_121

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.str_]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One feature of all files.

    Attributes:
        name: For people.
        unit: "" for a category.
        values: Shape (files,), numbers or words.
        is_heard: Whether a model that is given samples can learn it.
    """

    name: str
    unit: str
    values: Floats | Texts
    is_heard: bool = True

    @property
    def is_number(self) -> bool:
        """Whether the values have an order."""
        return self.values.dtype.kind == "f"

    @property
    def is_constant(self) -> bool:
        """Whether all files agree."""
        return bool((self.values == self.values[0]).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Who may not be on both sides of a fit; what is blank stands alone.

    Attributes:
        sources: One for each file, shape (files,).
        generators: One for each file, "" for real ones, shape (files,).
    """

    sources: Texts
    generators: Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """What a feature is worth to a model that hears nothing else.

    Attributes:
        name: Of the feature, or ``TOGETHER``.
        auc: On sources and generators left out of the fit.
        low: Lower end of the 95 % interval, sources and generators drawn anew.
        high: Upper end.
        auc_random: With files of one source on both sides, as a random split has it.
        p_value: That chance alone separates as well, one-sided, corrected by Holm for
            the number of features tried.
        scored: Files that were compared; in a fold without the other class there is no pair.
    """

    name: str
    auc: float
    low: float
    high: float
    auc_random: float
    p_value: float
    scored: int

    @property
    def is_confound(self) -> bool:
        """Whether it separates beyond chance, and by enough to matter."""
        return self.p_value < ALPHA and self.auc >= LEAST_AUC


def separations(
    columns: Sequence[Column], is_fake: Bools, groups: Groups
) -> tuple[Separation, ...]:
    """Probe all columns that can be heard together, then each alone; constant ones are left out.

    Returns:
        ``TOGETHER`` at the head, then the columns, most telling first.

    Raises:
        ValueError: If a class has fewer than ``RANDOM_FOLDS`` files.

    Cost: about 0.1 s a column for a thousand files.
    """
    tried = [column for column in columns if not column.is_constant]
    heard = [column for column in tried if column.is_heard]
    if not heard:
        return ()
    grouped = _grouped_folds(is_fake, groups)
    random = _random_folds(is_fake)
    units = _units(is_fake, groups)
    raw = [
        _probe(name, chosen, is_fake, grouped, random, units)
        for name, chosen in ((TOGETHER, heard), *((column.name, [column]) for column in tried))
    ]
    corrected = holm([each.p_value for each in raw])
    found = [replace(each, p_value=p_value) for each, p_value in zip(raw, corrected, strict=True)]
    return (found[0], *sorted(found[1:], key=lambda each: (-each.auc, each.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fold:
    """One fit: what it sees and what it is asked about, both shape (files,)."""

    train: Bools
    test: Bools


def _probe(
    name: str,
    columns: Sequence[Column],
    is_fake: Bools,
    grouped: Sequence[_Fold],
    random: Sequence[_Fold],
    units: Ints,
) -> Separation:
    contest = _contest(columns, is_fake, grouped, units)
    if not contest.pairs.any():
        msg = "no fold of the grouped split has both classes"
        raise ValueError(msg)
    drawn = _drawn_anew(contest)
    half = float(stats.t.ppf(0.975, drawn.freedom)) * drawn.error
    return Separation(
        name=name,
        auc=contest.auc,
        low=max(0.0, contest.auc - half),
        high=min(1.0, contest.auc + half),
        auc_random=_contest(columns, is_fake, random, units).auc,
        p_value=float(stats.t.sf((contest.auc - 0.5) / drawn.error, drawn.freedom)),
        scored=contest.files,
    )


def _grouped_folds(is_fake: Bools, groups: Groups) -> list[_Fold]:
    """Leave out sources and generators at once: each part of one with each part of the other."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    n = len(is_fake)
    sources = _keys(groups.sources, is_fake)
    least = min(len(set(sources[is_fake])), len(set(sources[~is_fake])))
    k = max(2, min(FOLDS, least))
    source_fold = np.zeros(n, dtype=np.int64)
    split = StratifiedGroupKFold(k, shuffle=True, random_state=_SEED)
    for number, (_, test) in enumerate(split.split(np.zeros(n), is_fake, sources)):
        source_fold[test] = number
    fakes = np.flatnonzero(is_fake)
    generators = _keys(groups.generators, is_fake)[fakes]
    generator_fold = np.full(n, -1, dtype=np.int64)
    m = max(2, min(FOLDS, len(set(generators))))
    for number, (_, test) in enumerate(GroupKFold(m).split(fakes, groups=generators)):
        generator_fold[fakes[test]] = number
    return [
        _Fold(
            train=(source_fold != i) & (generator_fold != j),
            test=(source_fold == i) & (~is_fake | (generator_fold == j)),
        )
        for i in range(k)
        for j in range(m)
    ]


def _random_folds(is_fake: Bools) -> list[_Fold]:
    from sklearn.model_selection import StratifiedKFold

    split = StratifiedKFold(RANDOM_FOLDS, shuffle=True, random_state=_SEED)
    folds = []
    for _, test in split.split(np.zeros(len(is_fake)), is_fake):
        asked = np.zeros(len(is_fake), dtype=bool)
        asked[test] = True
        folds.append(_Fold(train=~asked, test=asked))
    return folds


def _keys(names: Texts, is_fake: Bools) -> Texts:
    """Give files without a group one of their own, and all files of a class with only one."""
    keys = np.array([name or f"\0{at}" for at, name in enumerate(names)])
    for chosen in (is_fake, ~is_fake):
        if len(set(keys[chosen])) < 2:
            keys[chosen] = [f"\0{at}" for at in np.flatnonzero(chosen)]
    return keys


def _units(is_fake: Bools, groups: Groups) -> Ints:
    """Number what is drawn anew together: a source of real files, a generator of fakes."""
    keys = np.where(is_fake, groups.generators, groups.sources)
    units = np.zeros(len(is_fake), dtype=np.int64)
    for chosen in (is_fake, ~is_fake):
        mine = _keys(keys, is_fake)[chosen]
        if len(set(mine)) < FEW_GROUPS or len(set(mine)) > _MOST_UNITS:
            # By files; bundles of files where there are many, for speed alone.
            units[chosen] = np.arange(len(mine)) % _MOST_UNITS
        else:
            units[chosen] = np.unique(mine, return_inverse=True)[1]
    return units


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contest:
    """Real against fake files, summed over what is drawn anew together.

    Attributes:
        wins: Pairs in which the fake scores higher, ties count half, shape (real units,
            fake units).
        pairs: All pairs compared, the same shape. Only files of one fold are compared:
            scores of two fits are not on one scale.
        files: How many were in any pair.
        smaller: Files of the class that has fewer.
    """

    wins: Floats
    pairs: Floats
    files: int
    smaller: int

    @property
    def auc(self) -> float:
        """Share of the pairs that the fake wins."""
        return float(self.wins.sum() / self.pairs.sum())


def _contest(
    columns: Sequence[Column], is_fake: Bools, folds: Sequence[_Fold], units: Ints
) -> _Contest:
    """Let fits that did not see them compare the real and the fake files of each fold."""
    from sklearn.linear_model import LogisticRegression

    shape = (int(units[~is_fake].max()) + 1, int(units[is_fake].max()) + 1)
    wins, pairs = np.zeros(shape), np.zeros(shape)
    compared = np.zeros(len(is_fake), dtype=bool)
    for fold in folds:
        reals, fakes = fold.test & ~is_fake, fold.test & is_fake
        has_both = len(set(is_fake[fold.train].tolist())) == 2
        if not (has_both and reals.any() and fakes.any()):
            continue
        model = LogisticRegression(class_weight="balanced", max_iter=2000)
        model.fit(_encoded(columns, fold.train, fold.train), is_fake[fold.train])
        # Rounded, so that files that are alike tie whatever the order of summation.
        real = model.decision_function(_encoded(columns, fold.train, reals)).round(9)
        fake = model.decision_function(_encoded(columns, fold.train, fakes)).round(9)
        for unit in np.unique(units[reals]):
            mine = np.sort(real[units[reals] == unit])
            each = np.searchsorted(mine, fake, "left") + np.searchsorted(mine, fake, "right")
            wins[unit] += np.bincount(units[fakes], weights=each / 2.0, minlength=shape[1])
            pairs[unit] += len(mine) * np.bincount(units[fakes], minlength=shape[1])
        compared |= fold.test
    return _Contest(
        wins=wins,
        pairs=pairs,
        files=int(compared.sum()),
        smaller=int(min((compared & is_fake).sum(), (compared & ~is_fake).sum())),
    )


def _encoded(columns: Sequence[Column], known: Bools, asked: Bools) -> Floats:
    return np.hstack(
        [_encode(column.values[asked], known=column.values[known]) for column in columns]
    )


def _encode(values: Floats | Texts, *, known: Floats | Texts) -> Floats:
    """Write values as a regression reads them.

    A number becomes its rank among the known values and the square of it, so that both
    ends together may tell a class; a word one column for each known word.
    """
    if known.dtype.kind != "f":
        return np.asarray(values[:, None] == np.unique(known)[None, :], dtype=np.float64)
    ordered = np.sort(known)
    rank = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    centered = (rank / (2.0 * len(known)) - 0.5) * np.sqrt(12.0)
    return np.stack([centered, centered**2 - 1.0], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """How far an AUC would go with other sources and generators.

    Attributes:
        error: Standard error.
        freedom: Degrees of freedom of its estimate.
    """

    error: float
    freedom: int


def _drawn_anew(contest: _Contest) -> _Drawn:
    """Draw the units of each class with replacement, ``DRAWS`` times.

    The error is at least that of half a file more on the wrong side: what separates all
    files of a small set need not separate all files.
    """
    rng = np.random.default_rng(_SEED)
    real, fake = (
        rng.multinomial(count, np.full(count, 1 / count), DRAWS) for count in contest.pairs.shape
    )
    pairs = ((real @ contest.pairs) * fake).sum(axis=1)
    wins = ((real @ contest.wins) * fake).sum(axis=1)
    aucs = wins[pairs > 0] / pairs[pairs > 0]
    return _Drawn(
        error=max(float(aucs.std(ddof=1)), 0.5 / contest.smaller),
        freedom=max(1, min(contest.pairs.shape) - 1),
    )
