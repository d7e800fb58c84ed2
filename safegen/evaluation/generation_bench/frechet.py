"""How far is one set of sounds from another, judged by an embedding?

The Fréchet audio distance: both sets are taken for Gaussian clouds of embeddings, and
the distance between the clouds is measured. It is an estimate with a bias that shrinks
with the number of sounds, so only sets of equal size are compared, and the distance of
two halves of the same set stands beside, as what "no difference" looks like.

Source: Kilgour et al., Fréchet Audio Distance (2019); Dowson and Landau, The Fréchet
distance between multivariate normal distributions (1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """A distance and what it was counted on.

    Attributes:
        value: >= 0; 0 between equal clouds.
        sounds: How many sounds each set has, the smaller set's.
        embeddings: How many embeddings the smaller set has.
    """

    value: float
    sounds: int
    embeddings: int


def between(one: list[Floats], other: list[Floats]) -> Distance:
    """Compare two sets of sounds, the larger one cut to the size of the smaller.

    Args:
        one: Embeddings of each sound, each of shape (patches, d).
        other: Likewise.

    Raises:
        ValueError: If a set has fewer than two embeddings.
    """
    sounds = min(len(one), len(other))
    a, b = np.concatenate(one[:sounds]), np.concatenate(other[:sounds])
    return Distance(value=frechet(a, b), sounds=sounds, embeddings=min(len(a), len(b)))


def frechet(one: Floats, other: Floats) -> float:
    """Measure the distance of two clouds of shape (n, d) and (m, d), in float64.

    The trace of the root of the product is taken from the eigenvalues of a symmetric
    matrix, so that rounding cannot make it complex.

    Raises:
        ValueError: If a cloud has fewer than two points.
    """
    if min(len(one), len(other)) < 2:
        msg = f"clouds of {len(one)} and {len(other)} points have no spread"
        raise ValueError(msg)
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    gap = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(np.atleast_2d(cov_a))
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    shared = np.linalg.eigvalsh(root @ np.atleast_2d(cov_b) @ root)
    trace = np.trace(np.atleast_2d(cov_a)) + np.trace(np.atleast_2d(cov_b))
    return float(max(0.0, gap @ gap + trace - 2.0 * np.sqrt(np.maximum(shared, 0.0)).sum()))
