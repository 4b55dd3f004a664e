"""Which dtypes can be coded honestly, and in which one parity is kept.

Parity is a linear combination. It stands for the lost block only where the
computation is linear over the same numbers: floats up to rounding, integers
exactly in the ring of integers modulo 2**w. Everything else is refused here, with
the reason as text, rather than decoded to something that looks right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["codable", "parity_dtype", "real_dtype"]

DType = np.dtype[Any]

_FLOATS = frozenset("efd")
_COMPLEX = frozenset("FD")
_INTEGERS = frozenset("bBhHiIlLqQpP")
_REASONS = {
    "?": "bool arithmetic is logical (or of ands), not linear",
    "O": "object arrays have no known arithmetic",
    "g": "longdouble differs from machine to machine and has no fast kernels",
    "G": "complex longdouble differs from machine to machine and has no fast kernels",
    "M": "datetime64 values cannot be added",
    "m": "timedelta64 carries units and NaT, which sums do not keep",
    "V": "structured and void arrays have no arithmetic",
    "S": "strings have no arithmetic",
    "U": "strings have no arithmetic",
    "T": "strings have no arithmetic",
}


def codable(operand_dtype: DTypeLike, result_dtype: DTypeLike) -> str | None:
    """Say whether parity arithmetic over these dtypes is honest.

    Parameters
    ----------
    operand_dtype : dtype-like
        dtype of the blocks that are encoded.
    result_dtype : dtype-like
        dtype of the blocks that the computation yields.

    Returns
    -------
    str or None
        None if parity of the operand yields parity of the result, else the
        reason why not.

    Notes
    -----
    Integers are exact modulo 2**w only if *every* step of the computation works in
    the width of the result (or wraps to it): a product that wraps in int8 and is
    then summed in int64 is not linear. The two dtypes cannot show that; who
    follows the computation has to look at the steps in between.

    Examples
    --------
    >>> codable("float32", "float64") is None
    True
    >>> codable("float64", "int64")
    'float64 to int64 rounds, which is not linear'
    """
    operand, result = np.dtype(operand_dtype), np.dtype(result_dtype)
    for dtype in (operand, result):
        if dtype.char not in _FLOATS | _COMPLEX | _INTEGERS:
            return _REASONS.get(dtype.char, f"{dtype} has no arithmetic that can be coded")
    if result.kind in "iu" and operand.kind not in "iu":
        return f"{operand} to {result} rounds, which is not linear"
    if operand.kind == "c" and result.kind != "c":
        return f"{operand} to {result} drops a part, which is not linear over complex numbers"
    return None


def parity_dtype(operand_dtype: DTypeLike, result_dtype: DTypeLike) -> DType:
    """Return the dtype in which parity is encoded, kept and decoded.

    Parameters
    ----------
    operand_dtype, result_dtype : dtype-like
        As for `codable`.

    Returns
    -------
    numpy.dtype
        Integers: exactly the result's dtype, because the ring is the
        accumulator's (``np.sum`` of int8 works in int64). Floats and complex:
        both dtypes promoted, at least float32. Always in native byte order.

    Raises
    ------
    TypeError
        If the dtypes are not codable; the text is the reason.

    Examples
    --------
    >>> parity_dtype("float16", "float16")
    dtype('float32')
    >>> parity_dtype("int8", "int64")
    dtype('int64')
    """
    reason = codable(operand_dtype, result_dtype)
    if reason is not None:
        raise TypeError(f"cannot code {np.dtype(operand_dtype)} to {np.dtype(result_dtype)}: {reason}")
    operand, result = np.dtype(operand_dtype), np.dtype(result_dtype)
    if operand.kind in "iu":
        kept = result.newbyteorder("=")
    else:
        kept = np.promote_types(operand, result)
    return np.dtype(np.float32) if kept == np.float16 else kept


def real_dtype(dtype: DTypeLike) -> DType:
    """Return the dtype of the real part: the dtype itself unless it is complex."""
    dtype = np.dtype(dtype)
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype
