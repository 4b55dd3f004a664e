"""What is in this process: schedulers with our plugin, and encoded arrays that graphs have brought along.

The optimizer asks, which runs where the scheduler is, in a thread of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

from dask_coded.runtime.encoded_group import EncodedArray

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["announce", "encoded_arrays", "schedulers", "workers"]

#: Encoded arrays that are remembered; the oldest ones are then plain arrays to later graphs.
MOST_ENCODED = 1000

#: Those that the plugin runs on.
schedulers: WeakSet[Scheduler] = WeakSet()
#: By name.
encoded_arrays: dict[str, EncodedArray] = {}


def announce(encoded: EncodedArray) -> None:
    """Remember an encoded array."""
    encoded_arrays[encoded.name] = encoded
    for name in list(encoded_arrays)[:-MOST_ENCODED]:
        encoded_arrays.pop(name, None)


def workers() -> int:
    """Return how many workers the scheduler has; 0 without the plugin."""
    return max((len(scheduler.workers) for scheduler in schedulers), default=0)
