"""Coded dask.array computations: the functions that users call."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from typing import Any

import dask.array as da
import dask.config
from dask.array.optimization import optimize as plain_optimize
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from distributed import get_worker

from dask_coded.codes import Code
from dask_coded.config import settings_from_config
from dask_coded.errors import CodedWarning
from dask_coded.graph.alone import Alone
from dask_coded.graph.encoded import Encoded, encoded_arrays, reads_encoded
from dask_coded.graph.means import with_totals
from dask_coded.graph.optimizer import CodedOptimizer
from dask_coded.graph.optimizer import explain as product_verdicts
from dask_coded.graph.programs import find_programs
from dask_coded.graph.remedies import with_remedies
from dask_coded.graph.settings import Settings
from dask_coded.install import current_client, install
from dask_coded.runtime.scheduler_plugin import here, warn_clients

__all__ = ["coded", "explain", "follow_encoded", "matmul"]

logger = logging.getLogger("distributed.scheduler.coded")


class OnScheduler:
    """The array optimizer that `coded` puts into dask's configuration.

    Dask pickles it with the graph and calls it on the scheduler. Called where it
    was made, where no plugin runs, or in a task (workers inherit the
    configuration of the process that starts them), it does what plain Dask does.
    """

    def __init__(self, settings: Settings, products: bool = True, shipped: bool = False) -> None:
        self.settings = settings
        self.products = products
        self.shipped = shipped

    def __reduce__(self) -> tuple[Any, ...]:
        # What follows encoded arrays was made when the first one was, and the configuration is read now.
        settings = self.settings if self.products or self.shipped else settings_from_config({})
        return type(self), (settings, self.products, True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnScheduler) and other.__dask_tokenize__() == self.__dask_tokenize__()

    def __hash__(self) -> int:
        return hash(self.__dask_tokenize__())

    def __dask_tokenize__(self) -> tuple[str, Settings, bool]:
        return "OnScheduler", self.settings, self.products

    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        """Return the graph, rewritten where that is safe and worth it."""
        if not self.shipped or _inside_task():
            return plain_optimize(dsk, keys, **kwargs)
        workers = here.workers()
        if not workers:
            # Most graphs of a process that has encoded an array have nothing to do with it.
            if self.products or reads_encoded(dsk):
                warn_clients(
                    "a coded computation ran as plain Dask's: its scheduler has no dask_coded plugin; "
                    "call dask_coded.install(client)"
                )
            return plain_optimize(dsk, keys, **kwargs)
        try:
            for encoded in encoded_arrays(dsk):
                here.announce(encoded)
            settings = dataclasses.replace(self.settings, workers=workers)
            known: Any = dict(here.encoded_arrays)
            return CodedOptimizer(settings, known, self.products, warn_clients)(dsk, keys, **kwargs)
        except Exception:
            logger.exception("dask_coded failed to rewrite a graph; plain Dask goes on")
            return plain_optimize(dsk, keys, **kwargs)


def _inside_task() -> bool:
    try:
        get_worker()
    except ValueError:
        return False
    return True


class coded(dask.config.set):  # type: ignore[misc] # noqa: N801
    """Run dask.array products coded: a context manager, or a switch when simply called.

    Matrix products (``@``, dot, tensordot, einsum) that are computed on a
    distributed cluster get parity blocks; a slow, frozen or lost worker then no
    longer delays them. Everything else, and everything without a cluster, is
    left to plain Dask.

    Parameters
    ----------
    parity : int or (int, int)
        Parity pieces for each group of blocks; two numbers for the rows and the
        columns of a product code.
    code : {"auto", "parity", "product", "replication"}
        Family of the code.
    group : int, optional
        Blocks of one group at most; chosen from the number of workers by default.
    axis : {"auto", "rows", "columns"}
        Which output axis of a product is coded.
    launch : {"late", "eager", "adaptive"}
        Compute parity once something is late; at once; or as ``"late"``, and also in
        place of blocks of encoded arrays on workers that are measured to be slow.
    tolerance : float, optional
        Largest estimated relative error of a decoded block (worst row); 1024
        units of rounding error by default.
    min_columns : int
        Products narrower than this are not worth encoding.
    force : bool
        Code even what does not pay.
    dry : bool
        Log what would be coded and change nothing.
    late : dict
        When a task is late: quantile, multiplier, interval, min_task_runtime,
        spare, max_concurrent, silence.

    Raises
    ------
    ValueError, TypeError
        An argument is unknown or out of range.

    Examples
    --------
    >>> import dask.array as da
    >>> import dask_coded as dc
    >>> x = da.ones((40, 20), chunks=10)
    >>> with dc.coded(parity=1):
    ...     y = (x @ x.T).compute()
    >>> float(y[0, 0])
    20.0

    References
    ----------
    Lee, Lam, Pedarsani, Papailiopoulos, Ramchandran (2015), arXiv:1512.02673.
    """

    def __init__(self, **settings: Any) -> None:
        chosen = settings_from_config(settings)
        client = current_client()
        if client is not None and not client.asynchronous:
            install(client)
        super().__init__({"array_optimize": OnScheduler(chosen), **_preload()})

    def __exit__(self, *exception: Any) -> None:
        """Go back to what was before, but for arrays that were encoded meanwhile."""
        super().__exit__(*exception)
        for encoded in list(ENCODED.values()):
            follow_encoded(encoded)


#: Arrays that this process has encoded, by name. What is computed from them is coded everywhere.
ENCODED: dict[str, Encoded] = {}
MOST_ENCODED = 1000


def follow_encoded(encoded: Encoded) -> None:
    """Have what is computed from an encoded array coded, in this process, from now on."""
    ENCODED[encoded.name] = encoded
    for name in list(ENCODED)[:-MOST_ENCODED]:
        del ENCODED[name]
    if dask.config.get("array_optimize", default=None) is None:
        optimizer = OnScheduler(settings_from_config({}), products=False)
        dask.config.set({"array_optimize": optimizer, **_preload()})


def _preload() -> dict[str, list[str]]:
    """Return the configuration that lets clients to come install the plugin."""
    preloads = dask.config.get("distributed.client.preload", default=None) or []
    preloads = [preloads] if isinstance(preloads, str) else list(preloads)
    return {"distributed.client.preload": [*preloads, *{"dask_coded"}.difference(preloads)]}


class Explanation(tuple[str, ...]):
    """What is coded in a computation, and what is not and why: one line for each layer."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(self) if self else "nothing here could be coded"


