"""The source text of the kernels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

__all__ = ["OPTIONS", "source"]

#: For the compiler, besides the architecture.
OPTIONS = ("-std=c++17",)


@lru_cache
def source(file: str) -> str:
    """Return all of a file of kernels, with what it shares with the others before it."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text() for name in ("common.cu", file))
