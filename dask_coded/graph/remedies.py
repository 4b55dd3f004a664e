"""Tell what would let lanes pass where they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from dask.highlevelgraph import HighLevelGraph

from dask_coded.graph.encoded import Encoded, arrays_in
from dask_coded.graph.find import Refusal
from dask_coded.graph.programs import find_programs

__all__ = ["with_remedies"]


def with_remedies(
    dsk: HighLevelGraph, keys: Iterable[Any], known: Mapping[str, Encoded], stops: list[Refusal]
) -> list[Refusal]:
    """Return the ends of lanes, with the axis whose parity would let them pass where there is one.

    Parameters
    ----------
    dsk, keys, known
        As for `find_programs`.
    stops : list of Refusal
        As it returns them.
    """
    arrays = arrays_in(dsk, known)
    wider = {name: encoded.along_all_axes() for name, encoded in arrays.items()}
    if not stops or all(encoded.axes == arrays[name].axes for name, encoded in wider.items()):
        return stops
    programs, _ = find_programs(dsk, keys, wider)
    axes = {name: program.encoded for program in programs for name in program.layers}
    found = []
    for stop in stops:
        axis = axes.get(stop.layer)
        if axis is not None:
            every = tuple(sorted({axis.axis, *(coded.axis for coded in arrays[axis.name].axes)}))
            text = f"{stop.reason}; parity along axis {axis.axis} too lets it pass: encode(x, axis={every})"
            stop = replace(stop, reason=text)
        found.append(stop)
    return found
