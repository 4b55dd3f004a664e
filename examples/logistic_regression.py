"""Train a classifier while a worker is slow, frozen or killed.

Logistic regression of the handwritten digits that come with scikit-learn (below five, or
not) by L-BFGS. Every evaluation reads the whole matrix twice: `X @ w`, then `X.T @ residual`.

    python examples/logistic_regression.py
    python examples/logistic_regression.py --fault frozen --seconds 0.5
"""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
from scipy.optimize import minimize
from side_by_side import Callback, main
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

RIDGE = 10.0


def train(X: da.Array, y: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return the weights after so many iterations."""

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = X @ w
        residual = 1 / (1 + np.exp(-margin)) - y
        value = (np.logaddexp(0, margin) - y * margin).sum()
        found, gradient = dask.compute(value, X.T @ residual)
        return found + RIDGE / 2 * w @ w, gradient + RIDGE * w

    options = {"maxiter": steps, "ftol": 0, "gtol": 1e-12}
    start = np.zeros(X.shape[1])
    return minimize(loss, start, jac=True, method="L-BFGS-B", callback=callback, options=options).x


def data() -> tuple[np.ndarray, np.ndarray]:
    images, digits = load_digits(return_X_y=True)
    return images / 16, (digits < 5).astype(float)


def references(X: np.ndarray, y: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    judge = LogisticRegression(C=1 / RIDGE, fit_intercept=False, solver="newton-cholesky", tol=1e-12)
    return {"NumPy": train(X, y, steps, lambda _: None), "scikit-learn": judge.fit(X, y).coef_[0]}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, train, data, references))
