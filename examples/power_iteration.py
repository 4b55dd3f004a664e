"""Principal components by power iteration while a worker is slow, frozen or killed.

The five leading axes of the handwritten digits that come with scikit-learn. Every step
multiplies a few vectors by `X`, then by `X.T`, and makes them orthogonal again.

    python examples/power_iteration.py
    python examples/power_iteration.py --fault frozen --seconds 0.3
"""

from __future__ import annotations

import dask.array as da
import numpy as np
from side_by_side import Callback, main
from sklearn.datasets import load_digits

COMPONENTS = 5


def principal_axes(X: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return the leading right singular vectors; the more vectors are iterated, the sooner it converges."""
    axes = np.random.default_rng(0).normal(size=(X.shape[1], 4 * COMPONENTS))
    for _ in range(steps):
        axes, _, _ = np.linalg.svd(np.asarray(X.T @ (X @ axes)), full_matrices=False)
        callback()
    return pointing_up(axes[:, :COMPONENTS])


def pointing_up(axes: np.ndarray) -> np.ndarray:
    """Choose the signs, which nothing determines."""
    return axes * np.sign(axes.sum(axis=0))


def data() -> tuple[np.ndarray]:
    images, _ = load_digits(return_X_y=True)
    return (images - images.mean(axis=0),)


def references(X: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    _, _, axes = np.linalg.svd(X, full_matrices=False)
    return {
        "NumPy": principal_axes(X, steps, lambda: None),
        "NumPy's SVD": pointing_up(axes[:COMPONENTS].T),
    }


if __name__ == "__main__":
    raise SystemExit(main(__doc__, principal_axes, data, references))
