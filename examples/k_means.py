"""K-means, Lloyd's algorithm, while a worker is slow, frozen or killed.

Ten clusters of the handwritten digits that come with scikit-learn, whose first ten are the first
centers. Every iteration reads the matrix twice: `X @ centers.T` for the distances, then
`members.T @ X` for the new centers.

    python examples/k_means.py
    python examples/k_means.py --fault killed --seconds 0.3
"""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
from side_by_side import Callback, main
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

CLUSTERS = 10


def centers(X: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return the centers after so many iterations."""
    found = np.asarray(X[:CLUSTERS])
    for _ in range(steps):
        # The squares of the rows are the same for all centers.
        distances = (found**2).sum(axis=1) - 2 * (X @ found.T)
        nearest = distances.argmin(axis=1)
        members = (nearest[:, None] == np.arange(CLUSTERS)).astype(float)
        sums, counts = dask.compute(members.T @ X, members.sum(axis=0))
        found = sums / counts[:, None]
        callback()
    return found


def data() -> tuple[np.ndarray]:
    images, _ = load_digits(return_X_y=True)
    return (images,)


def references(X: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    judge = KMeans(CLUSTERS, init=X[:CLUSTERS], n_init=1, max_iter=steps, tol=0, algorithm="lloyd")
    return {
        "NumPy": centers(X, steps, lambda: None),
        "scikit-learn": judge.fit(X).cluster_centers_,
    }


if __name__ == "__main__":
    raise SystemExit(main(__doc__, centers, data, references))
