"""Blocks on a device, for tests that hold its results beside those of the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Device", "close"]

Block = NDArray[Any]


@dataclass(frozen=True)
class Device:
    """Where blocks go to and come from.

    Parameters
    ----------
    put : callable
        Takes a NumPy array and returns one on the device.
    kind : type
        Of arrays on the device.
    """

    put: Callable[[Block], Any]
    kind: type

    def get(self, array: Any) -> Block:
        """Return a copy on the host of what must be on the device."""
        assert type(array) is self.kind
        return array.get()

    def lay_out(self, block: Block, layout: str) -> Any:
        """Return equal values on the device that lie there in another way."""
        if layout == "F":
            return self.put(np.ascontiguousarray(block.T)).T
        if layout == "strided" and block.ndim:
            return self.put(np.repeat(block, 2, axis=-1))[..., ::2]
        if layout == "reversed" and block.ndim:
            return self.put(np.ascontiguousarray(block[::-1]))[::-1]
        if layout == "swapped" and block.ndim > 1:
            return self.put(np.ascontiguousarray(block.swapaxes(0, -1))).swapaxes(0, -1)
        if layout == "offset" and block.ndim:
            # As blocks that are slices: no load of several elements at a time is aligned.
            return self.put(np.concatenate([block[:1], block]))[1:] if len(block) else self.put(block)
        return self.put(np.array(block))


def close(found: Block, true: Block, terms: int) -> bool:
    """Tell whether sums of so many terms near 1 differ by no more than rounding; integers not at all."""
    if found.dtype != true.dtype or found.shape != true.shape:
        return False
    if true.dtype.kind in "iu":
        return bool((found == true).all())
    return bool(np.abs(found - true).max(initial=0) <= 8 * terms * np.finfo(true.dtype).eps)
