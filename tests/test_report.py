"""The report: names that programs read, a table for people, and figures that tell what happened."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from itertools import count

import numpy as np
from graph.graph_cases import tall, wide
from graph.graph_helpers import groups, rewritten

import dask_coded as dc
from dask_coded import testing

NAMES = {
    "groups",
    "late",
    "decoded",
    "rebuilt",
    "recomputed",
    "parity_tasks",
    "bytes_moved",
    "max_error_bound",
    "seconds_saved",
    "seconds_spent",
}


def test_table_and_names():
    figures = dict.fromkeys(sorted(NAMES), 0) | {
        "groups": 12,
        "bytes_moved": 3 * 2**20,
        "max_error_bound": 2.34e-15,
        "seconds_saved": 75.0,
        "something_new": 7,
    }
    report = dc.Report(figures, [{"action": "decoded"}])
    assert report.to_dict() == figures
    report.to_dict()["groups"] = 0
    assert report.to_dict()["groups"] == 12
    assert report.events == [{"action": "decoded"}]
    assert pickle.loads(pickle.dumps(report)).to_dict() == figures

    lines = {line.split()[0]: line for line in repr(report).splitlines()}
    assert lines.keys() == {"dask_coded", *figures}
    for name, shown, meaning in (
        ("groups", " 12 ", "groups of blocks"),
        ("bytes_moved", " 3.00 MiB ", "read by decodes"),
        ("max_error_bound", " 2.3e-15 ", "relative error"),
        ("seconds_saved", " 75.00 s ", "late pieces"),
        ("something_new", " 7 ", ""),
    ):
        assert shown in lines[name]
        assert meaning in lines[name]
    html = report._repr_html_()
    assert html.count("<tr>") == len(figures)
    assert ">2.3e-15<" in html
    assert ">something_new<" in html


def test_empty_report():
    assert repr(dc.Report({}, [])) == "dask_coded report"
    assert "<table>" in dc.Report({}, [])._repr_html_()


class FirstOfAll(testing.Model):
    """The first task of a cluster in this process takes 50 units, all others one."""

    drawn = count()

    def factors(self, rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield 1.0 if next(FirstOfAll.drawn) else 50.0


def test_figures_of_a_run_with_a_late_task(cluster):
    client = cluster(4, processes=False)
    dc.install(client)
    quiet = dc.report(client)
    assert quiet.to_dict().keys() >= NAMES
    assert not any(quiet.to_dict().values())
    assert quiet.events == []

    x = tall().rechunk((8, 20)) @ wide().rechunk((20, 30))
    value = x.compute()
    FirstOfAll.drawn = count()
    with testing.delays(client, FirstOfAll(), unit=0.2, tasks=lambda name: name.startswith("piece")):
        # What waits behind it may be late too on a busy machine: with one parity both would run again.
        with dc.coded(parity=2, force=True, late={"min_task_runtime": 1}):
            found = x.compute()
        report = dc.report(client)
    assert np.allclose(found, value, rtol=1e-12, atol=1e-12)
    figures = report.to_dict()
    json.dumps([figures, report.events])
    assert figures["groups"] == len(groups(rewritten(x, workers=4, parity=2)))
    assert figures["late"] >= 1
    assert figures["decoded"] >= 1
    assert figures["parity_tasks"] >= 1
    assert figures["seconds_spent"] > 0
    assert figures["bytes_moved"] > 0
    assert 0 < figures["max_error_bound"] < 1024 * np.finfo(float).eps
    assert figures["errors"] == 0
    bounds = [event["bound"] for event in report.events if event["action"] == "decoded"]
    assert max(bounds) == figures["max_error_bound"]
