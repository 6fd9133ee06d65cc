"""Distances between two sets of feature vectors: Fréchet, polynomial kernel, density and coverage, nearest.

Everything takes arrays (N, D), one row per clip, and means nothing by itself: read each number beside its floor, the
same distance between two real sets. Where real clips stand in both of those, the floor is 0 and there is no ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

BLOCK = 100  # clips per block of the kernel distance
CHUNK = 256  # rows held as floats at once
ROUNDING = 1e-7  # of the features' variance: a Fréchet distance below it is nothing but rounding
NO_RATIO = "no ratio, for its floor is 0: real clips of train and validation are the same, or all alike"


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SetDistances:
    """A generated set against real val clips, with the train clips against the same val clips as the floor."""

    frechet: float
    frechet_floor: float
    kernel: Interval
    kernel_floor: Interval
    density: float
    coverage: float
    density_floor: float
    coverage_floor: float
    nearest: float
    nearest_floor: float

    def flat(self) -> dict[str, Any]:
        """Metric keys and values."""
        return {
            **beside_floor("frechet", self.frechet, self.frechet_floor),
            "kernel.distance": self.kernel.mean,
            "kernel.distance_low": self.kernel.low,
            "kernel.distance_high": self.kernel.high,
            "kernel.floor": self.kernel_floor.mean,
            "kernel.floor_low": self.kernel_floor.low,
            "kernel.floor_high": self.kernel_floor.high,
            "density": self.density,
            "density_floor": self.density_floor,
            "coverage": self.coverage,
            "coverage_floor": self.coverage_floor,
            **beside_floor("nearest_train", self.nearest, self.nearest_floor),
        }


def beside_floor(name: str, distance: float, floor: float) -> dict[str, Any]:
    """Metrics of a distance: `ratio` is the distance over its floor, None where that is 0, with a note that says so."""
    found = {f"{name}.distance": distance, f"{name}.floor": floor, f"{name}.ratio": distance / floor if floor else None}
    return found if floor else {**found, f"{name}.note": NO_RATIO}


def set_distances(train: np.ndarray, val: np.ndarray, fake: np.ndarray, *, seed: int = 0) -> SetDistances:
    """Every distance of `fake` (N, D) from the real `val` (M, D), and of a part of `train` (K, D) as large as `fake`.

    The nearest training clip is the median over clips: a ratio far below 1 means that training clips are repeated.
    """
    kept = np.random.default_rng(seed).permutation(len(train))[: len(fake)]
    part, rest = train[kept], np.delete(train, kept, axis=0)
    density, coverage = density_coverage(val, fake)
    density_floor, coverage_floor = density_coverage(val, part)
    nearest_in = rest if len(rest) else train
    return SetDistances(
        frechet=frechet(val, fake),
        frechet_floor=frechet(val, part),
        kernel=kernel_distance(val, fake, first_seed=seed),
        kernel_floor=kernel_distance(val, part, first_seed=seed),
        density=density,
        coverage=coverage,
        density_floor=density_floor,
        coverage_floor=coverage_floor,
        nearest=float(np.median(nearest(nearest_in, fake))),
        nearest_floor=float(np.median(nearest(nearest_in, val))),
    )


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to `a` (N, D) and `b` (M, D), in squared units (Heusel et al. 2017)."""
    a, b = _features(a, "a"), _features(b, "b")
    cov_a, cov_b = _covariance(a), _covariance(b)
    root_a = _root(cov_a)
    cross = _root(root_a @ cov_b @ root_a)
    shift = a.mean(axis=0) - b.mean(axis=0)
    spread = np.trace(cov_a) + np.trace(cov_b)
    distance = float(shift @ shift + spread - 2.0 * np.trace(cross))
    return distance if distance > ROUNDING * spread else 0.0


