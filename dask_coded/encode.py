"""Encode an array once, and have everything linear that is done with it coded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from math import isnan
from typing import Any

import dask.array as da
from dask.highlevelgraph import HighLevelGraph

from dask_coded.array import follow_encoded
from dask_coded.codes import Code
from dask_coded.errors import CodedWarning
from dask_coded.graph.cost import group_limit
from dask_coded.graph.encoded import ROLE, Encoded, EncodedAxis, EncodedLayer
from dask_coded.graph.groups import balanced
from dask_coded.graph.linear import Linear
from dask_coded.graph.names import fingerprint, layer_name
from dask_coded.graph.settings import Settings
from dask_coded.install import current_client, install
from dask_coded.kernels import codable

__all__ = ["encode", "linear"]


def encode(
    x: da.Array,
    axis: int | Iterable[int] = 0,
    parity: int = 1,
    code: Code | None = None,
    group: int | None = None,
    scale: bool = True,
) -> da.Array:
    """Return the array with parity along an axis, for all that is computed from it.

    The result has the same values and chunks. When it is persisted its parity is kept
    in the cluster's memory too, spread over the workers, and blocks that are lost are
    rebuilt. Whatever is linear in it and leaves the coded axis alone (products from the
    other side, sums, transforms and slices along other axes, scaling, transposition)
    then runs coded, in this process, inside and outside `coded`: late, frozen or lost
    workers do not delay it. Nothing is encoded again. Everything else is left to Dask.

    Parameters
    ----------
    x : dask.array.Array
        Of floats, complex numbers or integers.
    axis : int or iterable of int
        The coded axis: that of the block rows that share parity. Several axes are coded
        each by itself: with ``axis=(0, 1)`` ``x @ w`` runs coded by blocks of rows and
        ``x.T @ z`` by blocks of columns, and a lost block has two groups to be rebuilt
        from.
    parity : int
        Parity blocks of a group: workers that may be late or lost at one time. One for
        integers.
    code : Code, optional
        From `dask_coded.codes`, for as many blocks as there are along the only axis.
    group : int, optional
        Blocks of a group at most; chosen from the number of workers by default.
        ``1 + parity / group`` times the memory is used; with several axes
        ``1 + parity / group + parity / group``, and so on.
    scale : bool
        Scale rows along the coded axis to one magnitude in parity (default; not for
        integers), so that a small row is decoded as accurately as a large one. With
        False they are taken as they are, by codes that do not mix the rows of a block
        (with one parity, by their plain sum). Sums and means over the coded axis then
        run coded too, and sums of arrays that are encoded alike: in chunks along it,
        dtype, parity and code. Rows that a much larger one of their group would drown
        are then not decoded but waited for or computed again, as all are whose bound
        exceeds the tolerance.

    Returns
    -------
    dask.array.Array
        Without a distributed client it computes as `x` does.

    Raises
    ------
    TypeError
        `x` is no Dask array, or its dtype has no parity.
    ValueError
        An argument is out of range, the chunks are unknown or the code does not fit.

    Warns
    -----
    CodedWarning
        There is only one block along the axis: nothing is encoded.

    Notes
    -----
    Lost blocks are rebuilt up to rounding. `persist` gives back the same bits. The
    numbers of a rebuilt block are within the bound that `report` tells.

    A task that is run again on a rebuilt block may yield something else than before
    where its problem is ill-posed, such as the QR of a block that has not full rank.
    So where a task that is no step of a lane has to run again, and something in memory
    was computed from its first result, the block is computed by its own task instead.
    Only when that cannot give the same bits, after several losses, a `CodedWarning`
    tells which task it was.

    References
    ----------
    Lee, Lam, Pedarsani, Papailiopoulos, Ramchandran (2015), arXiv:1512.02673.

    Examples
    --------
    >>> import dask.array as da
    >>> x = encode(da.ones((40, 20), chunks=10), axis=0, parity=1).persist()
    >>> float((x @ da.ones(20, chunks=10)).compute()[0])
    20.0
    """
    members = _members(x, _checked(x, axis, parity, code, group, scale))
    if not members:
        return x
    if code is None:
        cuts = {one: _cuts(rows, parity, group) for one, rows in members.items()}
    else:
        ((one, rows),) = members.items()
        cuts = {one: (tuple(rows),)}
        parity = _fitting(code, len(rows), x, scale)
    client = current_client()
    if client is not None and not client.asynchronous:
        install(client)
    token = None if code is None else fingerprint(code)
    name = layer_name(ROLE, x.name, parity, cuts, token, *(() if scale else ("unscaled",)))
    encoded = Encoded(
        tuple(
            EncodedAxis(name, x.chunks, x.dtype.str, one, parity, cuts[one], code, scale) for one in members
        )
    )
    graph = HighLevelGraph.from_collections(name, EncodedLayer.of(encoded, x.name), dependencies=[x])
    follow_encoded(encoded)
    return da.Array(graph, name, x.chunks, meta=x._meta)


def _members(x: da.Array, axes: Iterable[int]) -> dict[int, list[int]]:
    """Return for each axis that can be coded which of its blocks have elements."""
    found = {}
    for axis in axes:
        rows = [row for row, length in enumerate(x.chunks[axis]) if length]
        if len(rows) >= 2:
            found[axis] = rows
        else:
            text = f"{x!r} has one block along axis {axis}: nothing to encode there"
            warnings.warn(text, CodedWarning, stacklevel=3)
    return found


def _checked(x: Any, axis: Any, parity: Any, code: Code | None, group: Any, scale: Any) -> tuple[int, ...]:
    """Return the axes, counted from the front, if all arguments are in range."""
    if not isinstance(x, da.Array):
        raise TypeError(f"x={x!r} is not a dask.array.Array; for xarray: x.copy(data=encode(x.data, ...))")
    axes = _axes(x, axis)
    if code is not None and len(axes) > 1:
        raise ValueError(f"code={code!r} cannot be for {len(axes)} axes; give one axis, or parity")
    for name, value, least in (("parity", parity, 1), ("group", 2 if group is None else group, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r} is not valid; give an integer of at least {least}")
    if not isinstance(scale, bool):
        raise ValueError(f"scale={scale!r} is not valid; give True or False")
    kind = type(x._meta)
    if kind.__name__ != "ndarray":
        raise TypeError(
            f"x has blocks of type {kind.__module__}.{kind.__name__}; only plain arrays have parity"
        )
    reason = codable(x.dtype, x.dtype)
    if reason is not None:
        raise TypeError(f"x has dtype {x.dtype}: {reason}; persist() keeps any dtype")
    if x.dtype.kind in "iu" and parity > 1:
        raise ValueError(f"parity={parity} is not exact for {x.dtype}; give 1, or convert x to floats")
    if any(isnan(length) for lengths in x.chunks for length in lengths):
        raise ValueError("x has unknown chunk sizes; call x.compute_chunk_sizes() first")
    return axes


def _axes(x: da.Array, axis: Any) -> tuple[int, ...]:
    """Return the axes that an `axis` argument means, in ascending order."""
    given = tuple(axis) if isinstance(axis, Iterable) and not isinstance(axis, str) else (axis,)
    numbers = [one for one in given if isinstance(one, int) and not isinstance(one, bool)]
    axes = {one % x.ndim for one in numbers if -x.ndim <= one < x.ndim}
    if not axes or len(axes) < len(given):
        raise ValueError(
            f"axis={axis!r} does not name axes of x; give an integer below {x.ndim}, or different ones"
        )
    return tuple(sorted(axes))


def _cuts(rows: list[int], parity: int, group: int | None) -> tuple[tuple[int, ...], ...]:
    """Return the block rows of each group; rows in a row tend to be on one worker, so they are dealt out."""
    client = current_client()
    workers = None if client is None else client.scheduler_info(n_workers=0)["n_workers"]
    limit = group_limit(Settings(parity=parity, group=group, workers=workers), (parity,))
    count = len(balanced(rows, limit))
    return tuple(tuple(rows[first::count]) for first in range(count))


def _fitting(code: Code, blocks: int, x: da.Array, scale: bool) -> int:
    given = code.encodings[0].shape[1] // code.sub_blocks
    if len(code.encodings) != 1 or given != blocks or -1 in code.systematic:
        raise ValueError(
            f"code={code!r} does not fit: give a systematic code for {blocks} blocks along one axis"
        )
    if x.dtype.kind in "iu" and (code.generator % 1).any():
        raise ValueError(f"code={code!r} cannot be undone in {x.dtype}; give codes.parity(k, 1)")
    if not scale and code.sub_blocks > 1:
        raise ValueError(f"code={code!r} mixes rows of a block; with scale=False give one with sub_blocks=1")
    return len(code.parity)


def linear(func: Callable[..., Any], along: int | Iterable[int]) -> Callable[..., Any]:
    """Declare a function of blocks linear, so that lanes of encoded arrays pass through it.

    Parameters
    ----------
    func : callable
        For `dask.array.map_blocks`, `map_overlap` or `blockwise`: linear in its first
        argument, and its result has as many axes.
    along : int or iterable of int
        Axes that it works along. It must treat every row along any other axis alike.

    Returns
    -------
    callable
        Does what `func` does.

    Raises
    ------
    TypeError
        `func` cannot be called.

    Examples
    --------
    >>> import dask.array as da
    >>> smooth = linear(lambda block: (block + block[:, ::-1]) / 2, along=1)
    >>> x = encode(da.ones((4, 2), chunks=(2, 2)))
    >>> float(x.map_blocks(smooth).sum().compute())
    8.0
    """
    if not callable(func):
        raise TypeError(f"func={func!r} is not callable")
    axes = (along,) if isinstance(along, int) else tuple(along)
    return Linear(func, frozenset(axes))
