"""Keep data in the cluster's memory so that it survives lost workers."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator
from itertools import product
from typing import Any
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks, slices_from_chunks
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from distributed import Client, Future

from dask_coded.config import settings_from_config
from dask_coded.errors import CodedWarning
from dask_coded.install import current_client, install

__all__ = ["persist", "scatter"]

OBJECTS = (
    "the bytes of Python objects cannot be encoded; convert it, for instance to a string or number dtype"
)
SENT_AT_ONCE = 2**26  # bytes


def persist(*collections: Any, parity: int = 1, group: int | None = None, **kwargs: Any) -> Any:
    """Persist arrays, each group of blocks with parity that rebuilds what lost workers held.

    As soon as the blocks of a group are in memory, on different workers, their bytes are
    encoded into `parity` pieces on further workers. When a worker is lost its blocks are
    rebuilt from the others, bit for bit; nothing is computed again. When more is lost than
    parity covers, Dask computes it again as always. Releasing the collections frees all.

    Parameters
    ----------
    *collections : dask.array.Array, xarray.DataArray or xarray.Dataset
        Of any dtype but object, and any chunks. Blocks that were persisted this way
        before keep the parity that they have.
    parity : int
        Workers of a group that may be lost at one time. One: XOR. Two: row-diagonal
        parity. More: array codes of the same kind.
    group : int, optional
        Blocks of a group at most; ``(group + parity) / group`` times the memory is used.
        By default as many as there are workers left beside parity, 8 at most.
    **kwargs
        Passed to `dask.persist`.

    Returns
    -------
    The persisted collection, or a tuple of them if several were given.

    Raises
    ------
    TypeError
        Something is not a Dask array or made of them, or its blocks are masked, sparse
        or hold Python objects.
    ValueError
        `parity` or `group` is not a positive integer.

    Warns
    -----
    CodedWarning
        The cluster has too few workers now: with as many as `parity` or fewer nothing
        is protected until more come.

    Notes
    -----
    Without a distributed client this is `dask.persist`. References: P. Corbett et al.,
    Row-diagonal parity for double disk failure correction, FAST 2004; M. Blaum and
    R. M. Roth, New array codes for multiple phased burst correction, IEEE Trans. Inf.
    Theory 39 (1993).

    Examples
    --------
    >>> import dask.array as da
    >>> x = persist(da.arange(6, chunks=2), parity=1)
    >>> x.sum().compute().item()
    15
    """
    _check_counts(parity, group)
    if not collections:
        raise TypeError("persist() needs at least one collection")
    for number, collection in enumerate(collections):
        for array in _arrays(collection, number):
            kind = type(array._meta)
            if not (isinstance(array._meta, np.generic) or kind.__name__ == "ndarray"):
                raise TypeError(
                    f"collections[{number}] has blocks of type {kind.__module__}.{kind.__name__}: "
                    "only the bytes of plain NumPy or CuPy arrays can be encoded; convert it, or use "
                    "dask.persist"
                )
            if array.dtype.hasobject:
                raise TypeError(
                    f"collections[{number}] has dtype {array.dtype}: {OBJECTS}, or use dask.persist"
                )
    client = _ready_client("persist", parity)
    persisted = dask.persist(*collections, **kwargs)
    if client is not None:
        keys = list(dict.fromkeys(key for one in persisted for key in _keys(one)))
        client.sync(_protect, client, keys, parity, group)
    return persisted if len(persisted) > 1 else persisted[0]


def scatter(
    array: np.ndarray, chunks: Any = "auto", *, parity: int = 1, group: int | None = None
) -> da.Array:
    """Send an array to the cluster, each group of blocks with parity that rebuilds what lost workers held.

    Dask cannot get scattered data back once its worker is lost: no task has made it. When
    more is lost than parity covers that is so here too, and futures are cancelled with
    "lost dependencies".

    Parameters
    ----------
    array : numpy.ndarray
        Of any dtype but object; also a memory map. It is sent block by block.
    chunks : int, tuple or str
        Shape of the blocks, as in `dask.array.from_array`.
    parity, group : int
        As in `persist`.

    Returns
    -------
    dask.array.Array
        Its blocks are in the cluster's memory.

    Raises
    ------
    TypeError
        `array` is no NumPy array, or holds Python objects.
    ValueError
        `parity` or `group` is not a positive integer.

    Notes
    -----
    Without a distributed client this is `dask.array.from_array`.

    Examples
    --------
    >>> import numpy as np
    >>> x = scatter(np.arange(6), chunks=2, parity=1)
    >>> x.sum().compute().item()
    15
    """
    _check_counts(parity, group)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"scatter() takes a NumPy array, not {type(array).__name__}: use persist()")
    if array.dtype.hasobject:
        raise TypeError(f"the array has dtype {array.dtype}: {OBJECTS}, or use client.scatter")
    client = _ready_client("scatter", parity)
    if client is None:
        return da.from_array(array, chunks=chunks)
    chunks = normalize_chunks(chunks, array.shape, dtype=array.dtype)
    name = f"scatter-{uuid4().hex}"
    places = product(*(range(len(sizes)) for sizes in chunks))
    slices = dict(zip(((name, *place) for place in places), slices_from_chunks(chunks), strict=True))
    futures: dict[Hashable, Future] = {}
    # Blocks pass through the scheduler: few at a time.
    few = max(1, int(SENT_AT_ONCE * len(slices) / max(1, array.nbytes)))
    keys = list(slices)
    for first in range(0, len(keys), few):
        futures |= client.scatter({key: array[slices[key]] for key in keys[first : first + few]})
    client.sync(_protect, client, list(futures), parity, group)
    graph = HighLevelGraph.from_collections(name, futures)
    return da.Array(graph, name, chunks, dtype=array.dtype)


def _ready_client(caller: str, parity: int) -> Client | None:
    """Return the current client with the plugin installed, None if there is no client."""
    client = current_client()
    if client is None:
        return None
    if client.asynchronous:
        raise TypeError(
            f"the current client is asynchronous; {caller}() needs a synchronous distributed.Client"
        )
    install(client)
    workers = client.scheduler_info(n_workers=0)["n_workers"]
    if 0 < workers <= parity:
        warnings.warn(
            f"parity={parity} needs more than {parity} workers and the cluster has {workers}: "
            "nothing is protected until more come",
            CodedWarning,
            stacklevel=3,
        )
    return client


def _check_counts(parity: int, group: int | None) -> None:
    for name, value in {"parity": parity, "group": 1 if group is None else group}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} is not valid; give an integer of at least 1")


def _keys(collection: Any) -> Iterator[Hashable]:
    if dask.is_dask_collection(collection):
        yield from flatten(collection.__dask_keys__())


def _arrays(collection: Any, number: int) -> list[da.Array]:
    """Return the Dask arrays that a collection consists of."""
    if isinstance(collection, da.Array):
        return [collection]
    if hasattr(collection, "_to_temp_dataset"):  # xarray.DataArray
        collection = collection._to_temp_dataset()
    variables = getattr(collection, "variables", None)
    if variables is None:
        raise TypeError(
            f"collections[{number}] is a {type(collection).__name__}; give Dask arrays or xarray objects, "
            "or use dask.persist"
        )
    return [variable.data for variable in variables.values() if isinstance(variable.data, da.Array)]


async def _protect(client: Client, keys: list[Hashable], parity: int, group: int | None) -> None:
    assert client.scheduler is not None
    silence = settings_from_config({}).late.silence
    await client.scheduler.coded_protect(keys=keys, parity=parity, group=group, silence=silence)