def kernel_distance(a: np.ndarray, b: np.ndarray, seeds: int = 3, *, first_seed: int = 0) -> Interval:
    """Unbiased squared MMD with the kernel (x·y/D + 1)^3 (Binkowski et al. 2018), as a mean over disjoint blocks.

    Blocks of a shuffle are independent, so their spread gives an honest interval (B-test, Zaremba et al. 2013); each of
    `seeds` shuffles gives an estimate and an interval, and both are averaged. Can be negative where the sets agree.
    """
    a, b = _features(a, "a"), _features(b, "b")
    n_blocks = max(2, min(len(a), len(b)) // BLOCK)
    means, halves = [], []
    for seed in range(first_seed, first_seed + seeds):
        rng = np.random.default_rng(seed)
        blocks_a = np.array_split(a[rng.permutation(len(a))], n_blocks)
        blocks_b = np.array_split(b[rng.permutation(len(b))], n_blocks)
        values = [_squared_mmd(x, y) for x, y in zip(blocks_a, blocks_b, strict=True)]
        means.append(np.mean(values))
        halves.append(stats.t.ppf(0.975, n_blocks - 1) * np.std(values, ddof=1) / np.sqrt(n_blocks))
    mean, half = float(np.mean(means)), float(np.mean(halves))
    return Interval(mean, mean - half, mean + half)


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Density (1 where the sets agree, unbounded) and coverage (0 to 1) of `fake` around `real` (Naeem et al. 2020).

    Density: how many real k-neighbourhoods hold a fake clip, over k. Coverage: the share of them that hold any.
    """
    real, fake = _features(real, "real"), _features(fake, "fake")
    if len(real) <= k:
        raise ValueError(f"density and coverage need more than k={k} real clips, got {len(real)}; judge more clips")
    radii = np.sort(cdist(real, real), axis=1)[:, k]  # column 0 is the clip itself
    inside = cdist(real, fake) < radii[:, None]
    return float(inside.sum() / (k * len(fake))), float(inside.any(axis=1).mean())


def nearest(train: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Euclidean distance (M,) from each of `queries` (M, …) to its nearest row of `train` (N, …)."""
    return nearest_neighbours(train, queries)[0]


def nearest_neighbours(train: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance float64 (M,) and index (M,) of the nearest row of `train` (N, …) for each of `queries` (M, …).

    Exact, so that neither threads nor blocks matter: equal rows lie at 0.0. Whole numbers of up to 12 bits (pixels) are
    multiplied as a matrix, which is many times faster; others are subtracted one by one.
    """
    flat_train, flat_queries = (values.reshape(len(values), -1) for values in (train, queries))
    if not len(flat_train):
        raise ValueError("no training clips to find a nearest one among")
    distances = _whole_distances if np.issubdtype(train.dtype, np.integer) else cdist
    best = np.full(len(flat_queries), np.inf)
    index = np.zeros(len(flat_queries), np.int64)
    for start in range(0, len(flat_train), CHUNK):
        block = distances(flat_queries, flat_train[start : start + CHUNK])
        winner = block.argmin(axis=1)
        closest = block[np.arange(len(block)), winner]
        better = closest < best
        best[better], index[better] = closest[better], start + winner[better]
    return best, index


def _whole_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distances (len(x), len(y)) of rows of whole numbers, of at most 12 bits.

    By x² + y² - 2xy in float64, whose sums are whole numbers below 2^53 here: nothing is rounded in any order.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :] - 2.0 * x @ y.T
    return np.sqrt(squared)


def _features(values: np.ndarray, name: str) -> np.ndarray:
    if values.ndim != 2 or len(values) < 4:
        raise ValueError(f"features {name} have shape {values.shape}; a distance needs (N, D) with N of at least 4")
    return values.astype(np.float64)


def _covariance(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    return centred.T @ centred / (len(values) - 1)


def _root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a symmetric positive semidefinite matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    dims = x.shape[1]
    k_xx, k_yy, k_xy = ((p @ q.T / dims + 1.0) ** 3 for p, q in ((x, x), (y, y), (x, y)))
    within_x = (k_xx.sum() - np.trace(k_xx)) / (len(x) * (len(x) - 1))
    within_y = (k_yy.sum() - np.trace(k_yy)) / (len(y) * (len(y) - 1))
    return float(within_x + within_y - 2.0 * k_xy.mean())
