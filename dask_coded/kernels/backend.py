"""Which arithmetic the kernels use: NumPy's, or that compiled by Numba where it is there.

Numba is looked for when the first blocks are combined, and nowhere else. Compiling
takes seconds, which is longer than most combinations, so it is done beside the work:
until kernels are ready, NumPy does all of it, with the same results up to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from threading import Lock, Thread
from types import ModuleType

__all__ = ["KINDS", "compiled", "have_numba", "numpy_only", "prepare"]

#: What is compiled by itself: arithmetic of a dtype (its character), or of bytes.
KINDS = ("f", "d", "bytes")

logger = logging.getLogger(__name__)

_numpy_only: ContextVar[bool] = ContextVar("numpy_only", default=False)
_ready: dict[str, ModuleType] = {}
_asked: set[str] = set()
_compiling = Lock()


def have_numba() -> bool:
    """Tell whether kernels can be compiled here."""
    return find_spec("numba") is not None


def compiled(kind: str) -> ModuleType | None:
    """Return the module of compiled kernels if those of this kind are ready, else None.

    The first call for a kind starts their compilation.
    """
    if _numpy_only.get():
        return None
    if kind in KINDS and kind not in _asked:
        _asked.add(kind)
        if have_numba():
            Thread(
                target=_compile_beside, args=(kind,), name=f"compile kernels for {kind}", daemon=True
            ).start()
    return _ready.get(kind)


def prepare(*kinds: str) -> None:
    """Compile kernels now, if Numba is there, and return when they are ready.

    Parameters
    ----------
    *kinds : str
        Of `KINDS`; all of them by default.
    """
    for kind in kinds or KINDS:
        _asked.add(kind)
        if have_numba():
            _compile(kind)


@contextmanager
def numpy_only() -> Iterator[None]:
    """Leave compiled kernels alone meanwhile, in this thread: for tests and benchmarks."""
    token = _numpy_only.set(True)
    try:
        yield
    finally:
        _numpy_only.reset(token)


def _compile_beside(kind: str) -> None:
    try:
        _compile(kind)
    except Exception:  # whatever is wrong with it, NumPy can do all
        logger.warning("kernels for %s could not be compiled, NumPy is used instead", kind, exc_info=True)


def _compile(kind: str) -> None:
    with _compiling:
        if kind not in _ready:
            module = import_module("dask_coded.kernels.compiled")
            module.compile_kernels(kind)
            _ready[kind] = module
