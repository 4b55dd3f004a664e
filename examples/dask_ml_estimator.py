"""An estimator of dask-ml, unmodified, while a worker is slow, frozen or killed.

Logistic regression of the handwritten digits that come with scikit-learn. An iteration is a fit by
ten steps of L-BFGS: of the noughts among all digits, of the ones, and so on. A column of ones for
the intercept and normalized columns belong before `dask_coded.encode`: lanes end where something
that is not coded is joined or subtracted, as dask-ml would do for each.

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
        estimator = LogisticRegression(
            solver="lbfgs", max_iter=10, fit_intercept=False, solver_kwargs={"normalize": False}
        )
        estimator.fit(X, (digits == step % 10).astype(float))
        weights.append(estimator.coef_)
        callback()
    return np.array(weights)


def data() -> tuple[np.ndarray, np.ndarray]:
    images, digits = load_digits(return_X_y=True)
    return images / 16, digits


def references(X: np.ndarray, digits: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    judge = linear_model.LogisticRegression(tol=1e-12, fit_intercept=False, solver="newton-cholesky")
    return {
        "one process": classifiers(X, digits, steps, lambda: None),
        "scikit-learn": np.array([judge.fit(X, digits == step % 10).coef_[0] for step in range(steps)]),
    }


def is_product(task: str) -> bool:
    return "tensordot" in task or task in ("sum", "sum-sum-aggregate")


if __name__ == "__main__":
    raise SystemExit(main(__doc__, classifiers, data, references, is_product))
