"""Keep data in the cluster's memory so that it survives lost workers."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator
from typing import Any

import dask
import dask.array as da
from dask.core import flatten
from distributed import Client

from dask_coded.errors import CodedWarning
from dask_coded.install import current_client, install

__all__ = ["persist"]


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
        Something is not a Dask array or made of them, or holds Python objects.
    ValueError
        `parity` or `group` is not a positive integer.

    Warns
    -----
    CodedWarning
        The cluster has too few workers now: with as many as `parity` or fewer nothing
        can be protected.

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
    _check_count("parity", parity)
    if group is not None:
        _check_count("group", group)
    if not collections:
        raise TypeError("persist() needs at least one collection")
    for number, collection in enumerate(collections):
        for array in _arrays(collection, number):
            if array.dtype.hasobject:
                raise TypeError(
                    f"collections[{number}] has dtype {array.dtype}: the bytes of Python objects cannot be "
                    "encoded; convert it, for instance to a string or number dtype, or use dask.persist"
                )
    client = current_client()
    if client is not None and client.asynchronous:
        raise TypeError(
            "the current client is asynchronous; persist() needs a synchronous distributed.Client"
        )
    if client is not None:
        install(client)
        _warn_of_few_workers(client, parity)
    persisted = dask.persist(*collections, **kwargs)
    if client is not None:
        keys = list(dict.fromkeys(key for one in persisted for key in _keys(one)))
        client.sync(_protect, client, keys, int(parity), group)
    return persisted if len(persisted) > 1 else persisted[0]


def _check_count(name: str, value: Any) -> None:
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


def _warn_of_few_workers(client: Client, parity: int) -> None:
    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    if 0 < workers <= parity:
        warnings.warn(
            f"parity={parity} needs more than {parity} workers and the cluster has {workers}: "
            "blocks that are in memory before more workers come are not protected",
            CodedWarning,
            stacklevel=3,
        )


async def _protect(client: Client, keys: list[Hashable], parity: int, group: int | None) -> None:
    assert client.scheduler is not None
    await client.scheduler.coded_protect(keys=keys, parity=parity, group=group)
