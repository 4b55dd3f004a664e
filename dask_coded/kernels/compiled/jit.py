"""How the kernels are compiled, and how they get at memory by its address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["LINE", "at", "jit", "prefetch", "xor_byte", "xor_line"]

LINE = 64  # bytes


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


def _xor(bits: int, count: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def function(typing_context: Any, target: Any, sources: Any, place: Any) -> Any:
        signature = types.void(target, sources, place)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            into, found, offset = arguments
            kind = ir.VectorType(ir.IntType(bits), count).as_pointer()
            total = None
            for address in cgutils.unpack_tuple(builder, found):
                where = builder.inttoptr(builder.add(address, offset), kind)
                value = builder.load(where, align=1)
                total = value if total is None else builder.xor(total, value)
            builder.store(total, builder.inttoptr(builder.add(into, offset), kind), align=1)
            return context.get_dummy_value()

        return signature, generate

    return function


#: Put the XOR of the lines that begin `place` bytes behind some addresses as far behind another one.
#: Loops over bytes would be made this only for one target, and where nothing can overlap.
xor_line = _xor(64, LINE // 8)
#: The same of single bytes.
xor_byte = _xor(8, 1)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing_context: Any, addresses: Any, place: Any) -> Any:
    """Have the lines `place` bytes behind some addresses brought to the second cache."""
    signature = types.void(addresses, place)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        how = number(0), number(2), number(1)  # to read, into the second cache, data
        for address in cgutils.unpack_tuple(builder, arguments[0]):
            where = builder.inttoptr(builder.add(address, arguments[1]), byte)
            builder.call(function, [where, *how])
        return context.get_dummy_value()

    return signature, generate