def explain(x: Any) -> Explanation:
    """Return which parts of a computation run coded, where the barriers are and why.

    Parameters
    ----------
    x : dask.array.Array or another Dask collection
        What would be computed.

    Returns
    -------
    Explanation
        Lines of text. Products are judged as by `coded` with its configuration.

    Raises
    ------
    TypeError
        `x` is no Dask collection.

    Examples
    --------
    >>> import dask.array as da
    >>> import dask_coded as dc
    >>> x = dc.encode(da.ones((4, 3), chunks=(2, 3)))
    >>> dc.explain(da.exp(x.sum(axis=1)))
    coded: sum (4,) of encoded (4, 3)
    plain: exp: exp is not linear
    """
    if not dask.is_dask_collection(x):
        raise TypeError(f"x={x!r} is not a Dask collection")
    keys = list(flatten(x.__dask_keys__()))
    dsk = with_totals(HighLevelGraph.from_collections("explained", {}, dependencies=[x]), keys, ENCODED)
    programs, stops = find_programs(dsk, keys, ENCODED)
    stops = with_remedies(dsk, keys, ENCODED, stops)
    lines = [f"coded: {program.label}" for program in programs]
    lines += [f"plain: {stop.layer.rpartition('-')[0] or stop.layer}: {stop.reason}" for stop in stops]
    taken = {name for program in programs for name in program.layers} | {stop.layer for stop in stops}
    verdicts = product_verdicts(dsk, keys, settings_from_config({}))
    lines += [f"in coded(): {verdict}" for verdict in verdicts if verdict.layer not in taken]
    return Explanation(lines)


def matmul(a: Any, b: Any, code: Code | str | None = None, **settings: Any) -> da.Array:
    """Return the product of two arrays, coded whatever its cost and context.

    Only this product is coded, and `a` and `b` stay lazy: what they are made of
    is coded or not as `coded` says when the result is computed. With an
    asynchronous client, ``await install(client)`` first.

    Parameters
    ----------
    a, b : array-like
        As for `dask.array.matmul`.
    code : Code or str, optional
        From `dask_coded.codes`; its number of systematic pieces must equal the
        number of blocks along the coded axis. A name, or nothing, is taken as by
        `coded`.
    **settings
        As for `coded`.

    Returns
    -------
    dask.array.Array
        Equal to ``dask.array.matmul(a, b)``. Without a distributed client it is
        exactly that.

    Raises
    ------
    ValueError, TypeError
        The code does not fit the blocks, or a setting is out of range.

    Warns
    -----
    CodedWarning
        The product cannot be coded: blocks of a kind that has no parity, or a
        single block.

    Examples
    --------
    >>> import dask.array as da
    >>> import dask_coded as dc
    >>> x = da.ones((40, 20), chunks=10)
    >>> y = dc.matmul(x, x.T, code=dc.codes.parity(4, 1))
    >>> float(y[0, 0])
    20.0
    """
    explicit = code if isinstance(code, Code) else None
    if code is not None and explicit is None:
        settings["code"] = code
    chosen = settings_from_config({**settings, "force": True})
    a, b = da.asanyarray(a), da.asanyarray(b)
    product = da.matmul(a, b)
    client = current_client()
    if client is None and explicit is None:
        return product
    workers = None if client is None else client.scheduler_info(n_workers=0)["n_workers"]
    chosen = dataclasses.replace(chosen, explicit=explicit, workers=workers)
    alone = Alone.of(product.dask, product.name, {a.name, b.name})
    reason = alone.refusal(chosen)
    if reason is not None:
        warnings.warn(f"{product!r} is not coded: {reason}", CodedWarning, stacklevel=2)
    if reason is not None or client is None:
        return product
    if not client.asynchronous:
        install(client)
    graph = HighLevelGraph.from_collections(product.name, alone.tasks(chosen), dependencies=[a, b])
    return da.Array(graph, product.name, product.chunks, meta=product._meta)
