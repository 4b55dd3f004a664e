"""Ridge regression by gradient descent while a worker is slow, frozen or killed.

Predicts how diabetes progresses from the ten measurements of each patient that come with
scikit-learn, their squares and their products. Every step reads the matrix twice: `X @ w`,
then `X.T @ residual`.

    python examples/ridge_regression.py
    python examples/ridge_regression.py --fault killed --steps 100 --seconds 0.02
"""

from __future__ import annotations

import dask.array as da
import numpy as np
from side_by_side import Callback, main
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

#: What scikit-learn's RidgeCV finds best.
ALPHA = 87.0
#: The best for eigenvalues of X.T @ X from nearly 0 to 4763.
RATE, MOMENTUM = 6.4e-4, 0.59


def ridge(X: da.Array, y: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return the weights after so many steps of gradient descent with momentum."""
    w = last = np.zeros(X.shape[1])
    for _ in range(steps):
        gradient = np.asarray(X.T @ (X @ w - y)) + ALPHA * w
        w, last = w - RATE * gradient + MOMENTUM * (w - last), w
        callback()
    return w


def data() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_diabetes(return_X_y=True)
    squares = PolynomialFeatures(2, include_bias=False)
    return make_pipeline(StandardScaler(), squares, StandardScaler()).fit_transform(X), y - y.mean()


def references(X: np.ndarray, y: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    return {
        "NumPy": ridge(X, y, steps, lambda: None),
        "scikit-learn": Ridge(ALPHA, fit_intercept=False).fit(X, y).coef_,
    }


if __name__ == "__main__":
    raise SystemExit(main(__doc__, ridge, data, references))
