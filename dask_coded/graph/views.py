"""Give each program the views that it goes through to itself.

``X.T`` has one name wherever it is written, so ``X.T @ a`` and ``X.T @ b`` read one
layer. Lanes cannot be told apart in there: each program gets a copy, which Dask then
fuses into what reads it, as it does with a view that is read once::

    X ── transpose ──┬── matmul ──          X ─┬─ transpose' ── matmul ──
                     └── matmul ──             └─ transpose" ── matmul ──
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from dask._task_spec import convert_legacy_graph
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from dask_coded.graph.find import consumers
from dask_coded.graph.names import layer_name, name_part
from dask_coded.graph.program import Program

__all__ = ["with_own_views"]

Names = Mapping[str, str]


def with_own_views(
    dsk: HighLevelGraph, keys: Iterable[Any], programs: Iterable[Program]
) -> tuple[HighLevelGraph, list[Program]]:
    """Return the graph in which no program shares a view with anything, and the programs in it.

    Parameters
    ----------
    dsk : HighLevelGraph
        Not optimized yet.
    keys : iterable of keys
        What is to be computed.
    programs : iterable of Program
        As `find_programs` returns them.
    """
    layers = dict(dsk.layers)
    dependencies = {name: set(sources) for name, sources in dsk.dependencies.items()}
    readers, requested = consumers(dsk), set(map(name_part, keys))
    found = []
    for program in programs:
        shared = {view for view in program.views if view in requested or {*readers[view]} - program.layers}
        shared |= program.views.intersection(program.beside.values())
        own = {view: layer_name("view", view, program.target) for view in _with_sources(shared, program, dsk)}
        for name in program.layers:
            if name in own or own.keys() & dsk.dependencies[name]:
                copy, left = own.get(name, name), program.beside.get(name)
                new = {view: one for view, one in own.items() if view != left}
                layers[copy] = _renamed(dsk, name, new)
                dependencies[copy] = {new.get(source, source) for source in dsk.dependencies[name]}
        found.append(_within(program, own))
    return HighLevelGraph(layers, dependencies), found


def _with_sources(shared: set[str], program: Program, dsk: HighLevelGraph) -> set[str]:
    """Return views that are shared, and those that they are made of."""
    found, work = set(shared), list(shared)
    while work:
        more = program.views.intersection(dsk.dependencies[work.pop()]) - found
        found |= more
        work += more
    return found


def _within(program: Program, own: Names) -> Program:
    """Return the program with its views under their own names."""

    def renamed(names: Iterable[str]) -> frozenset[str]:
        return frozenset(own.get(name, name) for name in names)

    entries = {array: renamed(names) for array, names in program.entries.items()}
    return replace(program, layers=renamed(program.layers), views=renamed(program.views), entries=entries)


def _renamed(dsk: HighLevelGraph, name: str, own: Names) -> Any:
    """Return a layer whose blocks, and those that it reads, have other names."""
    layer: Any = dsk.layers[name]
    if not isinstance(layer, Blockwise):
        return _tasks_renamed(dsk, name, own)
    output = own.get(name, name)
    return Blockwise(
        output,
        layer.output_indices,
        layer.task.substitute({}, key=output),
        [(source if at is None else own.get(source, source), at) for source, at in layer.indices],
        {own.get(source, source): count for source, count in layer.numblocks.items()},
        concatenate=layer.concatenate,
        new_axes=layer.new_axes,
        output_blocks=layer.output_blocks,
        annotations=layer.annotations,
        io_deps=layer.io_deps,
    )


def _tasks_renamed(dsk: HighLevelGraph, name: str, own: Names) -> MaterializedLayer:
    layer: Any = dsk.layers[name]
    keys = {key for one in dsk.dependencies[name] for key in dsk.layers[one].get_output_keys()}
    tasks = convert_legacy_graph(dict(layer), all_keys=keys | set(layer))
    renamed: dict[Any, Any] = {}
    for key, task in tasks.items():
        found: dict[Any, Any] = {}
        for one in (*task.dependencies, key):
            if isinstance(one, tuple) and one[0] in own:
                found[one] = (own[one[0]], *one[1:])
            elif one in tasks and name in own:  # what a layer keeps to itself, a copy has of its own
                found[one] = (own[name], *(one if isinstance(one, tuple) else (one,)))
        renamed[found.get(key, key)] = task.substitute(found, key=found.get(key, key))
    return MaterializedLayer(renamed, annotations=layer.annotations)
