"""What the machine is told: past tense, with the time in it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from dask_coded.runtime.group import Group

__all__ = [
    "DecodeFailed",
    "Event",
    "GroupAdded",
    "GroupsPlaced",
    "KeyErred",
    "KeyFinished",
    "KeyFixed",
    "KeyForgotten",
    "KeyReleased",
    "LaunchRefused",
    "Running",
    "SourcesGone",
    "Ticked",
    "WorkerLeft",
]


@dataclass(frozen=True)
class Event:
    """Base class; `now` is in seconds on any clock that never runs backwards."""

    now: float


@dataclass(frozen=True)
class GroupAdded(Event):
    """A graph with this group arrived; its parity edges are off.

    `targets` are the indices of the targets that came with it, all when None.
    """

    group: Group
    targets: tuple[int, ...] | None = None


@dataclass(frozen=True)
class GroupsPlaced(Event):
    """A graph arrived whose groups read what is in memory already.

    Parameters
    ----------
    homes : dict of str to dict of int to tuple of str
        For each group, by name: the workers that hold what a piece is computed from.
    seconds : dict of str to float
        What one piece of each group takes, by the scheduler's measure.
    threads : dict of str to int
        Threads of the workers.
    """

    homes: Mapping[str, Mapping[int, tuple[str, ...]]]
    seconds: Mapping[str, float]
    threads: Mapping[str, int]


@dataclass(frozen=True)
class KeyFinished(Event):
    """A task's result is in memory.

    `seconds` is what it took `worker` to compute, `turnaround` that and what came before,
    such as fetching what it reads; `decoded` tells that a target came from other pieces, not
    from its own.
    """

    key: Hashable
    seconds: float = 0.0
    nbytes: int = 0
    decoded: bool = False
    worker: str = ""
    turnaround: float = 0.0


@dataclass(frozen=True)
class KeyReleased(Event):
    """A task left memory or its worker.

    `needed` tells that somebody still waits for it, that is, it was lost.
    """

    key: Hashable
    needed: bool = True


@dataclass(frozen=True)
class KeyFixed(Event):
    """A target must be what its own piece is, to the bit: others have read it."""

    key: Hashable


@dataclass(frozen=True)
class KeyErred(Event):
    """A task raised, or its workers died once too often."""

    key: Hashable


@dataclass(frozen=True)
class KeyForgotten(Event):
    """The scheduler dropped the key for good."""

    key: Hashable


@dataclass(frozen=True)
class DecodeFailed(Event):
    """The decode of a target was refused by its own check."""

    key: Hashable
    reason: str = ""


@dataclass(frozen=True)
class SourcesGone(Event):
    """A target cannot be decoded as planned: what it was to read is on no worker that answers."""

    key: Hashable
    gone: tuple[Hashable, ...]


@dataclass(frozen=True)
class LaunchRefused(Event):
    """Parity pieces were not launched: what they are made of is gone, and dear to compute again."""

    group: Group
    keys: tuple[Hashable, ...]


@dataclass(frozen=True)
class Running:
    """One look at a task that a worker is executing, or is to begin with.

    Nobody waits any more for `overtaken` ones. Those not `confirmed` by a heartbeat
    may still wait for their inputs.
    """

    worker: str
    seconds: float
    cohort: str
    overtaken: bool = False
    confirmed: bool = True


@dataclass(frozen=True)
class Ticked(Event):
    """Time passed: who runs what since when, and who has gone quiet.

    Parameters
    ----------
    running : dict of key to Running
        Tasks that are being executed; only those of coded computations.
    threads : dict of str to int
        Threads of each worker that accepts tasks.
    silent : tuple of str
        Workers without a sign of life for too long.
    recovered : tuple of str
        Workers held back earlier that are idle and answering again.
    occupied : tuple of str
        Workers whose threads all run what the scheduler has dropped, while ours wait there.
    arriving : dict of key to Running
        Tasks that a heartbeat says are not being executed, though threads are free: their
        worker fetches what they read, or is slow in everything.
    """

    running: Mapping[Hashable, Running] = field(default_factory=dict)
    threads: Mapping[str, int] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    recovered: tuple[str, ...] = ()
    occupied: tuple[str, ...] = ()
    arriving: Mapping[Hashable, Running] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerLeft(Event):
    """A worker is gone from the cluster."""

    worker: str
