"""Figures that tell what coding did: the source of `report`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Counters"]


@dataclass
class Counters:
    """What happened since the plugin was installed.

    Times are in seconds of one worker thread, sizes in bytes.
    """

    groups: int = 0
    late: int = 0
    omitted: int = 0
    decoded: int = 0
    rebuilt: int = 0
    recomputed: int = 0
    spared_tasks: int = 0
    spared_seconds: float = 0.0
    rerun: int = 0
    refused: int = 0
    parity_tasks: int = 0
    bytes_moved: int = 0
    max_error_bound: float = 0.0
    seconds_saved: float = 0.0
    seconds_spent: float = 0.0
    workers_held: int = 0
    substituted: int = 0
    max_residual: float = 0.0
    errors: int = 0

    def to_dict(self) -> dict[str, float | int]:
        """Return the figures by name."""
        return asdict(self)
