"""An estimator of dask-ml, unmodified, while a worker is slow, frozen or killed.

Logistic regression of the handwritten digits that come with scikit-learn. An iteration is a fit by
ten steps of L-BFGS: of the noughts among all digits, of the ones, and so on. For each dask-ml joins a
column of ones for the intercept and normalizes all columns: products with the result still run coded.

    pip install dask-ml
    python examples/dask_ml_estimator.py --steps 10
    python examples/dask_ml_estimator.py --steps 10 --fault killed
"""

from __future__ import annotations

import dask.array as da
import numpy as np
from dask_ml.linear_model import LogisticRegression
from side_by_side import Callback, main
from sklearn import linear_model
from sklearn.datasets import load_digits


def classifiers(X: da.Array, digits: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return the weights of each classifier."""
    weights = []
    for step in range(steps):
        estimator = LogisticRegression(solver="lbfgs", max_iter=10)
        estimator.fit(X, (digits == step % 10).astype(float))
        weights.append(estimator.coef_)
        callback()
    return np.array(weights)


def data() -> tuple[np.ndarray, np.ndarray]:
    images, digits = load_digits(return_X_y=True)
    return images[:, images.std(axis=0) > 0] / 16, digits


def references(X: np.ndarray, digits: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    judge = linear_model.LogisticRegression(tol=1e-12, fit_intercept=False, solver="newton-cholesky")
    Z = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))])
    fitted = np.array([judge.fit(Z, digits == step % 10).coef_[0] for step in range(steps)])
    return {
        "one process": classifiers(X, digits, steps, lambda: None),
        "scikit-learn": fitted[:, :-1] / X.std(axis=0),
    }


def is_product(task: str) -> bool:
    return "tensordot" in task or task in ("sum", "sum-sum-aggregate")


if __name__ == "__main__":
    raise SystemExit(main(__doc__, classifiers, data, references, is_product))
