"""Defaults under the name ``coded`` in dask's configuration, and their check."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import dask.config
import yaml
from dask.utils import parse_timedelta

from dask_coded.graph.settings import Settings
from dask_coded.runtime.group import Lateness

__all__ = ["settings_from_config"]

CHOICES = {
    "code": ("auto", "parity", "product", "replication"),
    "axis": ("auto", "rows", "columns"),
    "launch": ("late", "eager", "adaptive"),
}
SWITCHES = ("force", "dry")

with (Path(__file__).parent / "coded.yaml").open() as _file:
    DEFAULTS = yaml.safe_load(_file)

dask.config.update_defaults(DEFAULTS)


def _refuse(name: str, value: object, remedy: str) -> ValueError:
    return ValueError(f"coded: {name}={value!r} is not valid; {remedy}")


def _count(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise _refuse(name, value, f"give an integer of at least {least}")
    return int(value)


def _number(name: str, value: object, least: float, most: float | None = None) -> float:
    number = nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not number >= least:
        raise _refuse(name, value, f"give a number of at least {least:g}")
    if most is not None and number > most:
        raise _refuse(name, value, f"give a number of at most {most:g}")
    return number


def _parity(value: object) -> int | tuple[int, int]:
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise _refuse("parity", value, "give one number, or two for rows and columns")
        return _count("parity", value[0], 0), _count("parity", value[1], 0)
    return _count("parity", value, 1)


def _seconds(name: str, value: object) -> float:
    try:
        seconds = parse_timedelta(value, default="seconds")
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise _refuse(name, value, "give seconds or a text such as '100ms'") from error
    return _number(name, seconds, 0.0)


def _lateness(found: Mapping[str, Any]) -> Lateness:
    return Lateness(
        quantile=_number("late.quantile", found["quantile"], 0.0, 1.0),
        multiplier=_number("late.multiplier", found["multiplier"], 1.0),
        interval=max(_seconds("late.interval", found["interval"]), 0.005),
        min_task_runtime=_seconds("late.min-task-runtime", found["min-task-runtime"]),
        spare=_count("late.spare", found["spare"], 0),
        max_concurrent=_count("late.max-concurrent", found["max-concurrent"], 0),
        silence=_seconds("late.silence", found["silence"]),
    )


def _merge(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults, overridden by dask's configuration, overridden by `given`."""
    found = dict(DEFAULTS["coded"])
    late = dict(found["late"])
    for names in (dask.config.get("coded", default={}), given):
        fresh = _known("coded", names, found, "{'parity': 2}")
        late |= _known("late", fresh.pop("late", {}), late, "{'multiplier': 1.2}")
        found |= fresh
    return {**found, "late": late}


def _known(where: str, names: object, known: Mapping[str, Any], example: str) -> dict[str, Any]:
    if not isinstance(names, Mapping):
        raise _refuse(where, names, f"give a mapping such as {example}")
    plain = {str(name).replace("_", "-"): value for name, value in names.items()}
    for name, value in plain.items():
        if name not in known:
            what = name if where == "coded" else f"{where}.{name}"
            choices = ", ".join(sorted(known))
            raise TypeError(f"coded: {what}={value!r} is not a setting; choose from {choices}")
    return plain


def settings_from_config(given: Mapping[str, Any]) -> Settings:
    """Return the settings in force: configuration, overridden by `given`.

    Raises
    ------
    ValueError
        A value is out of range; the message names it and the remedy.
    TypeError
        A name is unknown, in `given` or in the configuration.
    """
    found = _merge(given)
    for name, choices in CHOICES.items():
        if not isinstance(found[name], str) or found[name] not in choices:
            raise _refuse(name, found[name], f"choose from {', '.join(choices)}")
    for name in SWITCHES:
        if not isinstance(found[name], bool):
            raise _refuse(name, found[name], "give True or False")
    tolerance = found["tolerance"]
    return Settings(
        parity=_parity(found["parity"]),
        code=found["code"],
        group=None if found["group"] is None else _count("group", found["group"], 2),
        axis=found["axis"],
        launch=found["launch"],
        tolerance=None if tolerance is None else _number("tolerance", tolerance, 0.0),
        min_columns=_number("min-columns", found["min-columns"], 0.0),
        min_seconds=_seconds("min-seconds", found["min-seconds"]),
        force=found["force"],
        dry=found["dry"],
        late=_lateness(found["late"]),
    )
