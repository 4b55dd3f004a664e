"""Keeps our own bugs away from computations."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dask_coded.runtime.scheduler_plugin.plugin import CodedPlugin

__all__ = ["guarded"]

logger = logging.getLogger("distributed.scheduler.coded")
Hook = TypeVar("Hook", bound=Callable[..., Any])


def guarded(hook: Hook) -> Hook:
    """Wrap a method of the plugin: if it fails, log that, give up coding, and go on plain."""

    @functools.wraps(hook)
    def guard(self: CodedPlugin, *args: Any, **kwargs: Any) -> Any:
        if self.broken and hook.__name__ == "transition":
            return None
        try:
            return hook(self, *args, **kwargs)
        except Exception:
            logger.exception("dask_coded failed in %s; coding is given up, plain Dask goes on", hook.__name__)
            self.counters.errors += 1
            if hook.__name__ == "transition":
                # The scheduler is not through with the task: nothing may be forgotten under its hands.
                self.broken = True
                self.later(self.give_up)
            else:
                self.give_up()
            return None

    return guard  # type: ignore[return-value]
