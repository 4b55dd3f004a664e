"""The tasks that encode and rebuild, run without a cluster."""

from __future__ import annotations

import numpy as np

from dask_coded.runtime import byte_tasks as tasks


def test_a_lost_block_and_lost_parity_come_back() -> None:
    blocks = {"a": np.arange(5), "b": np.array([np.nan, -0.0]), "c": np.array([True, False])}
    encoded = tasks.encode_task("e", list(blocks), 2)(blocks)
    parity = {key: tasks.parity_task(key, "e", j)({"e": encoded}) for j, key in enumerate("pq")}
    sources = {0: "a", 3: "p", 4: "q"}
    values = {**blocks, **parity}
    for index, key in ((1, "b"), (2, "c")):
        task = tasks.rebuild_task(key, index, sources)
        assert task.dependencies == {"a", "p", "q"}
        found = task({source: values[source] for source in sources.values()})
        assert found.dtype == blocks[key].dtype and found.tobytes() == blocks[key].tobytes()
    again = tasks.parity_again_task("q", list(blocks), 2, 1)(blocks)
    assert again.index == parity["q"].index and bytes(again.data) == bytes(parity["q"].data)


def test_finished_parity_has_no_edges() -> None:
    assert not tasks.finished_task("p").dependencies
