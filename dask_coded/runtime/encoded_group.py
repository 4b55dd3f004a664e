"""The frozen value that tells the scheduler how the parity of an encoded array is made."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dask_coded.runtime.group import Group

__all__ = ["EncodedArray", "EncodedGroup"]


@dataclass(frozen=True, eq=False)
class EncodedGroup:
    """Blocks of an encoded array that share parity.

    Parameters
    ----------
    group : Group
        Its pieces are the blocks, which are its targets, and their parity.
    tasks : dict
        Every task that makes parity and row scales from the blocks.
    """

    group: Group
    tasks: Mapping[Hashable, Any]


class EncodedArray(Protocol):
    """An encoded array, as far as the scheduler needs to know it."""

    @property
    def name(self) -> str:
        """Of the array."""

    def groups(self) -> tuple[EncodedGroup, ...]:
        """Return all groups of its blocks."""
