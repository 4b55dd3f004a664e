"""Keeps the pieces of a group on different workers, and machines, while the cluster changes.

A rebuild may have had no worker of its own to go to, retirement and rebalancing look
at sizes only. A piece is copied first and dropped from its old worker afterwards.
Blocks on a worker that gets no work for a while are copied too, to be read from there
until it does: wherever else they are read would otherwise be left to chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_coded.runtime.scheduler_plugin.replicas import holders, remove_replica
from dask_coded.runtime.shelf import KeptGroup, Shelf

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["Spreading"]

#: Pieces that are on their way at one time: repair must not crowd out the user's own transfers.
MOVES = 8
#: Seconds after which a move is taken for failed.
PATIENCE = 10.0
#: Groups looked at in one go: many groups must not keep the scheduler busy.
LOOKS = 200


@dataclass(frozen=True)
class Move:
    """A piece on its way from one worker to another.

    A `lent` one stays at its source too, and goes there again one day.
    """

    source: str
    target: str
    since: float
    lent: bool = False


class Spreading:
    """Chooses workers for pieces, and moves pieces that have come together."""

    def __init__(self, scheduler: Scheduler, shelf: Shelf) -> None:
        self.scheduler = scheduler
        self.shelf = shelf
        self.moves: dict[Hashable, Move] = {}
        #: Copies of blocks whose own worker gets no work.
        self.lent: dict[Hashable, Move] = {}
        #: Parity pieces that each worker was given.
        self.given: Counter[str] = Counter()
        self._next = 0

    # ---------------------------------------------------------------- choosing

    def machines(self) -> dict[str, str]:
        """Return the machine of each worker."""
        return {ws.address: ws.host for ws in self.scheduler.workers.values()}

    def places(self, blocks: Iterable[Hashable], parity: int) -> list[str]:
        """Return workers for parity pieces: other ones than the blocks', of other machines if possible."""
        taken = holders(self.scheduler, blocks)
        free = self.scheduler.running - set(taken)
        crowd = Counter(ws.host for ws in taken)
        chosen: list[str] = []
        while free and len(chosen) < parity:
            best = min(free, key=lambda ws: (crowd[ws.host], self.given[ws.address], ws.nbytes, ws.address))
            free = free - {best}
            crowd[best.host] += 1
            chosen.append(best.address)
        chosen = chosen or sorted(ws.address for ws in self.scheduler.running)
        self.given.update(chosen[:parity])
        return chosen

    def keep_apart(self, ts: TaskState) -> None:
        """Let a piece be computed on a worker that holds no other one of its groups, or as few as possible.

        Nor on one that fetches this piece: a worker that fetches from where it was lost
        cannot compute it before that attempt has failed, which takes as long as
        connecting may take. Blocks go beside parity rather than beside other blocks:
        products of two blocks on one worker take two turns.
        """
        fetching = {dts.processing_on for dts in ts.dependents if dts.processing_on is not None}
        able = self.scheduler.running - fetching
        held = Counter(holders(self.scheduler, self.shelf.neighbours(ts.key)))
        crowd: Counter[str] = Counter()
        for ws, number in held.items():
            crowd[ws.host] += number
        groups = [group for group in self.shelf.groups_of.get(ts.key, ()) if ts.key in group.blocks]
        blocks = Counter(ws for group in groups for ws in holders(self.scheduler, group.blocks))
        if able:
            worth = {ws: (held[ws], crowd[ws.host], blocks[ws]) for ws in able}
            least = min(worth.values())
            chosen = {ws.address for ws in able if worth[ws] == least}
            ts.worker_restrictions, ts.loose_restrictions = chosen, True

    # ------------------------------------------------------------------ moving

    def __call__(self, groups: Iterable[KeptGroup], held: Collection[str], now: float) -> None:
        """End moves that are done, begin those that are needed in some of the groups, by turns.

        Workers in `held` get no work for a while, but others can read from them.
        """
        self._end(now)
        self._take_back(held)
        incoming = Counter(move.target for move in self.moves.values())
        every = list(groups)
        first = self._next if self._next < len(every) else 0
        self._next = first + LOOKS
        for group in every[first : first + LOOKS]:
            if len(self.moves) >= MOVES:
                return
            self._begin(group, incoming, now)
            self._part_blocks(group, held, now)
            if held:
                self._lend(group, held, now)

    def _end(self, now: float) -> None:
        for key, move in list(self.moves.items()):
            ts = self.scheduler.tasks.get(key)
            held = self._holders(key)
            if {move.source, move.target} <= held:
                if move.lent:
                    self.lent[key] = move
                elif not remove_replica(self.scheduler, ts, move.source):
                    continue
            elif now - move.since < PATIENCE and move.source in held:
                continue
            del self.moves[key]

    def _take_back(self, held: Collection[str]) -> None:
        """Drop copies of blocks whose own worker gets work again."""
        for key, move in list(self.lent.items()):
            ts = self.scheduler.tasks.get(key)
            where = self._holders(key)
            if not {move.source, move.target} <= where:
                del self.lent[key]
            elif move.source not in held and remove_replica(self.scheduler, ts, move.target):
                del self.lent[key]

    def _lend(self, group: KeptGroup, held: Collection[str], now: float) -> None:
        """Copy blocks of held workers to where least of their group is.

        Not those that others have copies of, unless these have blocks of their own to work on.
        """
        able = self.scheduler.running
        blocks = Counter(ws.address for ws in holders(self.scheduler, group.blocks))
        for key in group.blocks:
            where = self._holders(key)
            source = min(where.intersection(held), default=None)
            if source is None or key in self.moves or key in self.lent:
                continue
            free = [ws for ws in able if ws.address not in where]
            if not free or len(self.moves) >= MOVES:
                return
            target = min(free, key=lambda ws: (blocks[ws.address], ws.nbytes, ws.address)).address
            busy = all(blocks[address] > max(1, blocks[target]) for address in where.difference(held))
            if busy:
                blocks[target] += 1
                self._move(key, source, target, now, lent=True)

    def _begin(self, group: KeptGroup, incoming: Counter[str], now: float) -> None:
        """Begin the moves that a group needs, as far as possible."""
        pieces = {key: self._where(key) for key in group.pieces}
        taken = Counter(address for where in pieces.values() for address in where)
        machines = self.machines()
        crowd = self._crowd(taken)
        free = {ws.address: ws for ws in self.scheduler.running if ws.address not in taken}
        for key, where in pieces.items():
            if not free or len(self.moves) >= MOVES:
                return
            if len(where) != 1 or key in self.moves or self.scheduler.tasks[key].state != "memory":
                continue
            (source,) = where
            others = self.shelf.groups_of[key].keys() - {group}
            if others and taken[source] == 1:
                continue  # what makes the machines of one group more equal may do the reverse for another
            able = self._free_of(others, key, free)
            if not able:
                if self._make_room(others, key, free, now):
                    return
                continue
            target = min(able, key=lambda a: (crowd[machines[a]], incoming[a], free[a].nbytes, a))
            here, there = machines.get(source, source), machines[target]
            # One machine more than parity covers is worth a move only if it makes machines more equal.
            if taken[source] > 1 or crowd[here] > max(len(group.parity), crowd[there] + 1):
                self._move(key, source, target, now)
                del free[target]
                taken[source] -= 1
                crowd[here] -= 1
                crowd[there] += 1
                incoming[target] += 1

    def _part_blocks(self, group: KeptGroup, held: Collection[str], now: float) -> None:
        """Move one of two blocks on a worker beside parity: work on both would take two turns.

        Where a group has more pieces than there are workers, some have to share one.
        """
        blocks = Counter(address for key in group.blocks for address in self._where(key))
        if max(blocks.values(), default=0) < 2:
            return
        taken = Counter(address for key in group.pieces for address in self._where(key))
        machines = self.machines()
        crowd = self._crowd(taken)
        for key in group.blocks:
            where = self._where(key)
            if len(where) != 1:
                continue
            (source,) = where
            unsettled = key in self.moves or key in self.lent or self.scheduler.tasks[key].state != "memory"
            if blocks[source] < 2 or source in held or unsettled or len(self.shelf.groups_of[key]) > 1:
                continue
            here = machines.get(source, source)
            able = [
                ws.address
                for ws in self.scheduler.running
                if not blocks[ws.address] and taken[ws.address] == 1
                if ws.host == here or crowd[ws.host] < crowd[here]
            ]
            if able and len(self.moves) < MOVES:
                self._move(key, source, min(able), now)
            return

    def _crowd(self, taken: Counter[str]) -> Counter[str]:
        """Return how many pieces each machine holds, given how many each worker does."""
        machines, crowd = self.machines(), Counter[str]()
        for address, number in taken.items():
            crowd[machines.get(address, address)] += number
        return crowd

    def _free_of(self, others: Collection[KeptGroup], key: Hashable, free: Iterable[str]) -> list[str]:
        """Return which workers hold no piece of other groups that a piece belongs to."""
        taken = {a for other in others for one in other.pieces if one != key for a in self._where(one)}
        return [address for address in free if address not in taken]

    def _make_room(
        self, others: Collection[KeptGroup], key: Hashable, free: Iterable[str], now: float
    ) -> bool:
        """Move parity away from a worker to which a piece can then be moved; tell whether that was possible.

        Parity is in one group only, so that there is a place for it more often.
        """
        for address in sorted(free):
            there = [
                (one, other)
                for other in others
                for one in other.pieces
                if one != key and address in self._where(one)
            ]
            if len(there) != 1 or there[0][0] not in there[0][1].parity or there[0][0] in self.moves:
                continue
            ((parity, other),) = there
            taken = {a for one in other.pieces for a in self._where(one)}
            able = {ws.address for ws in self.scheduler.running} - taken
            if able and self.scheduler.tasks[parity].state == "memory":
                self._move(parity, address, min(able), now)
                return True
        return False

    def _holders(self, key: Hashable) -> set[str]:
        """Return the workers that hold a piece now."""
        return {ws.address for ws in holders(self.scheduler, [key])}

    def _where(self, key: Hashable) -> set[str]:
        """Return the workers that will hold a piece."""
        if key in self.moves and not self.moves[key].lent:
            return {self.moves[key].target}
        if key in self.lent or key in self.moves:
            return {(self.lent.get(key) or self.moves[key]).source}
        ts = self.scheduler.tasks.get(key)
        if ts is None or ts.who_has:
            return self._holders(key)
        if ts.processing_on is not None:
            return {ts.processing_on.address}
        planned = ts.worker_restrictions or ()
        return set(planned) if len(planned) == 1 else set()

    def _move(self, key: Hashable, source: str, target: str, now: float, lent: bool = False) -> None:
        self.moves[key] = Move(source, target, now, lent)
        stimulus = f"dask-coded-spread-{now}"
        self.scheduler.request_acquire_replicas(target, [key], stimulus_id=stimulus)
