"""One product by itself, coded without a look at what its operands are made of."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from dask._task_spec import DataNode
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from dask_coded.codes import Code
from dask_coded.graph.doors import Flat
from dask_coded.graph.find import Product, find
from dask_coded.graph.names import name_part
from dask_coded.graph.optimizer import CodedOptimizer, explain
from dask_coded.graph.settings import Settings

__all__ = ["Alone"]


@dataclass(frozen=True)
class Alone:
    """A product cut out of its graph; stubs stand in for the arrays that it multiplies.

    Parameters
    ----------
    graph : HighLevelGraph
        The layers between operands and product, and the stubs.
    keys : tuple of keys
        Blocks of the product and of the stubs.
    stubs : frozenset of str
        Names of the operands.
    """

    graph: HighLevelGraph
    keys: tuple[Hashable, ...]
    stubs: frozenset[str]

    @classmethod
    def of(cls, dsk: HighLevelGraph, output: str, operands: Iterable[str]) -> Alone:
        """Cut the product with result `output` out of a graph."""
        stubs = {name: _stub(dsk.layers[name]) for name in operands}
        layers = {**{name: dsk.layers[name] for name in _above(dsk, output, stubs)}, **stubs}
        dependencies = {name: set() if name in stubs else set(dsk.dependencies[name]) for name in layers}
        keys = [key for name in (output, *stubs) for key in layers[name].get_output_keys()]
        return cls(HighLevelGraph(layers, dependencies), tuple(keys), frozenset(stubs))

    def refusal(self, settings: Settings) -> str | None:
        """Say why the product cannot be coded, or None.

        Raises
        ------
        ValueError
            The code that the user gave does not fit.
        """
        if settings.explicit is not None:
            for product in find(self.graph, self.keys)[0]:
                _check(product, settings.explicit, settings.axis)
        verdicts = explain(self.graph, list(self.keys), settings)
        if any(verdict.code for verdict in verdicts):
            return None
        return "; ".join(verdict.reason for verdict in verdicts) or "not a product that is known"

    def tasks(self, settings: Settings) -> Flat:
        """Return the tasks of the coded product, without its operands."""
        flat = CodedOptimizer(settings)(self.graph, list(self.keys))
        return {key: task for key, task in flat.items() if name_part(key) not in self.stubs}


def _stub(layer: Any) -> MaterializedLayer:
    """Return a layer with the keys and the annotations of `layer` that holds nothing."""
    stub = MaterializedLayer({key: DataNode(key, None) for key in layer.get_output_keys()})
    stub.collection_annotations = layer.collection_annotations
    return stub


def _above(dsk: HighLevelGraph, output: str, operands: Collection[str]) -> set[str]:
    """Return the layers between the operands and the output."""
    found: set[str] = set()
    work = [output]
    while work:
        name = work.pop()
        if name not in found and name not in operands:
            found.add(name)
            work.extend(dsk.dependencies[name])
    return found


def _check(product: Product, code: Code, along: str) -> None:
    """Refuse a code for other numbers of blocks, or one that these numbers cannot be multiplied with."""
    given = tuple(encoding.shape[1] // code.sub_blocks for encoding in code.encodings)
    axes = [axis for axis in product.axes if along in ("auto", axis.which)]
    found = [[len(axis.wanted) for axis in axes if axis.which == which] for which in ("rows", "columns")]
    if len(given) == 1:
        fits = given[0] in found[0] + found[1]
    else:
        fits = all(count in counts for count, counts in zip(given, found, strict=True))
    if not fits:
        what = " and ".join(f"{len(axis.wanted)} {axis.which}" for axis in axes)
        raise ValueError(
            f"code={code!r} encodes {' x '.join(map(str, given))} blocks, but {product.label} has {what} "
            "of blocks; rechunk the operands or give a code for these"
        )
    if product.blocks.dtype.kind in "iu" and (len(given) == 2 or (code.generator % 1).any()):
        raise ValueError(
            f"code={code!r} cannot be undone in {product.blocks.dtype}; "
            "give codes.parity(k, 1) or codes.replication(k) for integers"
        )
