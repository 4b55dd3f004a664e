"""The optimizer that Dask calls: plain Dask's, with the coded rewriting around it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dask._task_spec import convert_legacy_graph, cull, resolve_aliases
from dask.array.optimization import optimize as plain_optimize
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from dask.utils import ensure_dict

from dask_coded.graph.cost import Verdict, decide
from dask_coded.graph.doors import Door, Flat, add_doors, remove_doors
from dask_coded.graph.encoded import Encoded
from dask_coded.graph.find import find
from dask_coded.graph.lanes import NotSeparable
from dask_coded.graph.means import with_totals
from dask_coded.graph.names import name_part
from dask_coded.graph.program import Program
from dask_coded.graph.programs import find_programs
from dask_coded.graph.rewrite import Plan, rewrite
from dask_coded.graph.settings import Settings
from dask_coded.graph.totals import tree_layers
from dask_coded.graph.views import with_own_views

__all__ = ["CodedOptimizer", "explain"]

logger = logging.getLogger("distributed.scheduler.coded")


@dataclass(frozen=True)
class CodedOptimizer:
    """A replacement for `dask.array.optimize` that codes products.

    Parameters
    ----------
    settings : Settings
        Equal settings make equal optimizers.
    encoded : dict
        Encoded arrays that are in the cluster's memory, by name.
    products : bool
        Code products whose operands are not encoded, too.
    warn : callable
        Gets what users should know.

    Examples
    --------
    >>> import dask.array as da
    >>> x = da.ones((40, 20), chunks=10)
    >>> optimize = CodedOptimizer(Settings(force=True))
    >>> graph = optimize((x @ x.T).__dask_graph__(), (x @ x.T).__dask_keys__())
    """

    settings: Settings = Settings()
    encoded: Mapping[str, Encoded] = field(default_factory=dict, hash=False)
    products: bool = True
    warn: Callable[[str], None] = field(default=logger.warning, compare=False)

    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        """Return the optimized graph; exactly Dask's own where nothing is coded."""
        wanted = list(flatten(keys if isinstance(keys, list | set) else [keys]))
        split, plans = self._plans(dsk, wanted) if isinstance(dsk, HighLevelGraph) else (dsk, [])
        if plans and not self.settings.dry:
            coded = self._coded(split, wanted, plans, **kwargs)
            if coded is not None:
                return coded
        return plain_optimize(dsk, keys, **kwargs)

    def _plans(self, dsk: HighLevelGraph, wanted: list[Any]) -> tuple[HighLevelGraph, list[Plan]]:
        """Return what to code, and the graph in which programs have no layer in common."""
        dsk = with_totals(dsk, wanted, self.encoded)
        programs, stops = find_programs(dsk, wanted, self.encoded)
        for stop in stops:
            logger.debug("lanes of an encoded array end before %s: %s", stop.layer, stop.reason)
        split, programs = with_own_views(dsk, wanted, programs)
        plans = [Plan.on_encoded(program) for program in programs]
        taken = {name for program in programs for name in program.layers}
        return split, plans + (self._products(split, wanted, taken) if self.products else [])

    def _products(self, dsk: HighLevelGraph, wanted: list[Any], taken: set[str]) -> list[Plan]:
        products, refusals = find(dsk, wanted)
        for refusal in refusals:
            logger.info("%s: left to plain Dask; %s", refusal.layer, refusal.reason)
        plans = []
        products = [product for product in products if product.layer not in taken]
        for product, verdict in zip(products, decide(products, self.settings), strict=True):
            logger.info("%s", verdict)
            if verdict.code:
                plans.append(Plan.of(product, verdict))
        return plans

    def _coded(self, dsk: HighLevelGraph, wanted: list[Any], plans: list[Plan], **kwargs: Any) -> Flat | None:
        """Return the rewritten graph, or None if every product had to be left alone after all."""
        entries: dict[str, list[Door]] = defaultdict(list)
        for plan in plans:
            for entry, doors in plan.entries.items():
                entries[entry] += doors
        split = add_doors(dsk, entries)
        kept = [*wanted, *_boundaries(split, wanted, plans)]
        flat = convert_legacy_graph(ensure_dict(plain_optimize(split, kept, **kwargs)))
        # Layers keep tasks that nothing needs if as many keys are asked for as they happen to have.
        flat = cull(flat, set(kept))
        flat = resolve_aliases(flat, set(kept), _readers(flat))
        groups = 0
        for plan in plans:
            try:
                flat, made = rewrite(flat, plan, self.settings, wanted)
            except NotSeparable as reason:
                logger.info("%s: left to plain Dask; %s", plan.product.label, reason)
                self.warn(f"{plan.product.label} is not coded: Dask's tasks for it mix its lanes")
            else:
                groups += made
        return remove_doors(flat, [door for plan in plans for door in plan.doors]) if groups else None


def explain(dsk: HighLevelGraph, keys: Any, settings: Settings) -> list[Verdict]:
    """Return what would be decided about each product of a graph."""
    products, refusals = find(dsk, list(flatten([keys])))
    left = [Verdict(False, refusal.reason, refusal.layer, layer=refusal.layer) for refusal in refusals]
    return decide(products, settings) + left


def _boundaries(dsk: HighLevelGraph, wanted: Iterable[Any], plans: list[Plan]) -> list[Any]:
    """Return the keys that Dask must not fuse away: operands, doors and targets that are needed.

    Operands that are not coded are kept too: fused into the lanes they would be
    computed once more for each parity lane, and not always to the same values.
    """
    names = {plan.product.target for plan in plans}
    names |= {operand.name for plan in plans for operand in plan.product.operands}
    names |= {door.name for plan in plans for door in plan.doors}
    for plan in plans:
        if isinstance(plan.product, Program):
            names |= {source for layer in plan.product.layers for source in dsk.dependencies[layer]}
            names -= plan.product.layers - {plan.product.target}
            if plan.product.summed:
                names |= tree_layers(dsk, plan.product.target)
    culled = dsk.cull(list(wanted))
    kept = [key for layer in culled.layers.values() for key in _blocks(layer, names)]
    # Parity and row scales read all blocks of their rows, even if nothing else does.
    programs = [plan.product for plan in plans if isinstance(plan.product, Program)]
    encoded = {array.name for program in programs for array in program.sources}
    return kept + [key for name in encoded for key in dsk.layers[name].get_output_keys()]


def _blocks(layer: Any, names: set[str]) -> list[Any]:
    return [key for key in layer.get_output_keys() if name_part(key) in names]


def _readers(flat: Flat) -> dict[Any, set[Any]]:
    readers: dict[Any, set[Any]] = {key: set() for key in flat}
    for key, task in flat.items():
        for dependency in task.dependencies:
            readers.setdefault(dependency, set()).add(key)
    return readers
