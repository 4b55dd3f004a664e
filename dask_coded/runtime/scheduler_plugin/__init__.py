"""The only place that touches the Scheduler: hooks in, surgery out.

`plugin` has the hooks, `adoption` finds our groups in new graphs, `driver` feeds the machine,
`hands` carries out what it asks for, `edges` changes single tasks, `looks` reads what runs where,
`here` knows what is in this process, `telling` warns users.
"""

from dask_coded.runtime.scheduler_plugin.plugin import CodedPlugin
from dask_coded.runtime.scheduler_plugin.telling import warn_clients

__all__ = ["CodedPlugin", "warn_clients"]
