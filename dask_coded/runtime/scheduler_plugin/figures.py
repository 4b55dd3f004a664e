"""What is protected and what that takes, as the scheduler knows it."""

from __future__ import annotations

from typing import Any

from dask_coded.runtime.scheduler_plugin.hands import Hands
from dask_coded.runtime.shelf import KeptGroup, Shelf

__all__ = ["kept_figures", "kept_groups"]


def kept_groups(shelf: Shelf, hands: Hands) -> list[dict[str, Any]]:
    """Return for each group its name, blocks, parity pieces and how many more pieces it can lose."""
    return [
        {
            "name": group.name,
            "blocks": len(group.blocks),
            "parity": len(group.parity),
            "redundancy": _redundancy(group, hands),
        }
        for group in shelf.groups.values()
    ]


def _redundancy(group: KeptGroup, hands: Hands) -> int:
    return sum(map(hands.is_readable, group.pieces)) - len(group.blocks)


def _unprotected(shelf: Shelf, hands: Hands) -> int:
    """Return how many blocks in memory are in no group yet, or in one whose parity is not all there."""
    waiting = [group for group in shelf.groups.values() if not all(map(hands.is_readable, group.parity))]
    blocks = sum(sum(map(hands.is_readable, group.blocks)) for group in waiting)
    return blocks + sum(len(request.arrived) for request in shelf.requests())


def kept_figures(shelf: Shelf, hands: Hands) -> dict[str, int]:
    """Return what all groups together hold now."""
    parity = [ts for group in shelf.groups.values() for ts in hands.states(group.parity) if ts.who_has]
    left = [_redundancy(group, hands) for group in shelf.groups.values()]
    return {
        "kept_groups": len(shelf.groups),
        "kept_unprotected": _unprotected(shelf, hands),
        "redundancy": max(0, min(left, default=0)),
        "parity_bytes": sum(ts.get_nbytes() for ts in parity),
    }
