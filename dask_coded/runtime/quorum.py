"""The task that stands for a target and may run from any sufficient set of pieces."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from dask._task_spec import Task, TaskRef

from dask_coded.runtime.group import Group

__all__ = ["Quorum", "own_piece"]


def own_piece(piece: Any, *parity: Any) -> Any:
    """Return the target's own piece and ignore the parity."""
    return piece


class Quorum(Task):  # type: ignore[misc]
    """Stands for target number `index` of `group`.

    Until the scheduler plugin has seen it, it depends on its own piece and on
    every parity piece of the group, so that Dask keeps those in the graph. Run
    without the plugin it yields its own piece, which is plain Dask's result.
    """

    group: Group
    index: int

    __slots__ = tuple(__annotations__)

    def __init__(self, key: Hashable, func: Any, /, *args: Any, group: Group, index: int, **kwargs: Any):
        self.group = group
        self.index = index
        super().__init__(key, func, *args, **kwargs)

    @classmethod
    def of(cls, group: Group, index: int) -> Quorum:
        """Return the quorum task of target `index`, under the target's key."""
        own = group.code.systematic[index]
        parity = [p for t, p in enumerate(group.pieces) if t not in group.code.systematic]
        refs = [TaskRef(key) for key in (group.pieces[own], *parity)]
        return cls(group.targets[index], own_piece, *refs, group=group, index=index)

    @property
    def block_fusion(self) -> bool:
        return True

    def copy(self) -> Quorum:
        return type(self)(self.key, self.func, *self.args, group=self.group, index=self.index, **self.kwargs)

    def __repr__(self) -> str:
        return f"<Quorum {self.key!r}: target {self.index} of {self.group.name}>"
