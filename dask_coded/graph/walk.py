"""Run the tasks of a graph on symbolic blocks, layer by layer, beginning with an encoded array."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dask.array.wrap
import numpy as np
from dask._task_spec import Alias, DataNode, GraphNode, Task, convert_legacy_graph
from dask.base import tokenize
from dask.blockwise import Blockwise
from dask.core import toposort
from dask.highlevelgraph import HighLevelGraph

from dask_coded.graph.encoded import EncodedAxis
from dask_coded.graph.find import Blocks, blocks_of
from dask_coded.graph.linear import Linear
from dask_coded.graph.names import is_block, name_part
from dask_coded.graph.slicing import as_slice, over_all_rows
from dask_coded.graph.symbols import Barrier, Symbol
from dask_coded.runtime.quorum import Quorum

__all__ = ["Seen", "Walk"]

#: Packages and modules whose functions do nothing else when they are run on symbols.
TRUSTED = frozenset(
    {"numpy", "dask", "dask_ml", "dask_glm", "operator", "_operator"}
    | {"toolz", "cytoolz", "functools", "builtins"}
    | {"dask_coded.graph.means"}
)


@dataclass(frozen=True)
class Seen:
    """What became of the encoded blocks in one task."""

    row: int
    #: Equal for tasks that do the same to blocks of different rows.
    form: int
    value: Any


@dataclass
class Walk:
    """The lanes of an array along one coded axis."""

    dsk: HighLevelGraph
    #: Only what is to be computed; its layers know nothing of their arrays.
    culled: HighLevelGraph
    encoded: EncodedAxis
    #: Arrays encoded alike, whose lanes may join those of this one.
    alike: tuple[EncodedAxis, ...] = ()
    seen: dict[Hashable, Seen] = field(default_factory=dict)
    #: Layers that belong to lanes, and the coded axis of those whose blocks are plain arrays.
    axes: dict[str, int | None] = field(default_factory=dict)
    #: The layer that first did some work, for each layer behind it.
    work: dict[str, str] = field(default_factory=dict)
    #: Layers that read the array, or a view of it, as if it were not coded, beside what is.
    beside: dict[str, str] = field(default_factory=dict)
    _forms: dict[Hashable, int] = field(default_factory=dict)
    _values: dict[int, Any] = field(default_factory=dict)
    _plain: dict[str, Blocks] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for known in self.sources:
            self._begin(known)

    @property
    def sources(self) -> tuple[EncodedAxis, ...]:
        """The arrays with which lanes begin."""
        return (self.encoded, *self.alike)

    def _begin(self, known: EncodedAxis) -> None:
        for place in known.places:
            form = self._form(("block", known.name, place))
            sizes = _sizes(known, place)
            lengths = [known.lengths[0] if d == known.axis else n for d, n in enumerate(sizes)]
            told = {
                "uniform": known.uniform,
                "ragged": len(set(known.lengths)) > 1,
                "unscaled": known.unscaled,
            }
            self._values[form] = Symbol(lengths, known.dtype, known.axis, **told)
            for row in range(len(known.lengths)):
                self.seen[known.block(row, place)] = Seen(row, form, self._values[form])

    def _form(self, what: Hashable) -> int:
        return self._forms.setdefault(what, len(self._forms))

    def enter(self, name: str, plain: str | None = None) -> None:
        """Take in one more layer.

        Parameters
        ----------
        name : str
            The layer.
        plain : str, optional
            What the layer reads as if it were not coded: the array, or a view of it.

        Raises
        ------
        Barrier
            The lanes end before it.
        """
        layer = self.culled.layers[name]
        sources = (name, *self.culled.dependencies[name])
        keys = {key for source in sources for key in self.culled.layers[source].get_output_keys()}
        tasks = convert_legacy_graph(dict(layer), all_keys=keys | set(layer))
        found: dict[Hashable, Seen] = {}
        within = {key: task.dependencies & tasks.keys() for key, task in tasks.items()}
        for key in toposort(tasks, within):
            self._take(layer, key, tasks, found, plain)
        self.axes[name] = axis = self._axis(found.values())
        for key, task in tasks.items():
            if is_block(key, name) and key not in found:
                found[key] = self._filled(key, task, axis)
        if any(isinstance(seen.value, Symbol) and seen.value.work for seen in found.values()):
            before = [self.work[source] for source in sorted(sources) if source in self.work]
            self.work[name] = before[0] if before else name
        self.seen |= found
        if plain is not None:
            self.beside[name] = plain

    def is_shifted(self, name: str) -> bool:
        """Tell whether a layer's blocks are results of another to which numbers were added."""
        keys = self.culled.layers[name].get_output_keys()
        values = (self.seen[key].value for key in keys if key in self.seen)
        return any(isinstance(value, Symbol) and value.shifted for value in values)

    def _take(
        self,
        layer: Any,
        key: Any,
        tasks: Mapping[Any, GraphNode],
        found: dict[Hashable, Seen],
        plain: str | None,
    ) -> None:
        task = tasks[key]
        read = [dep for dep in task.dependencies if name_part(dep) != plain]
        coded = {dep: found.get(dep) or self.seen.get(dep) for dep in read}
        mine = {dep: seen for dep, seen in coded.items() if seen is not None}
        if not mine:
            return
        rows = {seen.row for seen in mine.values()}
        if isinstance(task, Quorum):
            raise Barrier("blocks of a prior may stand in for its own")
        if len(rows) > 1:
            raise Barrier("it combines different blocks along the coded axis")
        names: dict[Any, Any] = {dep: ("coded", seen.form) for dep, seen in mine.items()}
        if isinstance(layer, Blockwise) and not layer.io_deps:
            form = self._form((layer.output, frozenset(names.get(dep, dep) for dep in task.dependencies)))
        else:
            task = self._for_any_row(task, next(iter(mine.values())))
            constants = {dep: tokenize(node) for dep in task.dependencies if (node := _constant(tasks, dep))}
            form = self._form(tokenize(task.substitute({**constants, **names}, key="form")))
        if form not in self._values:
            values = {dep: seen.value for dep, seen in mine.items()}
            values |= {dep: self._other(dep, tasks) for dep in task.dependencies - mine.keys()}
            self._values[form] = self._run(task, values)
        found[key] = Seen(rows.pop(), form, self._values[form])

    def _for_any_row(self, task: GraphNode, read: Seen) -> GraphNode:
        """Return a slice that is told where its block is, or how long, as what it does to any of them."""
        block = read.value
        if isinstance(block, Symbol):
            task = as_slice(task, tuple(_functions(task)), block.ndim)
            if block.axis is not None and self.encoded.models_fit:
                task = over_all_rows(task, block.ndim, block.axis, self.encoded.lengths[read.row])
        return task

    def _filled(self, key: Any, task: GraphNode, axis: int | None) -> Seen:
        """Return what stands for a block of one number that is joined to the encoded blocks."""
        refusal = Barrier("some of its blocks are not made of the encoded array")
        if axis is None or not isinstance(task, Alias) or not self.encoded.models_fit:
            raise refusal
        values = self._numbers(task.target)
        if values is None or values.dtype.kind not in "fc":
            raise refusal
        row, lengths = key[1 + axis], self.encoded.lengths
        if row >= len(lengths) or values.shape[axis] != lengths[row]:
            raise refusal
        shape = [lengths[0] if d == axis else n for d, n in enumerate(values.shape)]
        form = self._form(("filled", tokenize(values[(0,) * values.ndim]), tuple(shape), axis))
        uniform = self.encoded.uniform
        self._values[form] = Symbol(shape, values.dtype, axis, uniform=uniform, affine=True, constant=True)
        return Seen(row, form, self._values[form])

    def _numbers(self, key: Any) -> np.ndarray | None:
        """Return a block of da.ones, da.zeros or da.full, which takes no memory; None for any other."""
        layer = self.dsk.layers.get(name_part(key))
        if not isinstance(layer, Blockwise) or self.dsk.dependencies[name_part(key)]:
            return None
        made = layer[key]
        func = getattr(made, "func", None)
        if not isinstance(func, partial) or func.func.__module__ != dask.array.wrap.__name__:
            return None
        values = made()
        return values if isinstance(values, np.ndarray) and values.size and not any(values.strides) else None

    def _other(self, key: Any, tasks: Mapping[Any, GraphNode]) -> Any:
        """Return what stands for a block that is not coded."""
        node = _constant(tasks, key)
        if node is not None:
            return node()
        name = name_part(key)
        if name not in self._plain:
            blocks = blocks_of(self.dsk, name)
            if isinstance(blocks, str) or not isinstance(key, tuple) or key in tasks:
                raise Barrier("nothing is known about a block that it reads")
            self._plain[name] = blocks
        blocks = self._plain[name]
        return Symbol([n[i] for n, i in zip(blocks.chunks, key[1:], strict=True)], blocks.dtype)

    def _run(self, task: GraphNode, values: dict[Any, Any]) -> Any:
        for func in _functions(task):
            if not _is_trusted(func):
                raise Barrier(
                    f"{getattr(func, '__name__', func)} is not declared linear: see dask_coded.linear"
                )
        try:
            result = task(values)
        except Barrier:
            raise
        except Exception as error:
            raise Barrier(f"it cannot be followed ({type(error).__name__}: {error})") from error
        exact = np.dtype(self.encoded.dtype).kind in "iu"
        if exact and isinstance(result, Symbol) and result.dtype != np.dtype(self.encoded.dtype):
            raise Barrier(f"integers of {self.encoded.dtype} become {result.dtype}")
        return result

    def _axis(self, arrays: Iterable[Seen]) -> int | None:
        axes = {seen.value.axis if isinstance(seen.value, Symbol) else None for seen in arrays}
        return axes.pop() if len(axes) == 1 else None


