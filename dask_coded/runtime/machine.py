"""The rules of coded execution as a machine without Dask, clocks or I/O.

``handle(event)`` takes what happened and returns what to do::

      GroupAdded                 KeyFinished(piece)             KeyFinished(target)
          |                             |                              |
          v                             v                              v
    .-----------.   late piece   .-------------.  decodable   .------------------.
    | waiting   |--------------->| parity runs |------------->| narrowed: decode |
    | for own   |   Launch or    '-------------'    Narrow    '------------------'
    | pieces    |   Rerun               |                        |         |
    '-----------'                       | own piece after all    | source  | done
          |      own piece in           v                        | lost    v
          '-----------------------> target done <----------------'      target done
                                         |                    Widen, then again
                                         v
                               all targets done: Close

Events may come in any order and more than once; `validate` states what holds
after each. A piece that is late is never given up: it is held until it ends,
and wins if it comes first.

Longer than other files, so that all rules that depend on each other stand together.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import replace

from dask_coded.codes.code import Decoding
from dask_coded.runtime import events as ev
from dask_coded.runtime import instructions as do
from dask_coded.runtime.book import Book
from dask_coded.runtime.cohorts import Cohorts
from dask_coded.runtime.group import Lateness
from dask_coded.runtime.held import Held, Overtaken
from dask_coded.runtime.policy import (
    HOPELESS,
    HOPELESS_OTHER,
    RERUN_COST,
    may_substitute,
    parity_wanted,
    rescue,
)
from dask_coded.runtime.shares import SLOWEST, Shares
from dask_coded.runtime.snapshot import Counters

__all__ = ["Machine"]

#: A target that could be decoded for this many typical lane times is decoded,
#: whatever keeps its own piece from coming.
PATIENCE = 1.0
#: ... but never sooner than this many seconds.
LEAST_PATIENCE = 1.0
#: A task late within a long lane is waited for until it has taken this part of the
#: time of the parity lane that would replace it.
WORTH_A_LANE = 0.9
#: Tasks that a held worker still runs are suspect after this many seconds.
LEAST_SUSPICION = 0.5


class Machine:
    """Decides, for all groups of one scheduler, what to launch, decode and give up.

    Parameters
    ----------
    counters : Counters, optional
        Where it counts what it did.
    """

    def __init__(self, counters: Counters | None = None) -> None:
        self.books: dict[str, Book] = {}
        self.counters = Counters() if counters is None else counters
        self.cohorts = Cohorts()
        self.held = Held(self.cohorts, self.counters)
        self.shares = Shares()
        self.reruns: dict[Hashable, int] = {}
        #: Own pieces that a decode came before; may outlive groups.
        self.overtaken: dict[Hashable, Overtaken] = {}
        self._books_of: dict[Hashable, set[str]] = {}
        self._cohort_of: dict[Hashable, str] = {}
        self._log: deque[tuple[float, str, str, Hashable]] = deque(maxlen=2000)

    # ---------------------------------------------------------------- queries

    def knows(self, key: Hashable) -> bool:
        """Tell whether `key` belongs to a group, as piece, target, lane or encode task."""
        return key in self._books_of or key in self.overtaken

    def cohort(self, key: Hashable) -> str | None:
        """Return the cohort of a lane task, None for any other task."""
        return self._cohort_of.get(key)

    @property
    def busy(self) -> bool:
        """True while some group waits for a target, or a worker is held back."""
        return len(self.held) > 0 or any(book.open for book in self.books.values())

    @property
    def lateness(self) -> Lateness:
        """The strictest thresholds among the open groups."""
        open_books = [book.group.late for book in self.books.values() if book.open]
        return min(open_books, key=lambda late: late.interval, default=Lateness())

    def story(self, name: str) -> list[tuple[float, str, Hashable]]:
        """Return what happened to the group called `name`: (time, what, key)."""
        return [(now, what, key) for now, group, what, key in self._log if group == name]

    def books_of(self, key: Hashable) -> list[Book]:
        """Return the groups that `key` belongs to."""
        return [self.books[name] for name in sorted(self._books_of.get(key, ()))]

    # ----------------------------------------------------------------- events

    def handle(self, event: ev.Event) -> list[do.Instruction]:  # noqa: C901 (a line for each event)
        """Take one event and return the instructions that answer it, in order."""
        match event:
            case ev.GroupAdded():
                return self._add(event)
            case ev.GroupsPlaced():
                return self._share_out(event)
            case ev.KeyFinished():
                return self._finished(event)
            case ev.KeyReleased():
                return self._released(event.key, event.now, event.needed)
            case ev.KeyFixed():
                return self._fixed(event.key, event.now)
            case ev.KeyErred():
                return self._erred(event.key, event.now)
            case ev.KeyForgotten():
                return self._forgotten(event.key, event.now)
            case ev.DecodeFailed():
                return self._decode_failed(event)
            case ev.SourcesGone():
                return self._sources_gone(event)
            case ev.LaunchRefused():
                return self._launch_refused(event)
            case ev.Ticked():
                return self._ticked(event)
            case ev.WorkerLeft():
                self.held.left(event.worker)
                self.shares.left(event.worker)
                return []
        raise TypeError(f"not an event: {event!r}")

    def _add(self, event: ev.GroupAdded) -> list[do.Instruction]:
        group, now = event.group, event.now
        if group.name in self.books:
            return self._add_again(self.books[group.name], event)
        book = self.books[group.name] = Book(group, now)
        self.counters.groups += 1
        self._note(book, now, "added", group.name)
        for keys in (*group.lanes, group.pieces, group.targets, group.inputs):
            for key in keys:
                self._books_of.setdefault(key, set()).add(group.name)
        self._cohort_of.update(group.cohorts)
        found: list[do.Instruction] = [do.Hold(book.kept)]
        if group.launch == "eager":
            found += self._launch(book, book.parity, now)
        return found

    def _add_again(self, book: Book, event: ev.GroupAdded) -> list[do.Instruction]:
        """Targets that were forgotten are asked for once more."""
        idle = book.gone | book.done.keys()
        back = idle.intersection(event.targets if event.targets is not None else idle)
        if not back:
            return []
        book.gone -= back
        for index in back:
            book.done.pop(index, None)
        book.open = True
        self._note(book, event.now, "added again", book.group.name)
        return [do.Hold(book.kept)]

    def _share_out(self, event: ev.GroupsPlaced) -> list[do.Instruction]:
        """Leave out pieces on slow workers; parity is computed in their place."""
        fresh = {name for name, book in self.books.items() if book.open and not book.sources}
        homes = {name: event.homes[name] for name in event.homes if name in fresh}
        sharing = self.shares.share_out(replace(event, homes=homes), self.books)
        if sharing is None:
            return []
        found: list[do.Instruction] = [do.Stay(sharing.key_homes())]
        lanes = Counter(key for move in sharing.moves for key in move.book.group.lanes[move.own])
        # Not what another group waits for.
        found.append(do.Omit(tuple(key for key in lanes if lanes[key] == len(self._books_of[key]))))
        for move in sharing.moves:
            book, keys = move.book, move.book.group.lanes[move.own]
            book.omitted.add(move.own)
            book.late[move.own] = event.now
            self.counters.omitted += 1
            self._note(book, event.now, "omitted", keys)
            found += self._launch(book, [move.parity], event.now, at_home=True)
        return found

    def _admit(self, book: Book, now: float) -> list[do.Instruction]:
        """Let omitted pieces run: what was to take their place may not come."""
        keys = tuple(key for piece in sorted(book.omitted) for key in book.group.lanes[piece])
        if not keys:
            return []
        book.omitted.clear()
        self._note(book, now, "admitted", keys)
        return [do.Admit(keys)]

    def _admit_missing(self, book: Book, now: float) -> list[do.Instruction]:
        """The same, unless the targets of all omitted pieces are done or being decoded."""
        settled = {book.own[index] for index in (*book.done, *book.decoding)}
        return [] if book.omitted <= settled else self._admit(book, now)

    def _finished(self, event: ev.KeyFinished) -> list[do.Instruction]:
        key, now = event.key, event.now
        since, typical = self.overtaken.pop(key, Overtaken(now, 0.0))
        self.counters.seconds_saved += now - since
        found = self._watch_worker(event, typical)
        spent = False
        for book in self.books_of(key):
            piece, target = book.piece_of.get(key), book.target_of.get(key)
            if piece is not None:
                found += self._piece_in(book, piece, key, now)
            if target is not None:
                found += self._target_in(book, target, event)
            spent = spent or (target is None and self._is_redundant(book, key))
        if spent:
            self.counters.parity_tasks += 1
            self.counters.seconds_spent += event.seconds
        return found

    def _watch_worker(self, event: ev.KeyFinished, typical: float) -> list[do.Instruction]:
        """Take account of how long a task took; hold back a worker that is late time after time."""
        cohort = self._cohort_of.get(event.key)
        if cohort is not None:
            typical = self.cohorts.typical(cohort)
            if any(book.group.launch == "adaptive" for book in self.books_of(event.key)):
                return self._measure_worker(event, cohort, typical)
            self.cohorts.finished(cohort, event.seconds, event.turnaround)
        return self.held.finished(event, typical)

    def _measure_worker(self, event: ev.KeyFinished, cohort: str, typical: float) -> list[do.Instruction]:
        """The same where shares follow speed: only a hopelessly slow worker is held back."""
        self.shares.finished(event.worker, event.seconds, typical)
        slowness = self.shares.slowness(event.worker)
        self.cohorts.finished(cohort, event.seconds / slowness, event.turnaround / slowness)
        return self.held.finished(event, SLOWEST * typical)

    def _piece_in(self, book: Book, piece: int, key: Hashable, now: float) -> list[do.Instruction]:
        if not book.open:
            return [do.Drop((key,))]
        book.arrived(piece, key)
        self._note(book, now, "piece in", key)
        return self._advance(book, now)

    def _target_in(self, book: Book, index: int, event: ev.KeyFinished) -> list[do.Instruction]:
        own, now = book.own[index], event.now
        decoding, _ = book.decoding.pop(index, (None, ()))
        decoded = event.decoded and decoding is not None
        if decoding is not None and decoded:
            self._count_decoded(book, decoding, event.seconds)
            if own not in book.sources and own not in book.omitted:
                piece = book.group.pieces[own]
                self.overtaken[piece] = Overtaken(now, self.cohorts.typical(self._cohort_of.get(piece, "")))
        elif not event.decoded:
            book.arrived(own, event.key)
        book.gone.discard(index)
        book.done[index] = decoded
        book.decodable_since.pop(index, None)
        self._note(book, now, "decoded" if decoded else "done", event.key)
        ended = self._end_parts(book, now) if decoded else []
        return self._advance(book, now) + self._close_if_done(book, now) + ended

    def _count_decoded(self, book: Book, decoding: Decoding, seconds: float) -> None:
        counters = self.counters
        counters.seconds_spent += seconds
        if not book.group.substitutes:
            counters.decoded += 1
            counters.max_error_bound = max(counters.max_error_bound, decoding.amplification * book.eps)
        else:
            counters.substituted += 1
            share = (1 + sum(book.done.values())) / len(book.group.targets)
            counters.max_residual = max(counters.max_residual, share**0.5)

    def _released(self, key: Hashable, now: float, needed: bool) -> list[do.Instruction]:
        found: list[do.Instruction] = []
        for book in self.books_of(key):
            broken = book.lost(key)
            target = book.target_of.get(key) if needed else None
            for index in broken:
                found.append(do.Widen(book.group, index))
            if target is not None:
                found += self._target_lost(book, target, now)
            if broken or target is not None:
                self._note(book, now, "lost", key)
                found += self._advance(book, now)
            if broken or target is not None or needed:
                found += self._admit_missing(book, now)
        return found

    def _target_lost(self, book: Book, index: int, now: float) -> list[do.Instruction]:
        interrupted = book.decoding.pop(index, None) is not None
        if book.done.pop(index, None) is None:
            return [do.Widen(book.group, index)] if interrupted else []
        self.counters.recomputed += 1
        if book.own[index] not in book.sources:
            book.late[book.own[index]] = now
        reopened = not book.open
        book.open = True
        found: list[do.Instruction] = [do.Widen(book.group, index)]
        return [do.Hold(book.kept), *found] if reopened else found

    def _fixed(self, key: Hashable, now: float) -> list[do.Instruction]:
        found: list[do.Instruction] = []
        for book in self.books_of(key):
            index = book.target_of.get(key)
            if index is None:
                continue
            book.fixed.add(index)
            self._note(book, now, "fixed", key)
            if book.decoding.pop(index, None) is not None:
                found.append(do.Widen(book.group, index))
            found += self._admit(book, now)
        return found

    def _erred(self, key: Hashable, now: float) -> list[do.Instruction]:
        found: list[do.Instruction] = []
        for book in self.books_of(key):
            piece = book.piece_of.get(key)
            if piece is not None and piece in book.parity:
                book.dead.add(piece)
                self._note(book, now, "parity failed", key)
                found += [do.Drop((key,)), *self._admit(book, now)]
            target = book.target_of.get(key)
            if target is not None:
                book.give_up(target)
                found += self._close_if_done(book, now)
        return found

    def _forgotten(self, key: Hashable, now: float) -> list[do.Instruction]:
        found: list[do.Instruction] = []
        self.overtaken.pop(key, None)
        for book in self.books_of(key):
            book.lost(key)
            target = book.target_of.get(key)
            if target is None:
                continue
            book.give_up(target)
            found += self._close_if_done(book, now)
            if len(book.gone) == len(book.group.targets):
                self._remove(book)
        return found

    def _decode_failed(self, event: ev.DecodeFailed) -> list[do.Instruction]:
        found: list[do.Instruction] = []
        for book in self.books_of(event.key):
            index = book.target_of.get(event.key)
            if index is None or index not in book.decoding:
                continue
            decoding, _ = book.decoding.pop(index)
            book.refused.setdefault(index, set()).add(decoding.used)
            book.decodable_since.pop(index, None)
            self.counters.refused += 1
            self._note(book, event.now, f"decode refused: {event.reason}", event.key)
            found += [*self._admit(book, event.now), do.Widen(book.group, index)]
            found += self._advance(book, event.now)
        return found

    def _sources_gone(self, event: ev.SourcesGone) -> list[do.Instruction]:
        """Plan again: a piece may have been freed once its target was done, and be read there."""
        found: list[do.Instruction] = []
        for book in self.books_of(event.key):
            index = book.target_of.get(event.key)
            if index is None or book.decoding.pop(index, None) is None:
                continue
            broken = [w for key in event.gone for w in book.lost(key)]
            self._note(book, event.now, "sources gone", event.gone)
            found += [do.Widen(book.group, w) for w in (index, *broken)]
            if event.gone:
                found += self._advance(book, event.now)
            found += self._admit_missing(book, event.now)
        return found

    def _launch_refused(self, event: ev.LaunchRefused) -> list[do.Instruction]:
        book = self.books.get(event.group.name)
        if book is not None and book.open:
            book.inputs_gone = True
            book.launched.difference_update(book.piece_of[key] for key in event.keys)
            self._note(book, event.now, "launch refused", event.keys)
        return []

    # -------------------------------------------------------------- decisions

    def _advance(self, book: Book, now: float) -> list[do.Instruction]:
        """Decode what can be decoded and is late."""
        found: list[do.Instruction] = []
        for index in book.waiting():
            decoding = book.plan(index)
            if decoding is None or not self._may_decode(book):
                book.decodable_since.pop(index, None)
                continue
            since = book.decodable_since.setdefault(index, now)
            if book.own[index] not in book.late and now - since < self._patience(book):
                continue
            sources = tuple(book.sources[t] for t in decoding.used)
            book.decoding[index] = (decoding, sources)
            self._note(book, now, "decode", book.group.targets[index])
            found += self.held.hold_overtaken(book.group.lanes[book.own[index]])
            found.append(do.Narrow(book.group, index, decoding, sources))
        return found

    def _may_decode(self, book: Book) -> bool:
        return not book.group.substitutes or may_substitute(len(book.done), len(book.group.targets))

    def _patience(self, book: Book) -> float:
        if book.group.patience is not None:
            return book.group.patience
        return max(LEAST_PATIENCE, PATIENCE * max(self._lane_seconds(book, t) for t in book.own))

    def _lane_seconds(self, book: Book, piece: int) -> float:
        cohorts = (self._cohort_of.get(key) for key in book.group.lanes[piece])
        return sum(self.cohorts.typical(cohort) for cohort in cohorts if cohort is not None)

    def _ticked(self, event: ev.Ticked) -> list[do.Instruction]:
        event = replace(event, running=self.shares.usual(event.running))
        awaited = {key: look for key, look in event.running.items() if not look.overtaken}
        late = self.cohorts.late(awaited, self.lateness)
        arriving = self.shares.usual({k: look for k, look in event.arriving.items() if k in self._cohort_of})
        late_to_begin = self.cohorts.late_to_begin(arriving, awaited, self.lateness)
        event = replace(event, running={**event.running, **{key: arriving[key] for key in late_to_begin}})
        late |= late_to_begin
        found = self.held.ticked(event, any(book.open for book in self.books.values()))
        found += self.held.hold_late_workers(late, self.overtaken)
        found += self._rescue(event, late)
        for book in list(self.books.values()):
            if book.open:
                found += self._advance(book, event.now)
                if book.omitted and book.is_overdue(event.now, self._patience(book)):
                    found += self._admit(book, event.now)
        return found

    def _rescue(self, event: ev.Ticked, late: set[Hashable]) -> list[do.Instruction]:
        found: list[do.Instruction] = []
        marked: dict[str, Book] = {}
        for key in sorted(late, key=str):
            marked.update((b.group.name, b) for b in self.books_of(key) if self._mark_late(b, key, event.now))
            if not self._cohort_of.get(key):
                found += self._rerun(key, event)
        for book in marked.values():
            found += [*self._admit(book, event.now), *self._answer(book, event, late)]
        for key, look in event.running.items():
            if look.overtaken:
                continue
            # Whatever else a held worker still runs is suspect too.
            if look.worker in self.held and not self._cohort_of.get(key) and key not in late:
                if look.seconds > max(2 * self.cohorts.typical(look.cohort), LEAST_SUSPICION):
                    found += self._rerun(key, event)
        return found

    def _mark_late(self, book: Book, key: Hashable, now: float) -> bool:
        """Mark the piece that `key` serves as late; tell whether its group must act."""
        if not book.open or book.group.substitutes:
            return False
        for piece, lane in enumerate(book.group.lanes):
            if key in lane and piece not in book.sources:
                if piece not in book.late:
                    book.late[piece] = now
                    self.counters.late += not book.group.parts
                    self._note(book, now, "late", key)
                return True
        return False

    def _answer(self, book: Book, event: ev.Ticked, late: set[Hashable]) -> list[do.Instruction]:
        """Launch parity for the late pieces of a group, or run its late tasks again."""
        missing = book.missing()
        if not missing:
            return []
        if book.group.parts:
            return self._add_up_parity(book, event.now)
        spare = book.group.late.spare
        late_tasks = [key for piece in missing for key in book.group.lanes[piece] if key in late]
        late_seconds = sum(self.cohorts.typical(self._cohort_of[key]) for key in late_tasks)
        parity = book.group.code.helpful(missing, book.usable_parity)
        lane_seconds = max((self._lane_seconds(book, t) for t in parity), default=0.0)
        answer = rescue(lane_seconds, late_seconds, len(missing), len(parity), spare)
        in_vain = all(self._ran_again_in_vain(key, event) for key in late_tasks)
        if answer == "parity" and (in_vain or not book.inputs_gone):
            elapsed = max((event.running[key].seconds for key in late_tasks), default=0.0)
            if elapsed < WORTH_A_LANE * lane_seconds:
                return []
            wanted = parity_wanted(len(missing), spare, book.group.late.max_concurrent)
            worth = math.inf if in_vain else lane_seconds + RERUN_COST
            return self._launch(book, parity[:wanted], event.now, worth)
        return [step for key in late_tasks for step in self._rerun(key, event)]

    def _add_up_parity(self, book: Book, now: float) -> list[do.Instruction]:
        """Compute a sum from parity, once more of its parts are late than parity can repair."""
        parts = [self.books[name] for name in book.group.parts if name in self.books]
        beyond = len(parts) == len(book.group.parts) and any(map(_is_beyond_parity, parts))
        if book.launched or not beyond or any(part.inputs_gone or part.dead for part in parts):
            return []
        found: list[do.Instruction] = []
        seconds = RERUN_COST
        for part in parts:
            seconds += self._lane_seconds(part, part.parity[0])
            found += self._launch(part, part.parity, now, seconds) if part.open else []
        return found + self._launch(book, book.parity, now, seconds)

    def _end_parts(self, book: Book, now: float) -> list[do.Instruction]:
        """A sum is there: nobody waits for what it would have been made of."""
        found: list[do.Instruction] = []
        for part in (self.books[name] for name in book.group.parts if name in self.books):
            ended = part.pending if part.open else []
            if ended:
                found.append(do.Drop(tuple(part.group.targets[index] for index in ended)))
                for index in ended:
                    part.give_up(index)
                found += self._close_if_done(part, now)
        return found

    def _ran_again_in_vain(self, key: Hashable, event: ev.Ticked) -> bool:
        return key in self.reruns and self.held.is_hopeless(event.running[key], HOPELESS, RERUN_COST)

    def _launch(
        self,
        book: Book,
        pieces: Iterable[int],
        now: float,
        worth: float = math.inf,
        at_home: bool = False,
    ) -> list[do.Instruction]:
        new = tuple(t for t in pieces if t not in book.launched and t not in book.dead)
        if not new:
            return []
        book.launched.update(new)
        keys = tuple(book.group.pieces[t] for t in new)
        self._note(book, now, "launch", keys)
        return [do.Launch(book.group, keys, worth, at_home)]

    def _rerun(self, key: Hashable, event: ev.Ticked) -> list[do.Instruction]:
        """Run a late task elsewhere: once only, so that work without heartbeats ends."""
        look = event.running[key]
        worker = look.worker
        factor = HOPELESS if key in self._cohort_of else HOPELESS_OTHER
        if self.reruns.get(key) or not self.held.is_hopeless(look, factor, RERUN_COST):
            return []
        held = self.held.hold(worker, "a late task runs elsewhere instead")
        if held is None:
            return []
        self.reruns[key] = 1
        self.counters.rerun += 1
        return [*held, do.Rerun(key, worker)]

    def _close_if_done(self, book: Book, now: float) -> list[do.Instruction]:
        if not book.open or book.pending:
            return []
        book.close()
        self._note(book, now, "closed", book.group.name)
        return [do.Close(book.group)]

    # ------------------------------------------------------------ bookkeeping

    def _is_redundant(self, book: Book, key: Hashable) -> bool:
        return key in book.group.inputs or any(key in book.group.lanes[t] for t in book.parity)

    def _remove(self, book: Book) -> None:
        group = book.group
        del self.books[group.name]
        for keys in (*group.lanes, group.pieces, group.targets, group.inputs):
            for key in keys:
                names = self._books_of.get(key)
                if names is None:
                    continue
                names.discard(group.name)
                if not names:
                    del self._books_of[key]
                    self._cohort_of.pop(key, None)
                    self.reruns.pop(key, None)

    def _note(self, book: Book, now: float, what: str, key: Hashable) -> None:
        self._log.append((now, book.group.name, what, key))

    def validate(self) -> None:
        """Check what must hold after every event; raise AssertionError if it does not."""
        for name, book in self.books.items():
            assert book.group.name == name
            book.validate()
        for key, names in self._books_of.items():
            assert names and names <= self.books.keys(), key
        assert self._cohort_of.keys() <= self._books_of.keys()


def _is_beyond_parity(book: Book) -> bool:
    """Tell whether more pieces are late than parity can stand in for."""
    missing = book.missing()
    return len(missing) > len(book.group.code.helpful(missing, book.usable_parity))
