"""How the kernels are compiled, and how they get at memory by its address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import carray, njit, types
from numba.extending import intrinsic

__all__ = ["at", "jit"]


def jit(*flags: str) -> Callable[[Any], Any]:
    """Compile without the interpreter lock; `flags` are what LLVM may do to floats."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(flags)}

    def decorate(function: Any) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no directory for a cache can be written to
            return njit(**options)(function)

    return decorate


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing_context: Any, address: Any, dtype: Any) -> Any:
    signature = types.CPointer(dtype.dtype)(address, dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return signature, generate


@jit()
def at(address: Any, size: Any, dtype: Any) -> Any:
    """Return the array of `size` elements at an address."""
    return carray(_pointer(address, dtype), size)
