"""Heavy arithmetic on blocks: linear combinations, scaling, accuracy.

Coefficients come from elsewhere; nothing here knows which code they belong to. Blocks are
NumPy arrays, or CuPy arrays all of them; results are where the blocks are.
"""

from __future__ import annotations

from dask_coded.kernels.accumulate import Accumulator
from dask_coded.kernels.affine import RowWeights, levels_of_results
from dask_coded.kernels.blocks import decode_block, encode_block
from dask_coded.kernels.combine import combine
from dask_coded.kernels.dtypes import codable, parity_dtype
from dask_coded.kernels.scaling import NONFINITE, ZERO, merge_levels, row_levels

__all__ = [
    "NONFINITE",
    "ZERO",
    "Accumulator",
    "RowWeights",
    "codable",
    "combine",
    "decode_block",
    "encode_block",
    "levels_of_results",
    "merge_levels",
    "parity_dtype",
    "row_levels",
]
