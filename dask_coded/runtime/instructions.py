"""What the machine asks for: imperative, and safe to carry out late or twice."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from dask_coded.codes.code import Decoding
from dask_coded.runtime.group import Group

__all__ = [
    "Admit",
    "Close",
    "Drop",
    "FreeWorker",
    "Hold",
    "HoldWorker",
    "Instruction",
    "Launch",
    "Narrow",
    "Omit",
    "Rerun",
    "Stay",
    "Widen",
]


@dataclass(frozen=True)
class Instruction:
    """Base class."""


@dataclass(frozen=True)
class Hold(Instruction):
    """Keep these keys in memory once they are computed."""

    keys: tuple[Hashable, ...]


@dataclass(frozen=True)
class Launch(Instruction):
    """Compute these parity pieces now, unless more than `worth` seconds of other work must be redone.

    They run where their inputs are if `at_home`, on free workers otherwise.
    """

    group: Group
    keys: tuple[Hashable, ...]
    worth: float = math.inf
    at_home: bool = False


@dataclass(frozen=True)
class Omit(Instruction):
    """Do not run these tasks, though somebody waits for them: something else will take their place."""

    keys: tuple[Hashable, ...]


@dataclass(frozen=True)
class Stay(Instruction):
    """Let these tasks run on the worker named for each: work was shared out for good."""

    homes: Mapping[Hashable, str]


@dataclass(frozen=True)
class Admit(Instruction):
    """Let tasks that were omitted run after all."""

    keys: tuple[Hashable, ...]


@dataclass(frozen=True)
class Narrow(Instruction):
    """Let a target be decoded from these sources instead of waiting for its own piece."""

    group: Group
    index: int
    decoding: Decoding
    sources: tuple[Hashable, ...]


@dataclass(frozen=True)
class Widen(Instruction):
    """Let a target wait for its own piece again."""

    group: Group
    index: int


@dataclass(frozen=True)
class Drop(Instruction):
    """Nobody needs these tasks any more: free what waits, let what runs end."""

    keys: tuple[Hashable, ...]


@dataclass(frozen=True)
class Close(Instruction):
    """All targets of the group are done: restore the edges that were lent."""

    group: Group


@dataclass(frozen=True)
class HoldWorker(Instruction):
    """Give a worker no new work; `frozen` workers also lose the work they have."""

    worker: str
    frozen: bool
    reason: str


@dataclass(frozen=True)
class FreeWorker(Instruction):
    """A worker that was held back may have work again."""

    worker: str


@dataclass(frozen=True)
class Rerun(Instruction):
    """Run this late task elsewhere; its worker is held back already."""

    key: Hashable
    worker: str
