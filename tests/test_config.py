"""Settings: where they may come from, who overrides whom, and what is said about bad ones."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import dask
import numpy as np
import pytest

import dask_coded as dc
from dask_coded.config import DEFAULTS, settings_from_config
from dask_coded.graph.settings import Settings
from dask_coded.runtime.group import Lateness

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no parity": ({"parity": 0}, "parity=0 .*at least 1"),
    "half a parity": ({"parity": 1.5}, "parity=1.5 .*integer"),
    "text": ({"parity": "2"}, "parity='2' .*integer"),
    "truth": ({"parity": True}, "parity=True .*integer"),
    "nothing": ({"parity": None}, "parity=None .*integer"),
    "three axes": ({"parity": (1, 1, 1)}, r"parity=\(1, 1, 1\) .*two for rows and columns"),
    "negative pair": ({"parity": (1, -1)}, "parity=-1 .*at least 0"),
    "code": ({"code": "reed-solomon"}, "code='reed-solomon' .*auto, parity, product, replication"),
    "code object": ({"code": dc.codes.parity(4, 1)}, "code=<Code parity.*choose from auto"),
    "array": ({"axis": np.zeros(2)}, "axis=array.* .*auto, rows, columns"),
    "axis": ({"axis": 0}, "axis=0 .*auto, rows, columns"),
    "launch": ({"launch": "soon"}, "launch='soon' .*late, eager"),
    "group": ({"group": 1}, "group=1 .*at least 2"),
    "force": ({"force": 1}, "force=1 .*True or False"),
    "dry": ({"dry": "no"}, "dry='no' .*True or False"),
    "tolerance": ({"tolerance": -1e-9}, "tolerance=-1e-09 .*at least 0"),
    "not a number": ({"tolerance": float("nan")}, "tolerance=nan .*at least 0"),
    "min_columns": ({"min_columns": "many"}, "min-columns='many' .*number"),
    "min_seconds": ({"min_seconds": "10 parsecs"}, "min-seconds='10 parsecs' .*'100ms'"),
    "negative time": ({"min_seconds": -1}, "min-seconds=-1 .*seconds"),
    "late": ({"late": 1.5}, "late=1.5 .*mapping such as"),
    "nothing late": ({"late": None}, "late=None .*mapping such as"),
    "quantile": ({"late": {"quantile": 1.5}}, "late.quantile=1.5 .*at most 1"),
    "multiplier": ({"late": {"multiplier": 0.5}}, "late.multiplier=0.5 .*at least 1"),
    "empty": ({"late": {"interval": ""}}, "late.interval='' .*seconds"),
    "list": ({"late": {"silence": [1]}}, r"late.silence=\[1\] .*seconds"),
    "endless": ({"late": {"silence": "1e999 s"}}, "late.silence='1e999 s' .*seconds"),
    "null": ({"late": {"min_task_runtime": None}}, "late.min-task-runtime=None .*number"),
    "spare": ({"late": {"spare": -1}}, "late.spare=-1 .*at least 0"),
    "max_concurrent": ({"late": {"max_concurrent": 0.5}}, "late.max-concurrent=0.5 .*integer"),
}
UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"paritty": 2}, "paritty=2 is not a setting; choose from axis, code"),
    "late name": ({"late": {"patience": 2}}, "late.patience=2 is not a setting; choose from interval"),
    "number": ({"late": {3: 2}}, "late.3=2 is not a setting"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_value_is_refused_with_its_name_and_the_remedy(name):
    given, message = BAD[name]
    refused(given, ValueError, message)


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_name_is_refused_with_those_that_exist(name):
    given, message = UNKNOWN[name]
    refused(given, TypeError, message)


def refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dc.coded(**given)
    with dask.config.set({"coded": given}), pytest.raises(error, match=message):
        dc.coded()
    assert "array_optimize" not in dask.config.config


@pytest.mark.parametrize("section", [None, [], "parity=2"])
def test_section_that_is_no_mapping(section):
    with (
        dask.config.set(coded=section),
        pytest.raises(ValueError, match="give a mapping such as {'parity': 2}"),
    ):
        dc.coded()


def test_defaults_are_those_of_the_classes():
    assert settings_from_config({}) == Settings()
    assert dask.config.get("coded") == DEFAULTS["coded"]


def test_every_setting_arrives():
    given = {
        "parity": [2, np.int64(1)],
        "code": "product",
        "group": 5,
        "axis": "rows",
        "launch": "eager",
        "tolerance": 1e-6,
        "min_columns": 7,
        "min-seconds": timedelta(seconds=2),
        "force": True,
        "dry": True,
    }
    late = {
        "quantile": 0.75,
        "multiplier": 2,
        "interval": "20ms",
        "min_task_runtime": 1,
        "spare": 0,
        "max-concurrent": 3,
        "silence": "1 minute",
    }
    expected = Settings(
        parity=(2, 1),
        code="product",
        group=5,
        axis="rows",
        launch="eager",
        tolerance=1e-6,
        min_columns=7.0,
        min_seconds=2.0,
        force=True,
        dry=True,
        late=Lateness(0.75, 2.0, 0.02, 1.0, 0, 3, 60.0),
    )
    assert settings_from_config({**given, "late": late}) == expected
    with dask.config.set(coded={**given, "late": late}):
        assert settings_from_config({}) == expected
    assert set(given) | {"late"} == {
        name.replace("-", "_") if name != "min-seconds" else name for name in DEFAULTS["coded"]
    }


def test_arguments_override_the_configuration_and_that_the_defaults():
    with dask.config.set({"coded.parity": 2, "coded.late.spare": 0, "coded.min_columns": 3}):
        with dc.coded(parity=3, late={"multiplier": 4}):
            inner = dask.config.get("array_optimize").settings
        with dc.coded():
            outer = dask.config.get("array_optimize").settings
    assert (inner.parity, inner.min_columns) == (3, 3)
    assert inner.late == Lateness(spare=0, multiplier=4)
    assert (outer.parity, outer.late) == (2, Lateness(spare=0))
    assert settings_from_config({}) == Settings()


def run(script: str, **environment: str) -> str:
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_environment():
    script = "import dask, dask_coded as dc; dc.coded(); print(dask.config.get('array_optimize').settings)"
    environment = {
        "PARITY": "[2, 1]",
        "LATE__SPARE": "0",
        "MIN_COLUMNS": "7",
        "LATE__SILENCE": "9s",
        "FORCE": "true",
    }
    expected = Settings(parity=(2, 1), min_columns=7.0, force=True, late=Lateness(spare=0, silence=9.0))
    assert (
        run(script, **{f"DASK_CODED__{name}": value for name, value in environment.items()})
        == f"{expected}\n"
    )


def test_query_planning_bypasses_the_optimizer():
    script = """
import dask.array as da, dask_coded as dc
from dask_coded.array import OnScheduler
def called(*args, **kwargs):
    raise AssertionError("an array optimizer was called")
OnScheduler.__call__ = called
with dc.coded(force=True):
    print(da.array_expr_enabled(), (da.ones((40, 20), chunks=10) + 1).sum().compute())
"""
    assert run(script, DASK_ARRAY__QUERY_PLANNING="True") == "True 1600.0\n"
