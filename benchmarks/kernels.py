"""The kernels beside what memory allows, in one process and one thread, without Dask.

    python benchmarks/kernels.py --mib 8,32 --k 4,8,16 --r 1,2,3 --plot kernels.png

**Ceiling**: the faster of copying (``y = x``) and the triad (``y = x + z``, which moves what
``y = x + s * z`` does, and in one pass with NumPy) on arrays that no cache holds, in bytes
read and written a second.

**Fraction**: the bytes that must be read once and written once, over the seconds that the
kernel took, over the ceiling. For k blocks that give r results that is (k + r) blocks;
re-reading, scratch memory and page faults count against the kernel. The blocks of a group
lie at uneven distances, as blocks do that came at different times.

All methods of a case are run in turn, and the medians of the CPU seconds are compared.
`kernel` rows write to memory that is there already; the others are what tasks call, with
their checks, norms, checksums and fresh results. "row levels" reads the blocks only.

The last table is the time from the arrival of the last piece to the result, for pieces
that were folded in as they arrived, beside the time of the whole rebuild at once.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import harness
import numpy as np

from dask_coded.codes import parity
from dask_coded.kernels import Accumulator, combine, decode_block, encode_block, row_levels
from dask_coded.kernels.backend import have_numba, numpy_only, prepare
from dask_coded.kernels.erasure import Rebuilder, encode, recover
from dask_coded.kernels.erasure.array_code import ArrayCode, Repair
from dask_coded.kernels.erasure.columns import collect, syndromes

BACKENDS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "numpy": numpy_only,
    **({"compiled": nullcontext} if have_numba() else {}),
}
CEILINGS = "copy", "triad"
ROWS = 256


@dataclass
class Method:
    """One kernel in one case, and how long it took each time."""

    name: str
    backend: str
    moved: int
    run: Callable[[], object]
    prepare: Callable[[], Callable[[], object]] | None = None
    seconds: list[float] = field(default_factory=list)

    def rate(self) -> float:
        """Return bytes a second."""
        return self.moved / max(float(np.median(self.seconds)), 1e-9)


@dataclass(frozen=True)
class Case:
    """Blocks of one size and number."""

    mib: float
    k: int
    blocks: list[np.ndarray]

    @classmethod
    def draw(cls, mib: float, k: int) -> Case:
        """Return random blocks with gaps of differing sizes between them."""
        rng = np.random.default_rng(k)
        blocks, gaps = [], []
        for j in range(k):
            blocks.append(rng.standard_normal((ROWS, int(mib * (1 << 17)) // ROWS)))
            gaps.append(np.ones((1 + 3 * j % 7) << 14))
        return cls(mib, k, blocks)

    @property
    def nbytes(self) -> int:
        return self.blocks[0].nbytes


def ceilings(mib: float) -> list[Method]:
    """Copy and triad on three arrays of so many MiB."""
    y, x, z = (np.ones(int(mib * (1 << 17))) for _ in range(3))
    return [
        Method("copy", "", 2 * y.nbytes, lambda: np.copyto(y, x)),
        Method("triad", "", 3 * y.nbytes, lambda: np.add(x, z, out=y)),
    ]


def float_methods(case: Case, r: int, backend: str) -> Iterable[Method]:
    code, k, blocks, size = parity(case.k, r), case.k, case.blocks, case.nbytes
    weights = np.ones((1, k)) if r == 1 else np.random.default_rng(r).standard_normal((r, k))
    out = np.zeros((r, *blocks[0].shape))
    yield Method("kernel combine", backend, (k + r) * size, lambda: combine(weights, blocks, out=out))
    levels = [row_levels(block, 0) for block in blocks]
    where: dict[str, Any] = {"axis": 0, "length": ROWS}
    for name, scales in (("", None), (", rows scaled", levels)):
        made = [
            encode_block(code.coefficients(piece), blocks, scales, dtype=float, **where)
            for piece in range(k, k + r)
        ]

        def encode_last(scales: Any = scales) -> None:
            encode_block(code.coefficients(k + r - 1), blocks, scales, dtype=float, **where)

        yield Method(f"encode_block{name}", backend, (k + 1) * size, encode_last)
        plan = code.plan(range(r, k + r), 0)
        assert plan is not None
        pieces = [[*blocks, *made][piece] for piece in plan.used]
        own = [piece if piece < k else -1 for piece in plan.used]

        def decode_first(
            scales: Any = scales, pieces: Any = pieces, own: Any = own, plan: Any = plan
        ) -> None:
            rest = {"shape": blocks[0].shape, "dtype": float, "tolerance": 1.0}
            target = -1 if scales is None else 0
            decode_block(plan.weights, pieces, own, scales, target=target, **where, **rest)

        yield Method(f"decode_block{name}", backend, (len(pieces) + 1) * size, decode_first)
    if r == 1:
        yield Method("row levels", backend, k * size, lambda: [row_levels(b, 0) for b in blocks])


def byte_methods(case: Case, r: int, backend: str) -> Iterable[Method]:
    code, k, blocks, size = ArrayCode(case.k, r), case.k, case.blocks, case.nbytes
    pieces = encode(blocks, r)
    everything = [*(block.reshape(-1).view(np.uint8) for block in blocks), *(p.data for p in pieces)]
    lost = range(min(r, k))
    moved = (k + r) * size

    def kernel(repair: Repair) -> Callable[[], None]:
        sums = syndromes(repair, size)
        read = [(piece, everything[piece]) for piece in repair.sources]
        return lambda: collect(repair, sums, read, size, [None] * len(read), last=True, first=True)

    yield Method("kernel bytes encode", backend, moved, kernel(code.repair(range(k), range(k, code.n))))
    yield Method("kernel bytes rebuild", backend, moved, kernel(code.repair(range(r, code.n), lost)))
    left = {index: block for index, block in enumerate(blocks) if index not in lost}
    yield Method("bytes encode", backend, moved, lambda: encode(blocks, r))
    yield Method("bytes recover", backend, moved, lambda: recover(lost, left, pieces))


def after_the_last(case: Case, r: int, backend: str) -> Iterable[Method]:
    """The whole at once, and what is left once all pieces but one have been folded in."""
    code, k, blocks, size = parity(case.k, r, sub_blocks=1), case.k, case.blocks, case.nbytes
    lost = range(min(r, k))
    plans = [code.plan(range(r, k + r), index) for index in lost]
    weights = np.concatenate([plan.weights for plan in plans if plan is not None])
    pieces = [*blocks[r:], *blocks[:r]]  # what is in them does not matter

    def folded() -> Callable[[], object]:
        sums = Accumulator(weights, float)
        for index in range(k - 1):
            sums.add(index, pieces[index])
        return lambda: (sums.add(k - 1, pieces[-1]), sums.result())

    yield Method("decode, all at once", backend, k * size, lambda: combine(weights, pieces))
    yield Method("decode, after the last", backend, size, lambda: None, prepare=folded)
    made = encode(blocks, r)
    left = {index: block for index, block in enumerate(blocks) if index not in lost}

    def rebuilding() -> Callable[[], object]:
        rebuilder = Rebuilder(made[0].group, range(r, k + r), lost)
        *early, last = rebuilder.missing
        for index in early:
            rebuilder.add(index, blocks[index] if index < k else made[index - k])
        return lambda: (rebuilder.add(last, made[last - k]), rebuilder.finish())

    yield Method("rebuild, all at once", backend, k * size, lambda: recover(lost, left, made))
    yield Method("rebuild, after the last", backend, size, lambda: None, prepare=rebuilding)


def show_arrivals(mib: float, ks: Sequence[int], r: int, rounds: int) -> None:
    """Print the time after the last arrival beside that of all at once, for several k."""
    rows: dict[tuple[str, str], list[float]] = {}
    for k in ks:
        case = Case.draw(mib, k)
        methods = [method for backend in BACKENDS for method in after_the_last(case, r, backend)]
        measure(methods, rounds)
        for method in methods:
            milliseconds = 1e3 * float(np.median(method.seconds))
            rows.setdefault((method.name, method.backend), []).append(milliseconds)
    print(f"\nr = {r} lost blocks of {mib:g} MiB, ms" + "".join(f"   k = {k:<3}" for k in ks))
    for (name, backend), values in rows.items():
        print(f"{name:24} {backend:9}" + "".join(f"{value:10.2f}" for value in values))


def measure(methods: Sequence[Method], rounds: int) -> None:
    """Run all methods in turn, the first round uncounted."""
    for number in range(rounds + 1):
        for method in methods:
            with BACKENDS[method.backend or "numpy"]() if method.backend else nullcontext():
                run = method.run if method.prepare is None else method.prepare()
                began = time.process_time()
                run()
                seconds = time.process_time() - began
            if number:
                method.seconds.append(seconds)


def show_case(case: Case, r: int, rounds: int, ceiling_mib: float) -> dict[tuple[str, str], float]:
    """Measure one case, print its table, and return the fractions by kernel and backend."""
    top = ceilings(ceiling_mib)
    methods = [
        method
        for backend in BACKENDS
        for make in (float_methods, byte_methods)
        for method in make(case, r, backend)
    ]
    measure([*top, *methods], rounds)
    ceiling = max(method.rate() for method in top)
    rates = ", ".join(f"{method.name} {method.rate() / 1e9:.1f} GB/s" for method in top)
    print(f"\nk = {case.k}, r = {r}, {case.mib:g} MiB; {rates}")
    fractions = {(method.name, method.backend): method.rate() / ceiling for method in methods}
    print(f"{'fraction of the ceiling':28}" + "".join(f"{backend:>10}" for backend in BACKENDS))
    for name in dict.fromkeys(method.name for method in methods):
        print(f"{name:28}" + "".join(f"{fractions[name, backend]:10.2f}" for backend in BACKENDS))
    return fractions


def numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def plot(path: str, found: dict[tuple[float, int, int], dict[tuple[str, str], float]]) -> None:
    """Draw the fractions of the plain kernels: one picture a kernel, k along, one line a parity."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in next(iter(found.values())) if name[0].startswith("kernel")]
    kernels = list(dict.fromkeys(name for name, _ in names))
    figure, axes = pyplot.subplots(
        len(BACKENDS), len(kernels), figsize=(4 * len(kernels), 3 * len(BACKENDS)), squeeze=False, sharey=True
    )
    for line, backend in zip(axes, BACKENDS, strict=True):
        for axis, kernel in zip(line, kernels, strict=True):
            for mib, r in sorted({(mib, r) for mib, _, r in found}):
                ks = sorted(k for m, k, s in found if (m, s) == (mib, r))
                values = [found[mib, k, r][kernel, backend] for k in ks]
                axis.plot(ks, values, marker="o", label=f"r = {r}, {mib:g} MiB")
            axis.axhline(1, color="grey", linewidth=0.5)
            axis.set(title=f"{kernel.removeprefix('kernel ')}, {backend}", xlabel="blocks k", ylim=(0, 1.25))
        line[0].set_ylabel("fraction of the ceiling")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=numbers, default=[8, 32], help="MiB of a block (default: 8,32)")
    parser.add_argument("--k", type=numbers, default=[4, 8, 16], help="blocks (default: 4,8,16)")
    parser.add_argument("--r", type=numbers, default=[1, 2, 3], help="parities (default: 1,2,3)")
    parser.add_argument("--rounds", type=int, default=7, help="counted runs of each method (default: 7)")
    parser.add_argument("--quick", action="store_true", help="tiny blocks, one round: shows that it runs")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the fractions of the kernels")
    options = parser.parse_args(argv)
    if options.quick:
        options.mib, options.k, options.rounds = [0.25], [4], 1
    prepare()
    print(f"float64, one thread, backends {', '.join(BACKENDS)}, {harness.machine()}")
    found = {}
    for mib in options.mib:
        for k in map(int, options.k):
            case = Case.draw(mib, k)
            for r in map(int, options.r):
                found[mib, k, r] = show_case(case, r, options.rounds, 1 if options.quick else 128)
        for r in map(int, options.r):
            show_arrivals(mib, [*map(int, options.k)], r, options.rounds)
    if options.plot:
        plot(options.plot, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
