"""Models of stragglers: the factor by which a task takes longer than it should.

The models of the literature on coded computing: bimodal and persistent
slowness, shifted exponential (K. Lee et al., "Speeding up distributed machine
learning using codes", 2018, arXiv:1512.02673) and Pareto tails.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

__all__ = ["Bimodal", "Constant", "Model", "Pareto", "Persistent", "ShiftedExponential"]


@dataclass(frozen=True)
class Model(ABC):
    """Yields a factor of at least 0 for each task of one worker, one after the other."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if field.name == "probability" else np.inf
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                wanted = "a probability from 0 to 1" if most == 1.0 else "a number of at least 0"
                raise ValueError(f"{type(self).__name__}: {field.name}={value!r} is not valid; give {wanted}")

    @abstractmethod
    def factors(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield the factors of a worker's tasks, drawn from `rng`, without end."""


@dataclass(frozen=True)
class Constant(Model):
    """Every task takes `factor` times as long."""

    factor: float = 1.0

    def factors(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield the same factor again and again."""
        while True:
            yield self.factor


@dataclass(frozen=True)
class Bimodal(Model):
    """Each task by itself takes `factor` times as long with a given probability."""

    probability: float = 0.05
    factor: float = 10.0

    def factors(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield 1 or `factor`, independently for each task."""
        while True:
            yield self.factor if rng.random() < self.probability else 1.0


@dataclass(frozen=True)
class Persistent(Model):
    """Each worker is slow for good with a given probability: all its tasks take `factor` times as long."""

    probability: float = 0.1
    factor: float = 10.0

    def factors(self, rng: np.random.Generator) -> Iterator[float]:
        """Draw once, and yield that."""
        return Constant(self.factor if rng.random() < self.probability else 1.0).factors(rng)


@dataclass(frozen=True)
class ShiftedExponential(Model):
    """A task takes 1 plus an exponential variable of mean `mean` times as long."""

    mean: float = 0.5

    def factors(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield independent factors of at least 1."""
        while True:
            yield 1.0 + rng.exponential(self.mean)


@dataclass(frozen=True)
class Pareto(Model):
    """A task takes x times as long, with P(x > t) = t ** -shape for t >= 1."""

    shape: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape == 0:
            raise ValueError("Pareto: shape=0 is not valid; give a number above 0")

    def factors(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield independent factors of at least 1."""
        while True:
            yield 1.0 + rng.pareto(self.shape)
