"""What the user wants, frozen so that it can travel inside the optimizer to the scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dask_coded.runtime.group import Lateness, Launch

if TYPE_CHECKING:
    from dask_coded.codes import Code

__all__ = ["Settings"]

COARSEST = 1 / 32  # of all default tolerances: 1024 units of float16 would be everything


@dataclass(frozen=True)
class Settings:
    """All knobs of the rewriting. Values are checked where they come in, not here.

    Parameters
    ----------
    parity : int or (int, int)
        Parity pieces of each group; two numbers for rows and columns. With
        ``code="auto"`` two positive numbers mean a product code.
    code : {"auto", "parity", "product", "replication"}
        Family of the code.
    group : int, optional
        Blocks of one group at most; otherwise chosen from `workers`.
    axis : {"auto", "rows", "columns"}
        Which output axis of a product is coded: that of its left or of its right
        operand.
    launch : {"late", "eager", "adaptive"}
        When parity is computed.
    late : Lateness
        When a task counts as late.
    tolerance : float, optional
        Largest estimated relative error of a decoded block; 1024 eps by default.
    min_columns : float
        A coded block must serve at least this many columns of the other operand.
    min_seconds : float
        Block products that take less are not worth coding.
    force : bool
        Code even what does not pay. Never overrides correctness.
    dry : bool
        Decide and log, but change nothing.
    scale : bool
        Bring rows to one magnitude before they are summed.
    workers : int, optional
        Workers that the groups can be spread over.
    explicit : Code, optional
        Use this code instead of choosing one.
    """

    parity: int | tuple[int, int] = 1
    code: Literal["auto", "parity", "product", "replication"] = "auto"
    group: int | None = None
    axis: Literal["auto", "rows", "columns"] = "auto"
    launch: Launch = "late"
    late: Lateness = Lateness()
    tolerance: float | None = None
    min_columns: float = 100
    min_seconds: float = 0.01
    force: bool = False
    dry: bool = False
    scale: bool = True
    workers: int | None = None
    explicit: Code | None = None

    @property
    def redundancy(self) -> tuple[int, int]:
        """Parity pieces along rows and along columns."""
        return self.parity if isinstance(self.parity, tuple) else (self.parity, self.parity)

    @property
    def both_axes(self) -> bool:
        """Whether rows and columns are to be coded together."""
        if self.explicit is not None:
            return len(self.explicit.encodings) == 2
        if self.code == "auto":
            return isinstance(self.parity, tuple) and min(self.parity) > 0
        return self.code == "product" and min(self.redundancy) > 0

    def tolerance_of(self, dtype: np.dtype[Any]) -> float:
        """Return the largest estimated relative error of a decoded block of this dtype."""
        if dtype.kind not in "fc":
            return 0.0
        if self.tolerance is not None:
            return self.tolerance
        return min(1024 * float(np.finfo(dtype).eps), COARSEST)
