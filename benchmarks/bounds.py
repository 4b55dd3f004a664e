"""The best that a scheme could have done with the delays that were drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from dask.utils import key_split

from dask_coded.testing import Draw

__all__ = ["lower_bound"]


def _block(draw: Draw) -> tuple[int, ...]:
    """Return the coordinates of the output block that a task serves."""
    key = draw.key
    return tuple(key[-2:]) if isinstance(key, tuple) else ()


def lower_bound(draws: Iterable[Draw], blocks: int, copies: bool, late: bool) -> float | None:
    """Return the fewest units of time in which these draws allow all blocks to be had.

    One wave only: every block task has a worker of its own from the start. With
    coding, the bound is an order statistic: the time of the `blocks`-th task to
    finish, of own and parity tasks together. With copies, it is the slowest
    block's faster copy. Redundant tasks that are launched late start one unit
    later, since nothing can be late before its siblings have finished.

    Parameters
    ----------
    draws : iterable of Draw
        What each block product drew, redundant ones included.
    blocks : int
        Blocks of the result.
    copies : bool
        Redundant tasks are copies and serve their own block only.
    late : bool
        Redundant tasks are launched late.

    Returns
    -------
    float or None
        None where too few tasks are known.
    """
    finish = [(_block(draw), draw.factor + (late and _is_redundant(draw))) for draw in draws]
    if copies:
        best: dict[tuple[int, ...], float] = defaultdict(lambda: float("inf"))
        for block, time in finish:
            best[block] = min(best[block], time)
        return max(best.values()) if len(best) == blocks else None
    ordered = sorted(time for _, time in finish)
    return ordered[blocks - 1] if len(ordered) >= blocks else None


def _is_redundant(draw: Draw) -> bool:
    return str(key_split(draw.key)).startswith("parity")
