"""SciPy's conjugate gradients on a Dask matrix while a worker is slow, frozen or killed.

Kernel ridge regression of a thousand handwritten digits that come with scikit-learn (below five, or
not): the system `(K + alpha I) w = y`, whose matrix is multiplied by a vector in each iteration.

    python examples/conjugate_gradients.py
    python examples/conjugate_gradients.py --fault frozen --seconds 0.3
"""

from __future__ import annotations

import dask.array as da
import numpy as np
from scipy.linalg import solve
from scipy.sparse.linalg import LinearOperator, cg
from side_by_side import Callback, main
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel

IMAGES, GAMMA, ALPHA = 1000, 0.7, 10.0


def solution(A: da.Array, y: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return what conjugate gradients have found after so many steps."""
    operator = LinearOperator(A.shape, lambda v: np.asarray(A @ v), dtype=A.dtype)
    w, _ = cg(operator, np.asarray(y), rtol=0, maxiter=steps, callback=callback)
    return w


def data() -> tuple[np.ndarray, np.ndarray]:
    images, digits = load_digits(return_X_y=True)
    kernel = rbf_kernel(images[:IMAGES] / 16, gamma=GAMMA)
    return kernel + ALPHA * np.eye(len(kernel)), np.where(digits[:IMAGES] < 5, 1.0, -1.0)


def references(A: np.ndarray, y: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    return {
        "NumPy": solution(A, y, steps, lambda _: None),
        "SciPy's solve": solve(A, y, assume_a="pos"),
    }


if __name__ == "__main__":
    raise SystemExit(main(__doc__, solution, data, references))
