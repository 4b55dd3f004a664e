"""Straggler models: reproducible, and distributed as they say."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from dask_coded import testing


def draw(model: testing.Model, count: int = 20_000, seed: int = 0) -> np.ndarray:
    return np.array(list(islice(model.factors(np.random.default_rng(seed)), count)))


MODELS = [
    testing.Constant(3.0),
    testing.Bimodal(0.1, 5.0),
    testing.Persistent(0.5, 4.0),
    testing.ShiftedExponential(0.5),
    testing.Pareto(3.0),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_equal_seeds_draw_equal_factors(model: testing.Model) -> None:
    assert np.array_equal(draw(model, 50), draw(model, 50))
    assert draw(model, 50).min() >= 1.0


def test_means_are_those_of_the_distributions() -> None:
    assert draw(testing.Constant(3.0)).tolist() == [3.0] * 20_000
    assert np.mean(draw(testing.Bimodal(0.1, 5.0)) == 5.0) == pytest.approx(0.1, abs=0.01)
    assert draw(testing.ShiftedExponential(0.5)).mean() == pytest.approx(1.5, abs=0.02)
    assert draw(testing.Pareto(3.0)).mean() == pytest.approx(1.5, abs=0.03)
    assert np.mean(draw(testing.Pareto(3.0)) > 2.0) == pytest.approx(1 / 8, abs=0.01)


def test_persistent_worker_is_slow_or_not_for_good() -> None:
    model = testing.Persistent(0.5, 4.0)
    found = {tuple(set(draw(model, 20, seed))) for seed in range(20)}
    assert found == {(1.0,), (4.0,)}


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (testing.Constant, (-1.0,)),
        (testing.Bimodal, (1.5,)),
        (testing.Bimodal, (0.1, float("nan"))),
        (testing.Persistent, ("often",)),
        (testing.Pareto, (0,)),
        (testing.ShiftedExponential, (True,)),
    ],
)
def test_bad_parameters_are_refused_by_name(kind: type, arguments: tuple) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}: \w+=.*give a"):
        kind(*arguments)
