"""Turn lanes into coded groups: pieces under new keys, parity lanes, quorum tasks.

::

    before:  a[i,*], b[*,j] ─ lane ─► target (i, j)

    after:   a[i,*], b[*,j] ─ lane ─► piece (i, j) ──► quorum task under the
             encode, b[*,j] ─ clone of a lane ─► parity ──► target's old key
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from dask._task_spec import GraphNode, Task, TaskRef
from dask.base import tokenize

from dask_coded.graph.cost import Verdict
from dask_coded.graph.doors import Door, Flat, Key
from dask_coded.graph.find import Product
from dask_coded.graph.groups import Part, parts
from dask_coded.graph.inputs import Inputs
from dask_coded.graph.lanes import Lane, NotSeparable, trace
from dask_coded.graph.names import fingerprint, is_block, name_part, renamed
from dask_coded.graph.program import Program
from dask_coded.graph.settings import Settings
from dask_coded.graph.totals import totals
from dask_coded.runtime.group import Group
from dask_coded.runtime.quorum import Quorum

__all__ = ["Plan", "rewrite"]


@dataclass(frozen=True)
class Plan:
    """A product, or a program on an encoded array, that is to be coded, and how.

    Parameters
    ----------
    product : Product or Program
        What is computed.
    verdict : Verdict
        How it is coded.
    doors : tuple of Door
        One for each coded operand.
    entries : dict of str to list of Door
        Layers that read doors, and which.
    """

    product: Product | Program
    verdict: Verdict
    doors: tuple[Door, ...]
    entries: Mapping[str, list[Door]]

    @classmethod
    def of(cls, product: Product, verdict: Verdict) -> Plan:
        doors = tuple(Door.of(product, axis) for axis in verdict.axes)
        return cls(product, verdict, doors, {product.layer: [*doors]})

    @classmethod
    def on_encoded(cls, program: Program) -> Plan:
        verdict = Verdict(
            True, "encoded", program.label, axes=(program.axis,), parity=(program.encoded.parity,)
        )
        entries = defaultdict(list)
        for door in program.doors:
            for entry in sorted(program.entries[door.operand.name]):
                entries[entry].append(door)
        return cls(program, verdict, program.doors, entries)


@dataclass
class Draft:
    """The pieces of one group, while they are being made."""

    #: The layer that they are named after, if not the target's.
    title: str = ""
    pieces: list[Key] = field(default_factory=list)
    lanes: list[tuple[Key, ...]] = field(default_factory=list)
    cohorts: dict[Hashable, str] = field(default_factory=dict)
    tasks: dict[Hashable, GraphNode] = field(default_factory=dict)
    inputs: dict[Hashable, GraphNode] = field(default_factory=dict)
    replaced: set[Hashable] = field(default_factory=set)

    def add(self, flat: Flat, lane: Lane, doors: dict[Key, Key], role: str, salt: str, *place: int) -> None:
        """Add a piece: a copy of `lane` under new keys that reads other blocks."""
        kept = lane.shared if role == "piece" else ()
        keys = {key: key if key in kept else renamed(role, key, salt, *place) for key in lane.tasks}
        if self.title:
            keys[lane.target] = renamed(role, lane.target, salt, *place, title=self.title)
        replaced: dict[Any, Any] = {**doors, **keys}
        for key, new in keys.items():
            self.tasks[new] = flat[key].substitute(replaced, key=new)
            self.cohorts[new] = name_part(key)
        self.pieces.append(keys[lane.target])
        self.lanes.append(tuple(keys.values()))

    def weigh_rows(
        self, lane: Lane, inputs: Sequence[Inputs], target_axis: int, salt: str, piece: int
    ) -> None:
        """Let the parity lane that was just added run on means of rows: numbers are added to them there."""
        weights = inputs[0].row_weights(piece)
        if weights is None:
            return
        scales = None if inputs[0].scales is None else TaskRef(inputs[0].scales)
        target = lane.target
        axes: dict[Any, int] = {
            each.substitute(piece, key): each.door.axis.axis
            for each, keys in zip(inputs, lane.doors, strict=True)
            for key in keys
        }
        means: dict[Any, Any] = {
            key: renamed("parity", key, salt, piece, *target[1:], title="means") for key in axes
        }
        for key in self.lanes[-1]:
            self.tasks[key] = self.tasks[key].substitute(means, key=key)
        for key, mean in means.items():
            self.tasks[mean] = Task(mean, weights.divide, TaskRef(key), scales, axes[key])
        result, own = self.pieces[-1], renamed("parity", target, salt, piece, title="weigh-rows")
        self.tasks[own] = Task(own, weights.multiply, TaskRef(result), scales, target_axis)
        self.pieces[-1] = own
        self.lanes[-1] = (*means.values(), *self.lanes[-1], own)


def rewrite(flat: Flat, plan: Plan, settings: Settings, requested: Collection[Any] = ()) -> tuple[Flat, int]:
    """Return the graph with the product coded, and the number of groups made.

    Parameters
    ----------
    flat : dict
        The optimized graph, in which operands and targets have kept their keys
        and the product reads its coded operands through doors.
    plan : Plan
        What to code.
    settings : Settings
        How.
    requested : collection of keys
        What is to be computed.

    Raises
    ------
    NotSeparable
        The product is to be left alone.
    ValueError
        The code that the user gave does not fit.
    """
    targets = [key for key in flat if is_block(key, plan.product.target)]
    lanes = trace(flat, plan.doors, targets)
    drafts = list(_drafts(flat, plan, settings, lanes))
    out = dict(flat)
    for _, draft in drafts:
        for key in draft.replaced:
            del out[key]
    for group, draft in drafts:
        out |= draft.tasks | draft.inputs
        out |= {key: Quorum.of(group, index) for index, key in enumerate(group.targets)}
    if isinstance(plan.product, Program) and plan.product.summed and settings.launch != "adaptive":
        for total, tasks in totals(flat, plan.product.target, [group for group, _ in drafts], requested):
            out |= tasks | {total.targets[0]: Quorum.of(total, 0)}
    return out, len(drafts)


def _drafts(
    flat: Flat, plan: Plan, settings: Settings, lanes: dict[Key, Lane]
) -> Iterator[tuple[Group, Draft]]:
    product, axes = plan.product, [axis.which for axis in plan.verdict.axes]
    salt = tokenize(product.layer, product.target, axes, replace(settings, explicit=None))
    shared: dict[Any, tuple[Inputs, ...]] = {}
    for part in _parts(plan, lanes, settings):
        places = _places(plan, part)
        membership = (part.axes, part.rows, places)
        if membership not in shared:
            shared[membership] = _inputs(plan, part, places, settings)
        draft = _draft(
            flat, plan, part, shared[membership], tokenize(salt, fingerprint(part.code), part.rows)
        )
        yield _group(plan, part, draft, shared[membership], settings), draft


def _parts(plan: Plan, lanes: dict[Key, Lane], settings: Settings) -> Iterator[Part]:
    if isinstance(plan.product, Program):
        return plan.product.parts(lanes)
    return parts(plan.product, plan.verdict, lanes, settings)


def _places(plan: Plan, part: Part) -> tuple[frozenset[tuple[int, ...]], ...]:
    """Return for each coded operand which blocks a lane reads, the row left out."""
    found = []
    for which in part.axes:
        axis = plan.doors[which].axis.axis
        places = {
            frozenset((*key[1 : 1 + axis], *key[2 + axis :]) for key in lane.doors[which])
            for lane in part.lanes
        }
        if len(places) > 1:
            raise NotSeparable(f"lanes of {plan.product.target} read different parts of their rows")
        found.append(places.pop())
    return tuple(found)


def _inputs(
    plan: Plan, part: Part, places: tuple[frozenset[tuple[int, ...]], ...], settings: Settings
) -> tuple[Inputs, ...]:
    if isinstance(plan.product, Program):
        return tuple(array.inputs(part.rows[0]) for array in plan.product.sources)
    dtype = plan.product.blocks.dtype
    made = []
    for number, which in enumerate(part.axes):
        door = plan.doors[which]
        # Rows and columns scaled at once would need two sets of scales in the decode.
        scaled = settings.scale and len(part.axes) == 1 and door.operand.blocks.dtype.kind in "fc"
        made.append(Inputs(door, part.rows[number], places[number], part.code, number, dtype, scaled))
    return tuple(made)


def _draft(flat: Flat, plan: Plan, part: Part, inputs: tuple[Inputs, ...], salt: str) -> Draft:
    """Make all pieces of a group, in the code's order."""
    draft = Draft(_title(plan, part))
    sizes = tuple(map(len, part.rows))
    target_of = {piece: index for index, piece in enumerate(part.code.systematic)}
    for piece in range(part.code.n):
        if piece in target_of:
            lane = part.lanes[target_of[piece]]
            draft.add(flat, lane, _own_doors(plan, lane), "piece", salt)
            continue
        rows = tuple(each.model_row(piece) for each in inputs[: len(sizes)])
        lane = part.lanes[int(np.ravel_multi_index(rows, sizes))]
        doors = _own_doors(plan, lane)
        coded = part.axes if isinstance(plan.product, Product) else range(len(inputs))
        for each, which in zip(inputs, coded, strict=True):
            doors |= {key: each.substitute(piece, key) for key in lane.doors[which]}
        draft.add(flat, lane, doors, "parity", salt, piece)
        if isinstance(plan.product, Program) and plan.product.affine:
            draft.weigh_rows(lane, inputs, plan.product.axis.target_axis, salt, piece)
    for each in inputs:
        draft.inputs |= each.tasks
    draft.replaced = {key for lane in part.lanes for key in lane.tasks if key not in lane.shared}
    return draft


