"""What coding did, for people and for programs."""

from __future__ import annotations

from typing import Any

from dask.utils import format_bytes, format_time

__all__ = ["Report"]

_UNITS = {
    "bytes_moved": format_bytes,
    "parity_bytes": format_bytes,
    "spared_seconds": format_time,
    "seconds_saved": format_time,
    "seconds_spent": format_time,
    "max_error_bound": "{:.1e}".format,
    "max_residual": "{:.2f}".format,
}
_MEANING = {
    "groups": "groups of blocks that were coded",
    "late": "pieces that were late",
    "omitted": "pieces left out on slow workers, parity computed in their place",
    "decoded": "blocks decoded from other pieces",
    "rebuilt": "lost blocks rebuilt from survivors",
    "recomputed": "lost blocks that had to be computed again",
    "spared_tasks": "tasks that computing them again would have run",
    "spared_seconds": "worker time that those tasks would have taken",
    "rerun": "late tasks run again on another worker",
    "refused": "decodes refused by the accuracy check",
    "parity_tasks": "redundant tasks that ran",
    "bytes_moved": "size of the pieces read by decodes and rebuilds",
    "max_error_bound": "largest estimated relative error of a decoded block",
    "seconds_saved": "time that late pieces took beyond their decode, so far",
    "seconds_spent": "worker time of redundant tasks",
    "workers_held": "times a late or frozen worker was held back",
    "substituted": "blocks of a prior that stood in for late ones",
    "max_residual": "largest root of the share of a group that they were",
    "kept_groups": "groups of persisted blocks that have parity now",
    "kept_unprotected": "persisted blocks in memory that wait for parity",
    "redundancy": "pieces that every group of persisted blocks can lose now",
    "parity_bytes": "size of their parity in memory",
    "errors": "failures of dask_coded itself (see the scheduler's log)",
}


class Report:
    """Figures since the plugin was installed; see `to_dict` for the names."""

    def __init__(
        self, figures: dict[str, Any], events: list[dict[str, Any]], kept: list[dict[str, Any]] | None = None
    ) -> None:
        self._figures = figures
        #: Groups of persisted blocks: name, blocks, parity, and how many more pieces each can lose.
        self.kept = kept or []
        #: What each decode read and how exact it was, oldest first.
        self.events = events

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by name; times in seconds, sizes in bytes."""
        return dict(self._figures)

    def _rows(self) -> list[tuple[str, str, str]]:
        return [
            (name, str(_UNITS.get(name, str)(value)), _MEANING.get(name, ""))
            for name, value in self._figures.items()
        ]

    def __repr__(self) -> str:
        rows = self._rows()
        wide = max((len(name) for name, _, _ in rows), default=0)
        lines = [f"{name:<{wide}}  {value:>10}  {meaning}" for name, value, meaning in rows]
        return "\n".join(["dask_coded report", *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{value}</td>"
            f"<td style='text-align:left'>{meaning}</td></tr>"
            for name, value, meaning in self._rows()
        )
        return f"<table><caption>dask_coded report</caption>{cells}</table>"
