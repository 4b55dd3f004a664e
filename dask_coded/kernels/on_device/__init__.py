"""What `dask_coded.kernels` does, for blocks on a device: the same meaning, results stay there.

The functions here are called by their namesakes after all arguments were checked.
Kernels are CUDA C++ in the `.cu` files; `dask_coded.kernels.cuda` runs them.
"""

from __future__ import annotations

from dask_coded.kernels.on_device.blocks import combine, decode_rows, encode
from dask_coded.kernels.on_device.bytes import as_bytes, checksum, collect, from_bytes, syndromes
from dask_coded.kernels.on_device.rows import row_divisors, row_factors, row_levels

__all__ = [
    "as_bytes",
    "checksum",
    "collect",
    "combine",
    "decode_rows",
    "encode",
    "from_bytes",
    "row_divisors",
    "row_factors",
    "row_levels",
    "syndromes",
]
