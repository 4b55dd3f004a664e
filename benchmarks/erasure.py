"""Byte-exact parity beside memcpy: encoding, recovery and checksums, in one process, without Dask.

Methods are run in turn, and medians of GB/s of blocks read are shown with their ratio to
copying the same blocks into memory that is there already. All run in one thread, and only
its own time counts.

    python benchmarks/erasure.py --k 4 --mib 32
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Callable, Sequence

import harness
import numpy as np

from dask_coded.kernels.erasure import Encoder, ParityPiece, encode, recover
from dask_coded.kernels.erasure.checksums import checksum

Blocks = Sequence[np.ndarray]
Method = Callable[[], object]


def one_by_one(blocks: Blocks, parity: int) -> tuple[ParityPiece, ...]:
    encoder = Encoder(len(blocks), parity, blocks[0].nbytes)
    for index, block in enumerate(blocks):
        encoder.update(index, block)
    return encoder.finish()


def whole_blocks(blocks: Blocks) -> np.ndarray:
    """XOR in passes over whole blocks: the obvious single parity, without checksums."""
    total = blocks[0].view(np.uint64) ^ blocks[1].view(np.uint64)
    for block in blocks[2:]:
        total ^= block.view(np.uint64)
    return total


def copies(blocks: Blocks) -> Method:
    target = np.zeros_like(blocks[0])

    def copy() -> None:
        for block in blocks:
            np.copyto(target, block)

    return copy


def recovery(blocks: Blocks, parity: int) -> Method:
    """Recover as many blocks as there are parities."""
    pieces, lost = encode(blocks, parity), range(min(parity, len(blocks)))
    left = {index: block for index, block in enumerate(blocks) if index not in lost}
    return lambda: recover(lost, left, pieces)


def methods(blocks: Blocks, parities: Sequence[int]) -> dict[str, Method]:
    data = [block.view(np.uint8) for block in blocks]
    found: dict[str, Method] = {
        "memcpy": copies(blocks),
        "XOR, whole blocks, no checksums": lambda: whole_blocks(blocks),
        "zlib.crc32": lambda: [zlib.crc32(each) for each in data],
        "checksum": lambda: [checksum(each, 1 << 18) for each in data],
    }
    for parity in parities:
        found[f"encode, r = {parity}"] = lambda r=parity: encode(blocks, r)
        found[f"encode one by one, r = {parity}"] = lambda r=parity: one_by_one(blocks, r)
        found[f"recover all that r = {parity} can"] = recovery(blocks, parity)
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--k", type=int, default=8, help="blocks (default: 8)")
    parser.add_argument("--mib", type=int, default=16, help="MiB of a block (default: 16)")
    parser.add_argument("--parities", default="1,2,3,4", help="parity pieces (default: 1,2,3,4)")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each method (default: 7)")
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    blocks = [rng.random(options.mib << 17) for _ in range(options.k)]
    total = sum(block.nbytes for block in blocks)
    found = methods(blocks, [int(each) for each in options.parities.split(",")])
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(options.rounds):
        for name, method in found.items():
            began = time.process_time()
            method()
            seconds[name].append(time.process_time() - began)
    print(f"{options.k} blocks of {options.mib} MiB, float64, {harness.machine()}")
    base = np.median(seconds["memcpy"])
    for name, each in seconds.items():
        rate = total / np.median(each) / 1e9
        print(f"{name:36} {rate:6.1f} GB/s   {base / np.median(each):5.2f} of memcpy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
