"""Distances against closed forms, brute force and cases whose answer is known."""

import numpy as np
import pytest

from pipeline.evaluation.distances import (
    beside_floor,
    density_coverage,
    frechet,
    kernel_distance,
    nearest,
    nearest_neighbours,
    set_distances,
)


def gaussian(seed: int, n: int = 600, dims: int = 8, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (n, dims))


def test_frechet_is_the_closed_form_where_covariances_commute():
    a = gaussian(0, n=4000, dims=3)
    a = (a - a.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(a, rowvar=False))).T  # exactly N(0, I)
    stretch = np.array([1.0, 2.0, 5.0])
    b = a * stretch + np.array([1.0, -2.0, 0.5])
    expected = 1.0 + 4.0 + 0.25 + ((1.0 - stretch) ** 2).sum()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_agrees_with_scipy_on_covariances_that_do_not_commute():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = (gaussian(s) @ rng.normal(size=(8, 8)) for s in (2, 3))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    expected = shift @ shift + np.trace(cov_a + cov_b - 2.0 * sqrtm(cov_a @ cov_b).real)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)
    assert frechet(a, a) == 0.0


def test_below_rounding_there_is_no_frechet_distance():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        clips = rng.normal(size=(600, 64)) + 7.0
        assert frechet(clips, rng.permutation(clips)) == 0.0
        assert frechet(clips, clips + 0.01) == pytest.approx(64 * 0.01**2)


def test_kernel_distance_holds_zero_for_equal_laws_and_grows_with_the_shift():
    real = gaussian(0)
    same = kernel_distance(real, gaussian(1))
    near = kernel_distance(real, gaussian(2, shift=0.3))
    far = kernel_distance(real, gaussian(3, shift=0.8))
    assert same.low < 0.0 < same.high
    assert near.low > 0.0
    assert same.mean < near.mean < far.mean
    assert near.low < near.mean < near.high


def test_kernel_distance_is_unbiased():
    """Over many independent pairs of equal laws the estimates average out to zero within their own spread."""
    means = np.array([kernel_distance(gaussian(s, n=200), gaussian(s + 500, n=200), seeds=1).mean for s in range(60)])
    assert abs(means.mean()) < 3.0 * means.std() / np.sqrt(len(means))


def test_kernel_distance_is_the_formula_on_one_pair_of_blocks():
    a, b = gaussian(0, n=4, dims=2), gaussian(1, n=4, dims=2)

    def mmd(x, y):
        def k(p, q):
            return (p @ q / 2 + 1) ** 3

        n = len(x)
        off = [(i, j) for i in range(n) for j in range(n) if i != j]
        within = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in off) / (n * (n - 1))
        return within - 2 * sum(k(p, q) for p in x for q in y) / n**2

    rng = np.random.default_rng(0)
    order_a, order_b = rng.permutation(4), rng.permutation(4)
    expected = np.mean([mmd(a[order_a[i : i + 2]], b[order_b[i : i + 2]]) for i in (0, 2)])
    assert kernel_distance(a, b, seeds=1).mean == pytest.approx(expected)


def test_density_and_coverage_on_known_cases():
    real = gaussian(0)
    density, coverage = density_coverage(real, gaussian(1))
    assert density == pytest.approx(1.0, abs=0.1)
    assert coverage > 0.9
    assert density_coverage(real, gaussian(2, shift=50.0)) == (0.0, 0.0)
    one_mode = np.repeat(real[:1], 600, axis=0) + 1e-6 * gaussian(3)
    density, coverage = density_coverage(real, one_mode)
    assert coverage < 0.05, "a collapsed set covers next to nothing"


def test_nearest_is_brute_force():
    train, queries = gaussian(0, n=1500), gaussian(1, n=40)
    brute = np.linalg.norm(queries[:, None] - train[None], axis=-1)
    distances, index = nearest_neighbours(train, queries)
    np.testing.assert_allclose(distances, brute.min(1), rtol=1e-12)
    np.testing.assert_array_equal(index, brute.argmin(1))
    assert nearest(train, train[:5]).max() == 0.0
    clips = np.zeros((3, 2, 4, 4, 3), np.uint8)
    clips[1] = 200
    assert nearest(clips[:2], clips[2:])[0] == 0.0


def test_the_nearest_of_pixels_is_exact_in_any_order_and_on_any_threads():
    """Distances by a² + b² - 2ab in float32 once changed in their fourth digit with the threads."""
    rng = np.random.default_rng(0)
    train, queries = rng.integers(0, 4081, (700, 3000)), rng.integers(0, 4081, (20, 3000))
    train[300] = queries[7] + 1  # as near as neighbours get: all but the last bits cancel
    whole = [[int(((query - row) ** 2).sum()) for row in train] for query in queries]
    distances, index = nearest_neighbours(train, queries)
    assert [round(each**2) for each in distances] == [min(row) for row in whole]
    assert distances[7] == np.sqrt(3000.0)
    turned, back = nearest_neighbours(train[::-1, ::-1], queries[:, ::-1])
    np.testing.assert_array_equal(turned, distances)
    np.testing.assert_array_equal(len(train) - 1 - back, index)


def test_a_floor_of_zero_gives_no_ratio():
    train = gaussian(0, n=200)
    twice = set_distances(np.concatenate([train, train]), train, gaussian(1, n=200)).flat()
    assert twice["nearest_train.floor"] == 0.0
    assert twice["nearest_train.ratio"] is None
    assert "its floor is 0" in twice["nearest_train.note"]
    assert beside_floor("x", 3.0, 1.5) == {"x.distance": 3.0, "x.floor": 1.5, "x.ratio": 2.0}


def test_equal_laws_are_at_their_floor():
    """The mean of many pairs of sets, each beside a floor of its own."""
    ratios = [
        set_distances(gaussian(3 * k, n=200), gaussian(3 * k + 1, n=100), gaussian(3 * k + 2, n=100)).flat()
        for k in range(40)
    ]
    assert np.mean([each["frechet.ratio"] for each in ratios]) == pytest.approx(1.0, abs=0.06)


def test_set_distances_see_a_bad_set_and_a_memorised_one():
    train, val = gaussian(0, n=2000), gaussian(1)
    good = set_distances(train, val, gaussian(2)).flat()
    bad = set_distances(train, val, gaussian(3, shift=1.0)).flat()
    copies = set_distances(train, val, train[:600] + 0.01).flat()
    assert good["frechet.ratio"] < 2.0 < 10.0 < bad["frechet.ratio"]
    assert bad["coverage"] < 0.6 < good["coverage"]
    assert good["nearest_train.ratio"] == pytest.approx(1.0, abs=0.1)
    assert copies["nearest_train.ratio"] < 0.5


@pytest.mark.parametrize("shape", [(3, 4), (10,)])
def test_too_few_or_misshapen_features_are_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        frechet(np.zeros(shape), np.zeros((10, 4)))
    with pytest.raises(ValueError, match="more than k=5"):
        density_coverage(np.zeros((5, 2)), np.zeros((5, 2)))
