"""Train a small neural network on all data at once while a worker is slow, frozen or killed.

The handwritten digits that come with scikit-learn, one hidden layer, cross entropy. Each worker
computes the gradient of its own images; only the products with `X` are of encoded blocks.

    python examples/neural_network.py
    python examples/neural_network.py --fault frozen --seconds 0.3
"""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
from side_by_side import Callback, main
from sklearn.datasets import load_digits

HIDDEN, CLASSES = 32, 10
RATE = 1.0


def train(X: da.Array, y: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return the weights of both layers after so many steps of gradient descent."""
    rng = np.random.default_rng(0)
    inner = rng.normal(size=(X.shape[1], HIDDEN)) / X.shape[1] ** 0.5
    outer = rng.normal(size=(HIDDEN, CLASSES)) / HIDDEN**0.5
    for _ in range(steps):
        hidden = np.tanh(X @ inner)
        likely = np.exp(hidden @ outer)
        errors = likely / likely.sum(axis=1, keepdims=True) - y
        slopes = errors @ outer.T * (1 - hidden**2)
        inner_gradient, outer_gradient = dask.compute(X.T @ slopes, hidden.T @ errors)
        inner -= RATE * inner_gradient / len(X)
        outer -= RATE * outer_gradient / len(X)
        callback()
    return np.concatenate([inner.ravel(), outer.ravel()])


def data() -> tuple[np.ndarray, np.ndarray]:
    images, digits = load_digits(return_X_y=True)
    return images / 16, np.eye(CLASSES)[digits]


def references(X: np.ndarray, y: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    return {"NumPy": train(X, y, steps, lambda: None)}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, train, data, references))
