"""Dask's own randomized SVD, unmodified, while a worker is slow, frozen or killed.

Principal components of the handwritten digits that come with scikit-learn by
`dask.array.linalg.svd_compressed`. An iteration is a whole decomposition, each from another seed,
in which the matrix is read eight times.

    python examples/svd_compressed.py
    python examples/svd_compressed.py --fault killed --steps 8
"""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
from side_by_side import Callback, main
from sklearn.datasets import load_digits

COMPONENTS = 5


def principal_axes(X: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return the leading right singular vectors, of the last decomposition."""
    for seed in range(steps):
        _, _, v = da.linalg.svd_compressed(X, 6 * COMPONENTS, n_power_iter=3, seed=seed)
        axes = pointing_up(v[:COMPONENTS].compute())
        callback()
    return axes


def pointing_up(axes: np.ndarray) -> np.ndarray:
    """Choose the signs, which nothing determines."""
    return axes * np.sign(axes.sum(axis=1, keepdims=True))


def data() -> tuple[np.ndarray]:
    images, _ = load_digits(return_X_y=True)
    return (images - images.mean(axis=0),)


def references(X: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    _, _, axes = np.linalg.svd(X, full_matrices=False)
    with dask.config.set(scheduler="synchronous"):
        alone = principal_axes(da.from_array(X), steps, lambda: None)
    return {"one process": alone, "NumPy's SVD": pointing_up(axes[:COMPONENTS])}


def is_product(task: str) -> bool:
    return "tensordot" in task or task in ("sum", "sum-sum-aggregate")


if __name__ == "__main__":
    raise SystemExit(main(__doc__, principal_axes, data, references, is_product))
