"""Coded computing for Dask: arrays that do not wait for their slowest worker."""

from dask_coded import codes
from dask_coded.array import coded, explain, matmul
from dask_coded.encode import encode, linear
from dask_coded.errors import CodedError, CodedWarning, DecodeRefused, NotDecodable
from dask_coded.install import dask_setup, install, report, uninstall
from dask_coded.persist import persist, scatter
from dask_coded.report import Report
from dask_coded.substitute import substitute

__version__ = "0.1.0"

__all__ = [
    "CodedError",
    "CodedWarning",
    "DecodeRefused",
    "NotDecodable",
    "Report",
    "__version__",
    "coded",
    "codes",
    "dask_setup",
    "encode",
    "explain",
    "install",
    "linear",
    "matmul",
    "persist",
    "report",
    "scatter",
    "substitute",
    "uninstall",
]
