"""The scheduler plugin: what Dask calls, told to the machine and to the vault.

Long because Dask wants all hooks in one class.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from time import time
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.ioloop import PeriodicCallback

from dask_coded.runtime import events as ev
from dask_coded.runtime.device_plugin import DevicePlugin
from dask_coded.runtime.farewell_plugin import FarewellPlugin
from dask_coded.runtime.machine import Machine
from dask_coded.runtime.quorum import Quorum
from dask_coded.runtime.scheduler_plugin import here
from dask_coded.runtime.scheduler_plugin.acts import CLIENT
from dask_coded.runtime.scheduler_plugin.adoption import Adoption, encoded_groups
from dask_coded.runtime.scheduler_plugin.driver import Driver
from dask_coded.runtime.scheduler_plugin.figures import kept_figures, kept_groups
from dask_coded.runtime.scheduler_plugin.guarding import guarded
from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.scheduler_plugin.looks import Looks
from dask_coded.runtime.scheduler_plugin.telling import warn_clients
from dask_coded.runtime.scheduler_plugin.vault import Vault
from dask_coded.runtime.scheduler_plugin.versions import Versions
from dask_coded.runtime.scheduler_plugin.watching import TEND
from dask_coded.runtime.scheduler_plugin.workers import give_plugin
from dask_coded.runtime.snapshot import Counters
from dask_coded.runtime.tasks import DECODES, TOPIC
from dask_coded.runtime.worker_plugin import UnlinkPlugin

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState

__all__ = ["CodedPlugin"]

logger = logging.getLogger("distributed.scheduler.coded")


class CodedPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Watches tasks finish and completes each coded block as soon as it is decodable.

    Register it with `dask_coded.install`; nothing else is needed. It holds keys
    as a client called "dask-coded" and changes only quorum tasks.
    """

    name = "dask-coded"
    idempotent = True

    def __init__(self) -> None:
        self.scheduler: Scheduler | None = None
        self.broken = False

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]

    # ----------------------------------------------------------- life of plugin

    async def start(self, scheduler: Scheduler) -> None:
        """Begin to watch; safe to call twice."""
        if self.scheduler is scheduler:
            return
        self.scheduler = scheduler
        self.counters = Counters()
        self._reset()
        self._pulse = PeriodicCallback(self.tick, 50)
        self._vault_pulse = PeriodicCallback(self.tend, 1000 * TEND)
        scheduler.handlers["coded_report"] = self.report
        scheduler.handlers["coded_protect"] = self.protect
        scheduler.handlers["coded_uninstall"] = self.uninstall
        self._adopt(list(scheduler.tasks))
        here.schedulers.add(scheduler)
        self._asked = [give_plugin(scheduler, plugin) for plugin in (FarewellPlugin(), DevicePlugin())]

    async def close(self) -> None:
        """Stop watching; called when the scheduler closes."""
        if self.scheduler is not None:
            here.schedulers.discard(self.scheduler)
            self._pulse.stop()
            self._vault_pulse.stop()

    def _reset(self) -> None:
        assert self.scheduler is not None
        self.machine = Machine(self.counters)
        self.looks = Looks(self.scheduler)
        self.hands = Hands(
            self.scheduler,
            self.looks,
            lambda ts: self.adoption.is_related(ts),
            self._in_use,
            self._is_concerned,
            self._later_guarded,
        )
        self.versions = Versions(
            self.scheduler,
            self.machine.knows,
            lambda key: key in self.vault.shelf.makers,
            self._provide,
            self._complain,
            self._later_guarded,
        )
        self.vault = Vault(self.scheduler, self.hands, self.counters, self._later_guarded, self.versions)
        self.driver = Driver(self.machine, self.hands, self._later_guarded, self._tidy)
        self.adoption = Adoption(self.driver, self.later)
        self.broken = False

    async def uninstall(self) -> str:
        """Give up coding, let computations go on plain, and leave nothing behind."""
        assert self.scheduler is not None
        here.schedulers.discard(self.scheduler)
        self.give_up()
        if not self._pulse.is_running():
            self._pulse.start()  # until the tasks that cannot be stopped have ended
        for handler in ("coded_report", "coded_protect", "coded_uninstall"):
            self.scheduler.handlers.pop(handler, None)
        self.scheduler.plugins.pop(self.name, None)
        for plugin in (UnlinkPlugin, FarewellPlugin, DevicePlugin):
            self.scheduler.worker_plugins.pop(plugin.name, None)
        return "OK"

    async def report(self) -> dict[str, Any]:
        """Answer `dask_coded.report`: figures, and what each decode read."""
        assert self.scheduler is not None
        told = [event for _, event in self.scheduler.get_events(TOPIC)]
        bounds = [event["bound"] for event in told if event.get("action") == "decoded"]
        figures = self.counters.to_dict() | kept_figures(self.vault.shelf, self.hands)
        figures["max_error_bound"] = max(bounds, default=figures["max_error_bound"])
        return {
            "version": 1,
            "figures": figures,
            "events": told,
            "kept": kept_groups(self.vault.shelf, self.hands),
        }

    async def protect(
        self, keys: Iterable[Hashable], parity: int, group: int | None = None, silence: float = 2.5
    ) -> str:
        """Answer `dask_coded.persist`: give parity to blocks, once they are in memory."""
        self._protect(list(keys), parity, group, silence)
        return "OK"

    @guarded
    def _protect(self, keys: list[Hashable], parity: int, group: int | None, silence: float) -> None:
        self.vault.prepare()
        self.vault.watching.silence = silence
        self.vault.protect(keys, parity, group)
        self._begin_vault_pulse()

    @guarded
    def tend(self) -> None:
        """Look after blocks that must survive, while there are any."""
        if self.vault.empty:
            self._vault_pulse.stop()
        else:
            self.vault.tend()

    # -------------------------------------------------------------------- hooks

    @guarded
    def update_graph(
        self,
        scheduler: Scheduler,
        *,
        tasks: Iterable[Hashable] = (),
        keys: Iterable[Hashable] = (),
        **kwargs: Any,
    ) -> None:
        """Find the groups in a new graph and take the parity edges off; keep encoded arrays."""
        self._adopt(list(tasks))
        for groups in encoded_groups(keys):
            self.vault.prepare()
            self.vault.keep_encoded(groups)
            self._begin_vault_pulse()

    @guarded
    def _adopt_again(self, key: Hashable) -> None:
        """A finished target whose data was freed is computed once more."""
        if any(isinstance(ts.run_spec, Quorum) for ts in self.hands.states([key])):
            self._adopt([key])

    def _adopt(self, keys: Sequence[Hashable]) -> None:
        if self.adoption(keys):
            self._begin_pulse()

    def _in_use(self, key: Hashable) -> bool:
        """Tell whether a key is read by groups under way or kept for good."""
        return key in self.vault.shelf.groups_of or any(book.open for book in self.machine.books_of(key))

    @guarded
    def transition(self, key: Hashable, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Tell the machine and the vault what became of a task."""
        if self.hands.on_transition(key, finish):
            self.looks.on_delivered(key, None, time())
            return
        self._tell_versions(key, start, finish)
        if not self.vault.empty:
            self._tell_vault(key, start, finish, kwargs.get("stimulus_id") or "")
        if self.machine.books or self.hands.lingering:
            self._tell_machine(key, start, finish, kwargs)

    def _tell_machine(self, key: Hashable, start: str, finish: str, details: dict[str, Any]) -> None:
        now = time()
        if finish == "processing":
            self.looks.on_assigned(key, now)
            return
        if finish == "waiting" and start == "released" and self.machine.knows(key):
            self.later(functools.partial(self._adopt_again, key))
        elif finish == "released":
            self._on_released(key, start, now, details.get("stimulus_id") or "")
        elif start == "processing" and finish == "memory":
            self._on_finished(key, now, details)
        elif finish == "erred":
            self.driver.in_transition(ev.KeyErred(now, key))
        elif finish == "forgotten":
            self.driver.in_transition(ev.KeyForgotten(now, key))
            self.later(self._tidy)
        if key in self.hands.lingering:
            self.later(self._tidy)

    def _tell_versions(self, key: Hashable, start: str, finish: str) -> None:
        if finish == "waiting" and start == "released":
            self.versions.on_waiting(key)
        elif finish == "memory":
            self.versions.on_memory(self.hands.states([key])[0])
        elif finish == "forgotten":
            self.versions.on_forgotten(key)

    def _provide(self, ts: TaskState) -> None:
        """Have a task's own version computed, if another one is in memory or under way."""
        if self.vault.provides(ts):
            return
        self.driver.tell(ev.KeyFixed(time(), ts.key))
        if ts.state == "memory":
            self.hands.transitions({ts.key: "released"})

    def _complain(self, key: Hashable) -> None:
        warn_clients(
            f"{key!r} was computed again from numbers that differ by rounding from those it had first, and "
            "nothing yields those any more; if it is ill-posed, what came of both may not fit together"
        )

    def _tell_vault(self, key: Hashable, start: str, finish: str, stimulus: str) -> None:
        if finish == "memory":
            self.vault.on_memory(key)
        elif finish == "released":
            self.vault.on_released(key, start, failed=stimulus.startswith("task-erred"))
        elif finish == "no-worker":
            self.vault.on_no_worker(key)
        elif finish == "erred":
            self.vault.on_erred(key)
        elif finish == "forgotten":
            self.vault.on_forgotten(key)

    def _on_finished(self, key: Hashable, now: float, details: dict[str, Any]) -> None:
        assert self.scheduler is not None
        ts = self.scheduler.tasks[key]
        worker = details.get("worker") or ""
        turnaround = self.looks.turnaround(key, worker, now)
        self.looks.on_delivered(key, worker or None, now)
        seconds = sum(
            part["stop"] - part["start"]
            for part in details.get("startstops", ())
            if part["action"] == "compute"
        )
        if not self.machine.knows(key):
            self.machine.cohorts.finished(ts.group.name, seconds)
            return
        decoded = getattr(ts.run_spec, "func", None) in DECODES
        if any(key in book.target_of for book in self.machine.books_of(key)):
            self.versions.on_target(ts, decoded)
        self.driver.in_transition(ev.KeyFinished(now, key, seconds, ts.nbytes, decoded, worker, turnaround))

    def _on_released(self, key: Hashable, start: str, now: float, stimulus: str) -> None:
        assert self.scheduler is not None
        ts = self.scheduler.tasks[key]
        self.looks.on_delivered(key, None, now)
        if start not in ("memory", "processing") or not self.machine.knows(key):
            return
        if start == "processing" and stimulus.startswith("task-erred"):
            self.driver.in_transition(ev.DecodeFailed(now, key, str(ts.retries)))
        self.driver.in_transition(ev.KeyReleased(now, key, bool(ts.who_wants or ts.waiters)))

    def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:
        """Forget what was known about a worker that left."""
        self._on_worker_left(worker)

    @guarded
    def _on_worker_left(self, worker: str) -> None:
        self.hands.held.paused.pop(worker, None)
        self.looks.delivered.pop(worker, None)
        self.driver.tell(ev.WorkerLeft(time(), worker))
        self.later(self._tidy)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Forget what a client that left has asked for in vain."""
        self._on_client_left()

    @guarded
    def _on_client_left(self) -> None:
        self.vault.on_client_left()

    def restart(self, scheduler: Scheduler) -> None:
        """Start afresh: the scheduler has dropped every task."""
        self._reset()
        scheduler.clients.pop(CLIENT, None)

    @guarded
    def tick(self) -> None:
        """Look at what runs; called every few dozen milliseconds while there is something to wait for."""
        assert self.scheduler is not None
        if not self.machine.busy and not self._is_read():
            self._tidy()
            if not self.hands.lingering:
                self._pulse.stop()
                self.machine.reruns.clear()
            return
        now = time()
        self._give_back_cancelled()
        threads = {ws.address: ws.nthreads for ws in self.scheduler.running}
        lateness = self.machine.lateness
        silent = self.looks.silent(now, lateness.silence, lateness.interval, self.machine.held)
        running, arriving = self.looks.running(now, self._cohort, self.hands.lingering)
        recovered = self.hands.held.recovered(set(self.machine.held) - set(silent))
        occupied = self.looks.occupied(self._cohort)
        self.driver.tell(ev.Ticked(now, running, threads, silent, recovered, occupied, arriving))
        self.driver.flush()

    def _is_read(self) -> bool:
        """Tell whether a task waits for the result of a group: its holder may stop answering."""
        targets = (key for book in self.machine.books.values() for key in book.group.targets)
        return any(ts.waiters for key in targets for ts in self.hands.states([key]))

    def _give_back_cancelled(self) -> None:
        """Let go of targets that only the plugin still wants: their client left or cancelled."""
        for book in list(self.machine.books.values()):
            if not book.open:
                continue
            pending = self.hands.states(book.group.targets)
            alone = [ts.key for ts in pending if not ts.dependents and self.hands.only_ours(ts)]
            if alone:
                lanes = [
                    key for ts_key in alone for key in book.group.lanes[book.own[book.target_of[ts_key]]]
                ]
                self.hands.let_go(alone, lanes)

    # ------------------------------------------------------- machine and queues

    def _cohort(self, ts: TaskState) -> str | None:
        found = self.machine.cohort(ts.key)
        if found is not None:
            return found
        if ts.key in self.hands.lingering or self.adoption.is_related(ts):
            return str(ts.group.name)
        return None

    def _is_concerned(self, ts: TaskState) -> bool:
        """Tell whether a task must not wait for a worker that does not answer."""
        if self.adoption.is_related(ts) or any(self.machine.knows(dts.key) for dts in ts.dependencies):
            return True
        return self.vault.watching.is_concerned(ts)

    @guarded
    def _tidy(self) -> None:
        """Let go of what ended, forget what nobody refers to."""
        self.adoption.forget_ended()
        self.hands.settle(lambda key: any(book.open for book in self.machine.books_of(key)))
        if not self.machine.books and not self.hands.lingering:
            self.looks.clear()

    def later(self, act: Callable[[], None]) -> None:
        assert self.scheduler is not None
        self.scheduler.loop.add_callback(act)

    def _later_guarded(self, act: Callable[[], None]) -> None:
        self.later(functools.partial(self._do, act))

    @guarded
    def _do(self, act: Callable[[], None]) -> None:
        act()

    def _begin_pulse(self) -> None:
        self._pulse.callback_time = 1000 * self.machine.lateness.interval
        if not self._pulse.is_running():
            self._pulse.start()

    def _begin_vault_pulse(self) -> None:
        if not self._vault_pulse.is_running():
            self._vault_pulse.start()

    def give_up(self) -> None:
        """Stop coding every group; their computations go on as plain Dask's."""
        machine, hands, vault = self.machine, self.hands, self.vault
        self.driver.stop()
        paused = list(hands.held.paused)
        try:
            self._reset()
            # What the old hands give another spec is released under the eyes of the new ones.
            self.hands.respecs = hands.respecs
            vault.clear()
            for book in machine.books.values():
                for index in book.pending:
                    hands.widen(book.group, index)
                hands.close(book.group)
            for address in paused:
                hands.held.free(address)
            self.hands.lingering = hands.lingering
        except Exception:
            logger.exception("dask_coded could not clean up after itself")
            self._let_everything_go()
        self.adoption.sweep_orphans(list(self.hands.scheduler.tasks))
        self.hands.sign_off()

    def _let_everything_go(self) -> None:
        """Give back every key, whatever state it is in: the last resort after a bug."""
        assert self.scheduler is not None
        self.hands.admit(list(self.scheduler.tasks))
        client = self.scheduler.clients.get(CLIENT)
        if client is not None:
            keys = [ts.key for ts in client.wants_what]
            self.scheduler.client_releases_keys(keys=keys, client=CLIENT)
