"""The only place that touches the Scheduler: hooks in, surgery out.

`plugin` has the hooks and feeds the machine, `hands` carries out what it asks
for, `edges` changes single tasks, `looks` reads what runs where.
"""

from dask_coded.runtime.scheduler_plugin.plugin import CodedPlugin

__all__ = ["CodedPlugin"]
