"""Tells the machine what happens, and has its answers carried out one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import time

from dask_coded.runtime import events as ev
from dask_coded.runtime import instructions as do
from dask_coded.runtime.machine import Machine
from dask_coded.runtime.scheduler_plugin.hands import Hands

__all__ = ["Driver"]


class Driver:
    """Stands between the hooks, the machine and the hands.

    Parameters
    ----------
    later : callable
        Calls a function once the scheduler is through with what it is at.
    tidy : callable
        Called after each round of instructions.
    """

    def __init__(
        self,
        machine: Machine,
        hands: Hands,
        later: Callable[[Callable[[], None]], None],
        tidy: Callable[[], None],
    ) -> None:
        self.machine = machine
        self.hands = hands
        self.later = later
        self.tidy = tidy
        self._steps: deque[do.Instruction] = deque()

    def tell(self, event: ev.Event) -> None:
        """Tell the machine; what it answers is carried out later."""
        self._steps.extend(self.machine.handle(event))
        if self._steps:
            self.later(self.flush)

    def in_transition(self, event: ev.Event) -> None:
        """Answer at once what must take effect before the scheduler goes on.

        Between a task's release and its next transition its spec can be
        changed; everything else waits until the scheduler is through.
        """
        for step in self.machine.handle(event):
            if isinstance(step, do.Narrow | do.Widen):
                targets = self.hands.states([step.group.targets[step.index]])
                if any(ts.state == "released" for ts in targets):
                    self._carry_out(step)
                    continue
            self._steps.append(step)
        if self._steps:
            self.later(self.flush)

    def place(self, event: ev.GroupsPlaced) -> None:
        """Have tasks left out before the scheduler sends them anywhere."""
        for step in self.machine.handle(event):
            if isinstance(step, do.Omit | do.Stay):
                self._carry_out(step)
            else:
                self._steps.append(step)

    def flush(self) -> None:
        """Carry out what waits."""
        while self._steps:
            self._carry_out(self._steps.popleft())
        self.tidy()

    def stop(self) -> None:
        """Carry out nothing more."""
        self._steps.clear()

    def _carry_out(self, step: do.Instruction) -> None:
        done = self.hands.carry_out(step)
        if isinstance(step, do.Narrow) and done:
            moved = sum(ts.get_nbytes() for ts in self.hands.states(step.sources))
            self.machine.counters.bytes_moved += moved
        elif isinstance(step, do.Narrow):
            gone = tuple(key for key in step.sources if not self.hands.is_readable(key))
            unread = ev.SourcesGone(time(), step.group.targets[step.index], gone)
            self._steps.extend(self.machine.handle(unread))
        elif isinstance(step, do.Launch) and not done:
            refused = ev.LaunchRefused(time(), step.group, step.keys)
            self._steps.extend(self.machine.handle(refused))
