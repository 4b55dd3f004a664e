"""Find the products in a graph, and the layer at which the lanes of each one end.

::

    a ──┐
        ├── matmul ── chunk_sum ── aggregate ── (squeeze) ── whatever follows
    b ──┘   product   ╰────── contraction ──────────╯
                                             target: the last layer in which
                                             every block row is still alone

Chunk sizes, dtypes and the kind of blocks are read from the annotations that
dask.array leaves on every layer; a product without them is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isnan, prod
from typing import Any

import numpy as np
from dask.highlevelgraph import HighLevelGraph

from dask_coded.graph import registry
from dask_coded.graph.names import name_part
from dask_coded.kernels import codable

__all__ = ["Blocks", "Chunks", "CodedAxis", "Operand", "Product", "Refusal", "blocks_of", "consumers", "find"]

Chunks = tuple[tuple[int, ...], ...]

DENSE = ("numpy.ndarray", "cupy.ndarray")


@dataclass(frozen=True)
class Blocks:
    """What is known about the blocks of an array."""

    chunks: Chunks
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(sum, self.chunks))


@dataclass(frozen=True)
class Operand:
    """One operand of a product: its layer, and a symbol for each of its axes."""

    name: str
    position: int
    symbols: registry.Symbols
    blocks: Blocks


@dataclass(frozen=True)
class CodedAxis:
    """An axis that belongs to one operand and to the target: it can be coded.

    Parameters
    ----------
    operand, axis : int
        Which axis of which operand.
    target_axis : int
        The same axis of the target.
    lengths : tuple of int
        Its chunk sizes.
    wanted : tuple of int
        Block rows that are computed and not empty.
    """

    operand: int
    axis: int
    target_axis: int
    lengths: tuple[int, ...]
    wanted: tuple[int, ...]

    @property
    def which(self) -> str:
        return ("rows", "columns")[self.operand]


@dataclass(frozen=True)
class Product:
    """A product of two arrays whose lanes can be coded."""

    layer: str
    operands: tuple[Operand, Operand]
    target: str
    blocks: Blocks
    symbols: registry.Symbols
    contraction: registry.Symbols
    integer_ring: bool
    wanted: tuple[frozenset[int], ...]

    @property
    def label(self) -> str:
        """What a user would call it."""
        name = self.layer.rpartition("-")[0].removeprefix("chunk_") or self.layer
        left, right = (operand.blocks.shape for operand in self.operands)
        return f"{name} {left} @ {right}"

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Length of each symbol; an operand may be broadcast along a batch axis."""
        sizes: dict[str, int] = {}
        for operand in self.operands:
            for symbol, size in zip(operand.symbols, operand.blocks.shape, strict=True):
                sizes[symbol] = max(size, sizes.get(symbol, 0)) if size else 0
        return sizes

    @property
    def block_products(self) -> int:
        """Number of block products."""
        counts: dict[str, int] = {}
        for operand in self.operands:
            for symbol, lengths in zip(operand.symbols, operand.blocks.chunks, strict=True):
                counts[symbol] = max(len(lengths), counts.get(symbol, 1))
        return prod(counts.values())

    @cached_property
    def axes(self) -> tuple[CodedAxis, ...]:
        """Every axis along which the product could be coded, correctness alone considered."""
        found = []
        for which, operand in enumerate(self.operands):
            if codable(operand.blocks.dtype, self.blocks.dtype) is not None:
                continue
            others = (*self.operands[1 - which].symbols, *self.contraction)
            for axis, symbol in enumerate(operand.symbols):
                if symbol in others or operand.symbols.count(symbol) > 1 or symbol not in self.symbols:
                    continue
                lengths = operand.blocks.chunks[axis]
                target_axis = self.symbols.index(symbol)
                if self.blocks.chunks[target_axis] != lengths:
                    continue
                rows = tuple(row for row in sorted(self.wanted[target_axis]) if lengths[row])
                if len(rows) >= 2:
                    found.append(CodedAxis(which, axis, target_axis, lengths, rows))
        return tuple(found)


@dataclass(frozen=True)
class Refusal:
    """A product that is left to plain Dask, and why."""

    layer: str
    reason: str


def find(dsk: HighLevelGraph, keys: Iterable[Any]) -> tuple[list[Product], list[Refusal]]:
    """Return the products of a graph that can be coded, and those that cannot.

    Parameters
    ----------
    dsk : HighLevelGraph
        Not optimized yet.
    keys : iterable of keys
        What is to be computed.
    """
    names = [name for name, layer in dsk.layers.items() if registry.contracted(layer) is not None]
    if not names:
        return [], []
    keys = list(keys)
    view = _View(dsk, consumers(dsk), _wanted(dsk, keys), frozenset(map(name_part, keys)))
    found = {name: _product(view, name) for name in names}
    refusals = [Refusal(name, reason) for name, reason in found.items() if isinstance(reason, str)]
    return [product for product in found.values() if isinstance(product, Product)], refusals


