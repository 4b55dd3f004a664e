"""Real faults on real worker processes, for tests and benchmarks of any Dask program.

`slow`, `freeze` and `kill` act on the worker's process, as a busy neighbour, a
cut cable and the kernel's memory killer would. `delays` lets tasks take longer
after a model of stragglers. The user's functions stay as they are, and coded
and plain runs meet the same faults.
"""

from dask_coded.testing.delays import Delays, Draw, delays
from dask_coded.testing.faults import freeze, kill, slow
from dask_coded.testing.models import Bimodal, Constant, Model, Pareto, Persistent, ShiftedExponential

__all__ = [
    "Bimodal",
    "Constant",
    "Delays",
    "Draw",
    "Model",
    "Pareto",
    "Persistent",
    "ShiftedExponential",
    "delays",
    "freeze",
    "kill",
    "slow",
]