def _title(plan: Plan, part: Part) -> str:
    """Return the layer that pieces are named after: what computes, where one task does all; or none."""
    if isinstance(plan.product, Program):
        return plan.product.work
    return plan.product.layer if all(len(lane.tasks) == 1 for lane in part.lanes) else ""


def _own_doors(plan: Plan, lane: Lane) -> dict[Key, Key]:
    return {key: door.inside(key) for door, keys in zip(plan.doors, lane.doors, strict=True) for key in keys}


def _group(plan: Plan, part: Part, draft: Draft, inputs: tuple[Inputs, ...], settings: Settings) -> Group:
    blocks, axis = plan.product.blocks, plan.doors[part.axes[0]].axis
    program = plan.product if isinstance(plan.product, Program) else None
    targets = tuple(lane.target for lane in part.lanes)
    return Group(
        name=tokenize(draft.pieces, targets),
        code=part.code,
        pieces=tuple(draft.pieces),
        targets=targets,
        lanes=tuple(draft.lanes),
        shapes=tuple(tuple(n[i] for n, i in zip(blocks.chunks, key[1:], strict=True)) for key in targets),
        axis=axis.target_axis,
        length=1 if program is not None and program.summed else inputs[0].length,
        dtype=blocks.dtype.str,
        tolerance=settings.tolerance_of(blocks.dtype),
        inputs=tuple(draft.inputs),
        cohorts=draft.cohorts,
        launch=settings.launch,
        late=settings.late,
        scales=inputs[0].scales,
        label=plan.product.label,
        affine=program is not None and program.affine,
        addends=1 if program is None else program.addends,
    )