@dataclass(frozen=True)
class _View:
    """A graph, who reads what, which blocks are needed at all, which arrays are asked for."""

    dsk: HighLevelGraph
    consumers: Mapping[str, list[str]]
    wanted: Mapping[str, list[tuple[Any, ...]]]
    requested: frozenset[str]


def _wanted(dsk: HighLevelGraph, keys: Iterable[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the keys that `keys` need, by name."""
    wanted: dict[str, list[tuple[Any, ...]]] = {}
    for layer in dsk.cull(list(keys)).layers.values():
        for key in layer.get_output_keys():
            if isinstance(key, tuple):
                wanted.setdefault(name_part(key), []).append(key)
    return wanted


def consumers(dsk: HighLevelGraph) -> dict[str, list[str]]:
    """Return the layers that read each layer."""
    found: dict[str, list[str]] = {name: [] for name in dsk.layers}
    for name, sources in dsk.dependencies.items():
        for source in sources:
            found.setdefault(source, []).append(name)
    return found


def _product(view: _View, name: str) -> Product | str:
    """Return the product of layer `name`, or why it cannot be coded."""
    layer: Any = view.dsk.layers[name]
    contraction = registry.contracted(layer)
    reason = registry.refusal(layer)
    if contraction is None or reason:
        return reason or "not a product"
    pairs = [(i, pair) for i, pair in enumerate(layer.indices) if pair[1] is not None]
    lane, symbols = _lane(view, name, contraction)
    sources = [source for _, (source, _) in pairs]
    known = {member: blocks_of(view.dsk, member) for member in (*sources, *lane)}
    for blocks in known.values():
        if isinstance(blocks, str):
            return blocks
    sure = {member: blocks for member, blocks in known.items() if isinstance(blocks, Blocks)}
    operands = [Operand(source, position, at, sure[source]) for position, (source, at) in pairs]
    target = sure[lane[-1]]
    if any(tuple(map(len, sure[source].chunks)) != tuple(layer.numblocks[source]) for source in sources):
        return "an operand whose recorded chunks are not those in use"
    if len(symbols) != len(target.chunks):
        return "the axes of the result are not understood"
    ring = len({sure[member].dtype for member in lane}) == 1
    keys = view.wanted.get(lane[-1], [])
    wanted = tuple(frozenset(key[1 + axis] for key in keys) for axis in range(len(symbols)))
    product = Product(name, (operands[0], operands[1]), lane[-1], target, symbols, contraction, ring, wanted)
    return _checked(product)


def _checked(product: Product) -> Product | str:
    result = product.blocks.dtype
    reasons = [codable(operand.blocks.dtype, result) for operand in product.operands]
    if all(reasons):
        return str(reasons[0])
    if result.kind in "iu" and not product.integer_ring:
        return f"integers are multiplied in a narrower type than {result}, which wraps before the sum"
    if not all(product.sizes.values()):
        return "an operand without elements"
    if not product.axes:
        return "no axis that belongs to one operand has two blocks to compute"
    return product


def _lane(view: _View, name: str, contraction: registry.Symbols) -> tuple[list[str], registry.Symbols]:
    """Follow the product through its contraction; return the layers and the last one's axes."""
    product: Any = view.dsk.layers[name]
    lane, symbols = [name], tuple(product.output_indices)
    while lane[-1] not in view.requested and len(view.consumers.get(lane[-1], ())) == 1:
        (following,) = view.consumers[lane[-1]]
        if view.dsk.dependencies[following] != {lane[-1]}:
            break
        left = registry.step(view.dsk.layers[following], symbols, contraction)
        if left is None:
            break
        lane.append(following)
        symbols = left
    return lane, symbols


def blocks_of(dsk: HighLevelGraph, name: str) -> Blocks | str:
    """Return what the layer's annotations tell about its blocks, or why they are not enough."""
    layer = dsk.layers.get(name)
    notes = getattr(layer, "collection_annotations", None) or {}
    if not {"chunks", "dtype", "chunk_type"} <= notes.keys():
        return "nothing is known about the blocks of an array"
    if notes["chunk_type"] not in DENSE:
        return f"blocks of type {notes['chunk_type']}"
    if any(isnan(length) for lengths in notes["chunks"] for length in lengths):
        return "unknown chunk sizes"
    return Blocks(tuple(tuple(map(int, lengths)) for lengths in notes["chunks"]), np.dtype(notes["dtype"]))
