"""The tasks that protect blocks in memory: encode their bytes, and rebuild what is lost."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from dask._task_spec import List, Task, TaskRef

from dask_coded.kernels.erasure import ParityPiece, encode, recover

__all__ = [
    "copy_task",
    "encode_task",
    "finished_task",
    "lost_task",
    "parity_again_task",
    "parity_task",
    "rebuild_task",
]


def encode_bytes(blocks: Sequence[Any], parity: int) -> tuple[ParityPiece, ...]:
    """Return the parity pieces of some blocks."""
    return encode(blocks, parity)


def pick_parity(pieces: Sequence[ParityPiece], index: int) -> ParityPiece:
    """Return one of the parity pieces, to be held by a worker of its own."""
    return pieces[index]


def parity_again(blocks: Sequence[Any], parity: int, index: int) -> ParityPiece:
    """Return a parity piece that was lost."""
    return encode(blocks, parity)[index]


def rebuild(index: int, numbers: Sequence[int], pieces: Sequence[Any]) -> Any:
    """Return a lost block from other pieces of its group, bit for bit."""
    blocks = {number: piece for number, piece in zip(numbers, pieces, strict=True) if not is_parity(piece)}
    parity = [piece for piece in pieces if is_parity(piece)]
    return recover([index], blocks, parity).pieces[index]


def is_parity(piece: Any) -> bool:
    return isinstance(piece, ParityPiece)


def finished() -> None:
    """Stand for a parity piece that is in memory and owes nothing to its blocks any more."""


def lost(key: Hashable) -> None:
    """Stand for data that came from a client and is nowhere any more."""
    raise LookupError(
        f"{key!r} was sent to the cluster by a client; more workers that held it and its parity were lost "
        "than the parity covers: send it again"
    )


def copied(value: Any) -> Any:
    """Return what is given: a second copy of something small, on another worker."""
    return value


def copy_task(key: Hashable, original: Hashable) -> Task:
    """Return the task that yields a copy of something small, to be held by a worker of its own."""
    return Task(key, copied, TaskRef(original))


def encode_task(key: Hashable, blocks: Sequence[Hashable], parity: int) -> Task:
    """Return the task that encodes `blocks`."""
    return Task(key, encode_bytes, List(*map(TaskRef, blocks)), parity)


def parity_task(key: Hashable, encoded: Hashable, index: int) -> Task:
    """Return the task that yields parity piece number `index`."""
    return Task(key, pick_parity, TaskRef(encoded), index)


def parity_again_task(key: Hashable, blocks: Sequence[Hashable], parity: int, index: int) -> Task:
    """Return the task that yields a lost parity piece from the blocks."""
    return Task(key, parity_again, List(*map(TaskRef, blocks)), parity, index)


def finished_task(key: Hashable) -> Task:
    """Return the spec of a parity piece that is in memory: without any edges."""
    return Task(key, finished)


def lost_task(key: Hashable) -> Task:
    """Return the spec of data that no task has made."""
    return Task(key, lost, key)


def rebuild_task(key: Hashable, index: int, sources: Mapping[int, Hashable]) -> Task:
    """Return the task that yields block number `index` from `sources`: pieces by number."""
    return Task(key, rebuild, index, tuple(sources), List(*map(TaskRef, sources.values())))