def _sizes(encoded: EncodedAxis, place: tuple[int, ...]) -> list[int]:
    key = encoded.block(0, place)
    return [n[i] for n, i in zip(encoded.chunks, key[1:], strict=True)]


def _constant(tasks: Mapping[Any, GraphNode], key: Any) -> GraphNode | None:
    """Return the task of a small constant that a layer brings along: an index, or a block of zeros."""
    node = tasks.get(key)
    if isinstance(node, DataNode):
        return node
    if isinstance(node, Task) and not node.dependencies and np.full_like in (node.func, *node.args):
        return node
    return None


def _functions(value: Any) -> Iterator[Any]:
    """Yield every function that a task may call."""
    parts: tuple[Any, ...] = ()
    if isinstance(value, Task):
        parts = (value.func, *value.args, *value.kwargs.values())
    elif isinstance(value, DataNode):
        parts = (value.value,)
    elif isinstance(value, partial):
        parts = (value.func, *value.args, *value.keywords.values())
    elif hasattr(value, "first") and hasattr(value, "funcs"):  # toolz.compose
        parts = (value.first, *value.funcs)
    elif isinstance(value, list | tuple):
        parts = tuple(value)
    elif callable(value) and not isinstance(value, type | GraphNode):
        yield value
    for part in parts:
        yield from _functions(part)


def _is_trusted(func: Callable[..., Any]) -> bool:
    """Tell whether running a function on symbols does nothing else."""
    module = getattr(func, "__module__", None) or type(func).__module__
    known = module.partition(".")[0] in TRUSTED or module in TRUSTED
    return isinstance(func, np.ufunc | Linear | operator.methodcaller) or known
