"""The frozen values that cross from the client to the scheduler.

A `Group` names the Dask keys of the pieces that decode together and of the
targets that they must yield. It holds coefficients and names, never data.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

from dask_coded.codes.code import Code

__all__ = ["Group", "Lateness", "Launch"]

Launch = Literal["late", "eager", "adaptive"]


@dataclass(frozen=True)
class Lateness:
    """When a task counts as late, and how much redundancy answers it.

    Parameters
    ----------
    quantile : float
        Share of a task's siblings that must have finished before any is late.
    multiplier : float
        A task is late once it has run `multiplier` times the median of its
        finished siblings. Siblings that agree closely lower this bound, though
        never below 1.05 times the median; siblings that differ wildly raise it.
    interval : float
        Seconds between two looks at the running tasks.
    min_task_runtime : float
        Tasks younger than this many seconds are never late.
    spare : int
        Parity pieces launched beyond the number of late ones.
    max_concurrent : int
        Parity pieces of one group in flight at most; 0 means no limit.
    silence : float
        Seconds without a sign of life after which a worker counts as frozen; half as many
        where it is held back as late, and the others answer in time.
    """

    quantile: float = 0.5
    multiplier: float = 1.5
    interval: float = 0.05
    min_task_runtime: float = 0.1
    spare: int = 1
    max_concurrent: int = 0
    silence: float = 2.5


@dataclass(frozen=True, eq=False)
class Group:
    """Pieces that decode together and the targets that they must yield.

    Parameters
    ----------
    name : str
        Unique and deterministic (a Dask token).
    code : Code
        Coefficients; ``code.n == len(pieces)``.
    pieces : tuple of keys
        ``pieces[t]`` is the key whose result is the code's piece t.
    targets : tuple of keys
        ``targets[w]`` is the key of the quorum task of target w. Its own piece
        is ``pieces[code.systematic[w]]``.
    lanes : tuple of tuple of keys
        ``lanes[t]``: every task that serves piece t and no other, the piece
        itself included.
    inputs : tuple of keys
        Encode tasks that serve parity lanes of this group (maybe of others too).
    cohorts : dict of key to str
        For the tasks in `lanes`: tasks of one cohort do equal work.
    shapes : tuple of tuple of int
        Shape of each target's block.
    axis : int
        Axis of the blocks along which `code.sub_blocks` cuts them.
    length : int
        Length of that axis in a parity piece.
    dtype : str
        dtype of the targets, as NumPy spells it.
    tolerance : float
        Largest estimated relative error (worst row) of a decoded block.
    launch : {"late", "eager", "adaptive"}
        When parity is computed; ``"adaptive"``: once something is late, and from the
        beginning in place of pieces on slow workers.
    late : Lateness
        When a task counts as late.
    scales : key, optional
        Task that yields the row levels used by the encode tasks,
        one row for each systematic piece.
    label : str
        What the user would call the computation, for reports.
    patience : float, optional
        The parity pieces are blocks of a prior. They stand in for targets that have
        not come within so many seconds after most of the others.
    affine : bool
        The lanes add numbers to blocks: those of rows of zeros are none.
    addends : int
        Numbers that the lanes add up, one after the other, to one.
    parts : tuple of str
        Groups whose targets add up to the only target. Its second piece adds up their
        parity: the same sum in another order, for when their targets cannot be decoded.
    """

    name: str
    code: Code
    pieces: tuple[Hashable, ...]
    targets: tuple[Hashable, ...]
    lanes: tuple[tuple[Hashable, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    axis: int
    length: int
    dtype: str
    tolerance: float
    inputs: tuple[Hashable, ...] = ()
    cohorts: dict[Hashable, str] = field(default_factory=dict)
    launch: Launch = "late"
    late: Lateness = Lateness()
    scales: Hashable | None = None
    label: str = ""
    patience: float | None = None
    affine: bool = False
    addends: int = 1
    parts: tuple[str, ...] = ()

    @property
    def substitutes(self) -> bool:
        """True if blocks of a prior replace late targets; no parity decodes them."""
        return self.patience is not None
