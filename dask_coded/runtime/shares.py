"""Which worker computes what, so that all end together: slack squeeze.

Any piece of a group can be left out if a parity piece is computed in its place. So the
work of an iteration can follow the measured speed of the workers, though no block
moves: a worker at half speed computes half of its pieces, and the others decode the
rest (Narra, Lin, Kiamari, Avestimehr, Annavaram 2019, "Slack Squeeze Coded Computing
for Adaptive Straggler Mitigation", arXiv 1904.07098, which cuts rows where this leaves
out whole blocks).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from dask_coded.runtime.book import Book
from dask_coded.runtime.events import GroupsPlaced, Running

__all__ = ["SLOWEST", "Move", "Shares", "Sharing"]

#: How many of a worker's last tasks tell its speed.
SEEN = 8
#: ... and how many it takes to judge.
ENOUGH = 3
#: Tasks shorter than this many seconds tell nothing.
SHORTEST = 0.005
#: A worker slower than this is no matter of shares: its tasks are late. A single task counts
#: for no more either, and the longest not at all: one hiccup tells nothing.
SLOWEST = 4.0
#: While no worker is slower than this, the scheduler shares out work as it always does.
UNEVEN = 1.2
#: A piece is left out if that ends the work by this part of its time sooner.
WORTH = 0.25
#: So many pieces of a worker are compared for each move: the scheduler has more to do.
LOOKED_AT = 50


@dataclass(frozen=True)
class Move:
    """Own piece `own` of a group is left out, `parity` is computed in its place."""

    book: Book
    own: int
    parity: int


class Shares:
    """Measures workers and chooses what each of them computes; knows no clock."""

    def __init__(self) -> None:
        self._ratios: dict[str, deque[float]] = {}
        #: Workers that finished something since work was last shared out.
        self._measured: set[str] = set()

    def finished(self, worker: str, seconds: float, typical: float) -> None:
        """A worker took `seconds` for a task that typically takes `typical`."""
        if worker and typical >= SHORTEST:
            ratio = min(seconds / typical, SLOWEST)
            self._ratios.setdefault(worker, deque(maxlen=SEEN)).append(ratio)
            self._measured.add(worker)

    def left(self, worker: str) -> None:
        """Forget a worker."""
        self._ratios.pop(worker, None)

    def slowness(self, worker: str) -> float:
        """How many times as long as others a worker takes; 1 for one that is as fast or unknown."""
        ratios = sorted(self._ratios.get(worker, ()))
        return max(fmean(ratios[:-1]), 1.0) if len(ratios) >= ENOUGH else 1.0

    def usual(self, running: Mapping[Hashable, Running]) -> Mapping[Hashable, Running]:
        """Return looks at tasks with the seconds that a worker of usual speed would have needed so far."""
        if not self._ratios:
            return running
        slow = {worker: self.slowness(worker) for worker in self._ratios}
        return {
            key: replace(look, seconds=look.seconds / slow.get(look.worker, 1.0))
            for key, look in running.items()
        }

    def share_out(self, placed: GroupsPlaced, books: Mapping[str, Book]) -> Sharing | None:
        """Choose who computes what, None while the workers are about equally fast."""
        for worker in self._ratios.keys() - self._measured:
            # One that was given nothing is measured no more: believe in it step by step.
            self._ratios[worker].append(1.0)
        self._measured.clear()
        slow = {worker: self.slowness(worker) for worker in placed.threads}
        if max(slow.values(), default=1.0) < UNEVEN:
            return None
        sharing = Sharing(placed, books, slow)
        sharing.squeeze()
        return sharing


class Sharing:
    """Who computes which pieces of the groups of one graph.

    Parameters
    ----------
    placed : GroupsPlaced
        Which workers could compute each piece without fetching a block.
    books : dict of str to Book
        The groups.
    slow : dict of str to float
        How slow the workers are.
    """

    def __init__(self, placed: GroupsPlaced, books: Mapping[str, Book], slow: Mapping[str, float]) -> None:
        self.placed, self.books, self.slow = placed, books, slow
        self.moves: list[Move] = []
        #: The worker chosen for each piece that is computed, by group.
        self.homes: dict[str, dict[int, str]] = {name: {} for name in placed.homes}
        self._ends: dict[str, float] = defaultdict(float)
        own = [
            (len(workers), name, piece)
            for name, holders in placed.homes.items()
            for piece, workers in holders.items()
            if piece in books[name].own
        ]
        for _, name, piece in sorted(own):
            self._give(name, piece)

    def squeeze(self) -> None:
        """Leave out pieces so that the last worker ends as early as possible.

        One after the other, while that helps: a piece of the worker that would end
        last for a parity piece on the one that would end first.
        """
        own_at: dict[str, dict[tuple[str, int], None]] = defaultdict(dict)
        for name, homes in self.homes.items():
            for piece, worker in homes.items():
                own_at[worker][name, piece] = None
        while own_at:
            last = max(own_at, key=lambda worker: (self._ends[worker], worker))
            move = self._best_move(last, list(own_at[last])[:LOOKED_AT])
            if move is None:
                del own_at[last]
                continue
            name = move.book.group.name
            del self.homes[name][move.own], own_at[last][name, move.own]
            self._ends[last] -= self._cost(name, last)
            self._give(name, move.parity)
            self.moves.append(move)

    def key_homes(self) -> dict[Hashable, str]:
        """Return the worker chosen for each task of the pieces that are computed."""
        return {
            key: worker
            for name, homes in self.homes.items()
            for piece, worker in homes.items()
            for key in self.books[name].group.lanes[piece]
        }

    def _best_move(self, last: str, pieces: list[tuple[str, int]]) -> Move | None:
        """Return the move off worker `last` that ends first, None if none is worth it."""
        best: Move | None = None
        limit = self._ends[last]
        for name, own in pieces:
            book, homes = self.books[name], self.homes[name]
            for parity in book.parity:
                if parity in homes or parity in book.dead or parity not in self.placed.homes[name]:
                    continue
                end = self._end(name, self._first(name, parity))
                worth = end < self._ends[last] - WORTH * self._cost(name, last) and end < limit
                if worth and _decodes(book, frozenset(homes.keys() - {own} | {parity})):
                    best, limit = Move(book, own, parity), end
        return best

    def _give(self, name: str, piece: int) -> None:
        worker = self._first(name, piece)
        self.homes[name][piece] = worker
        self._ends[worker] = self._end(name, worker)

    def _first(self, name: str, piece: int) -> str:
        """Return the worker that would end first with a piece more."""
        return min(self.placed.homes[name][piece], key=lambda worker: (self._end(name, worker), worker))

    def _end(self, name: str, worker: str) -> float:
        return self._ends[worker] + self._cost(name, worker)

    def _cost(self, name: str, worker: str) -> float:
        """Return the seconds that a piece takes a worker, its threads shared out."""
        return self.placed.seconds[name] * self.slow.get(worker, 1.0) / self.placed.threads.get(worker, 1)


def _decodes(book: Book, pieces: frozenset[int]) -> bool:
    """Tell whether these pieces yield all targets."""
    return all(
        own in pieces or book.plan_from(index, pieces) is not None for index, own in enumerate(book.own)
    )
