"""The only place that touches the Scheduler: hooks in, surgery out.

`plugin` has the hooks and feeds the machine, `hands` carries out what it asks
for, `edges` changes single tasks, `looks` reads what runs where, `telling` warns users.
"""

from dask_coded.runtime.scheduler_plugin.plugin import CodedPlugin
from dask_coded.runtime.scheduler_plugin.telling import warn_clients

__all__ = ["CodedPlugin", "warn_clients"]
