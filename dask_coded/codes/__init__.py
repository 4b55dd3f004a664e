"""Codes: which pieces to compute and which finished pieces are enough.

Coefficients only, NumPy only. A code never sees a block; `dask_coded.kernels`
applies the weights that a code plans.

A new code is one file here, one line in `FAMILIES` and one row in the matrix of
``tests/codes/test_laws.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from dask_coded.codes.code import Code, Decoding
from dask_coded.codes.extend import extend
from dask_coded.codes.local import block_diag, local
from dask_coded.codes.parity import parity
from dask_coded.codes.product import kron, product
from dask_coded.codes.replication import replication

__all__ = [
    "FAMILIES",
    "Code",
    "Decoding",
    "block_diag",
    "extend",
    "kron",
    "local",
    "parity",
    "product",
    "replication",
]

#: Constructors by name. Combinators (`kron`, `block_diag`, `extend`) take codes and are not families.
FAMILIES: Mapping[str, Callable[..., Code]] = MappingProxyType(
    {
        "local": local,
        "parity": parity,
        "product": product,
        "replication": replication,
    }
)
