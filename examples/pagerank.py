"""PageRank while a worker is slow, frozen or killed.

Each of a thousand handwritten digits that come with scikit-learn links to the ten most like it:
the ranks tell how typical each is. A step multiplies the ranks by the matrix of links.

    python examples/pagerank.py
    python examples/pagerank.py --fault killed --steps 150 --seconds 0.02
"""

from __future__ import annotations

import dask.array as da
import numpy as np
from scipy.sparse.linalg import eigs
from side_by_side import Callback, main
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph

PAGES, LINKS = 1000, 10
DAMPING = 0.85


def pagerank(links: da.Array, steps: int, callback: Callback) -> np.ndarray:
    """Return the ranks after so many steps, for links from columns to rows."""
    ranks = np.full(PAGES, 1 / PAGES)
    for _ in range(steps):
        ranks = DAMPING * np.asarray(links @ ranks) + (1 - DAMPING) / PAGES
        callback()
    return ranks


def data() -> tuple[np.ndarray]:
    images, _ = load_digits(return_X_y=True)
    return (kneighbors_graph(images[:PAGES], LINKS).toarray().T / LINKS,)


def references(links: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    _, found = eigs(DAMPING * links + (1 - DAMPING) / PAGES, k=1, tol=1e-14)
    return {
        "NumPy": pagerank(links, steps, lambda: None),
        "SciPy's eigenvector": (found[:, 0] / found[:, 0].sum()).real,
    }


if __name__ == "__main__":
    raise SystemExit(main(__doc__, pagerank, data, references))
