"""From which block size and number of columns on coding a product pays.

A product of k row blocks with a matrix of some columns is coded with r parity pieces. What
that costs on top, in seconds of one core (or one device):

    encoding               the blocks are read once for each parity
    scaling                and once for the scales of their rows, which are applied on the way
    parity products        r more block products; only when something is late, or at once

    python benchmarks/break_even.py --mib 1,8,32 --columns 1,16,64,256,1024

The table shows them as parts of the whole product's own time. "Pays from" is the fewest columns
of those tried at which encoding takes less than `--limit` (5 %) of the product; parity products
are r/k of it whatever the size. Encoding once and using the operand in n products divides it by n.

A device is one line in `DEVICES`: how arrays get there, how to wait until it is done, and the
clock. Medians, methods in turn, one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import harness
import numpy as np

from dask_coded.codes import parity
from dask_coded.kernels import encode_block, row_levels
from dask_coded.kernels.backend import numpy_only, prepare

ROWS = 256


@dataclass(frozen=True)
class Device:
    """Where blocks are: `put` brings an array there, `wait` returns when all work there is done.

    `clock` tells the seconds; on a processor that others use too, only its own time counts.
    """

    put: Callable[[np.ndarray], Any]
    wait: Callable[[], None]
    clock: Callable[[], float]


DEVICES = {"cpu": Device(put=np.asarray, wait=lambda: None, clock=time.process_time)}


@dataclass(frozen=True)
class Costs:
    """Seconds for one size of blocks and one number of columns."""

    product: float
    encoding: float
    scaled: float
    parity: float


def seconds_of(device: Device, methods: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median time of each method, run in turn, the first round uncounted."""
    seconds: list[list[float]] = [[] for _ in methods]
    for number in range(rounds + 1):
        for each, method in zip(seconds, methods, strict=True):
            device.wait()
            began = device.clock()
            method()
            device.wait()
            if number:
                each.append(device.clock() - began)
    return [float(np.median(each)) for each in seconds]


def costs(device: Device, mib: float, k: int, r: int, columns: Sequence[int], rounds: int) -> list[Costs]:
    """Measure encoding and one block product for each number of columns."""
    rng, code = np.random.default_rng(0), parity(k, r)
    inner = max(1, int(mib * (1 << 17)) // ROWS)
    blocks = [device.put(rng.standard_normal((ROWS, inner))) for _ in range(k)]

    def encode(scaled: bool) -> None:
        levels = [row_levels(block, 0) for block in blocks] if scaled else None
        for piece in range(k, k + r):
            encode_block(code.coefficients(piece), blocks, levels, axis=0, length=ROWS, dtype=float)

    others = [device.put(rng.standard_normal((inner, width))) for width in columns]

    def product(other: Any) -> Callable[[], object]:
        return lambda: [block @ other for block in blocks]

    methods = [lambda: encode(False), lambda: encode(True), *map(product, others)]
    encoding, scaled, *products = seconds_of(device, methods, rounds)
    return [Costs(whole, encoding, scaled, whole * r / k) for whole in products]


def numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def show(device: str, mib: float, columns: Sequence[int], found: Sequence[Costs], limit: float) -> None:
    for width, each in zip(columns, found, strict=True):
        parts = [part / each.product for part in (each.encoding, each.scaled, each.scaled + each.parity)]
        shown = "".join(f"{part:12.1%}" for part in parts)
        print(f"{device:6} {mib:6g} {width:8d} {1e3 * each.product:12.2f} {shown}")
    for name, costs_of in (("encoding", lambda each: each.encoding), ("scaled", lambda each: each.scaled)):
        paying = [w for w, each in zip(columns, found, strict=True) if costs_of(each) <= limit * each.product]
        where = f"{min(paying)} columns" if paying else "more columns than were tried"
        print(f"{device:6} {mib:6g} MiB, {name}: pays from {where}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=sorted(DEVICES), default="cpu", help="default: cpu")
    parser.add_argument("--backend", choices=("numpy", "compiled"), default="numpy")
    parser.add_argument("--mib", type=numbers, default=[1, 8, 32], help="MiB of a block (default: 1,8,32)")
    parser.add_argument("--columns", type=numbers, default=[1, 16, 64, 128, 256, 512, 1024])
    parser.add_argument("--k", type=int, default=8, help="blocks (default: 8)")
    parser.add_argument("--r", type=int, default=1, help="parities (default: 1)")
    parser.add_argument("--limit", type=float, default=0.05, help="encoding over product (default: 0.05)")
    parser.add_argument("--rounds", type=int, default=5, help="counted runs (default: 5)")
    parser.add_argument("--quick", action="store_true", help="tiny, one round: shows that it runs")
    options = parser.parse_args(argv)
    if options.quick:
        options.mib, options.columns, options.rounds = [0.125], [1, 8], 1
    columns = [int(width) for width in options.columns]
    prepare()
    print(f"k = {options.k}, r = {options.r}, float64, {options.backend} kernels, {harness.machine()}")
    print("device    MiB  columns   product ms     encoding      scaled  and parity")
    with numpy_only() if options.backend == "numpy" else nullcontext():
        for mib in options.mib:
            found = costs(DEVICES[options.device], mib, options.k, options.r, columns, options.rounds)
            show(options.device, mib, columns, found, options.limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
