"""Keys, lanes, groups: what the scheduler side relies on."""

from __future__ import annotations

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from dask.base import tokenize
from dask.core import flatten
from dask.utils import key_split
from graph_cases import PROBLEMS, tall, wide
from graph_helpers import groups, rewritten, value

from dask_coded import codes
from dask_coded.graph.groups import balanced
from dask_coded.graph.names import layer_name
from dask_coded.graph.optimizer import CodedOptimizer
from dask_coded.graph.settings import Settings
from dask_coded.runtime.group import Lateness
from dask_coded.runtime.quorum import Quorum

ALL = [
    "matmul",
    "gram",
    "chained",
    "two products",
    "einsum",
    "tensordot two axes",
    "batched",
    "from itself",
    "partly used",
]
SETTINGS = [{}, {"parity": 2}, {"parity": (1, 1)}, {"code": "replication"}, {"group": 2}]


def raises(*args, **kwargs):
    raise AssertionError("computed while building")


def test_building_never_computes():
    a = da.map_blocks(raises, chunks=((8,) * 5, (5,) * 4), dtype="f8", meta=np.empty((0, 0)))
    for settings in SETTINGS:
        assert groups(rewritten(a @ wide(), **settings))


@pytest.mark.parametrize("problem", ALL)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_lanes_are_private_and_complete(problem, settings):
    x = PROBLEMS[problem]()
    graph = rewritten(x, **settings)
    owner = {}
    for group in groups(graph):
        assert group.code.n == len(group.pieces) == len(group.lanes)
        assert len(group.targets) == group.code.q == len(group.shapes)
        for number, (piece, lane) in enumerate(zip(group.pieces, group.lanes, strict=True)):
            assert lane[-1] == piece
            for key in lane:
                assert owner.setdefault(key, (group.name, number)) == (group.name, number)
                assert key in graph
        assert group.cohorts.keys() == {key for lane in group.lanes for key in lane}
        assert set(group.inputs) <= graph.keys()
    readers = {}
    for key, task in graph.items():
        for dependency in task.dependencies:
            readers.setdefault(dependency, set()).add(key)
    quorums = {key for key, task in graph.items() if isinstance(task, Quorum)}
    for key, mine in owner.items():
        assert all(owner.get(reader) == mine or reader in quorums for reader in readers[key])


@pytest.mark.parametrize("problem", ALL)
def test_everything_is_reachable_and_nothing_is_left_over(problem):
    x = PROBLEMS[problem]()
    for settings in SETTINGS:
        graph = rewritten(x, **settings)
        work, seen = list(flatten(x.__dask_keys__())), set()
        while work:
            key = work.pop()
            if key not in seen:
                seen.add(key)
                work.extend(graph[key].dependencies)
        assert seen == set(graph)
        assert not any(str(key).lstrip("('").startswith("door") for key in graph)
        for group in groups(graph):
            assert {*group.targets, *group.pieces, *group.inputs} <= seen
            assert group.scales is None or group.scales in group.inputs


def test_parity_lanes_share_the_cohorts_of_their_originals():
    for group in groups(rewritten(PROBLEMS["matmul"](), parity=2)):
        kinds = [sorted(group.cohorts[key] for key in lane) for lane in group.lanes]
        assert all(kind == kinds[0] for kind in kinds)
        assert not any(name.startswith(("piece", "parity")) for name in kinds[0])


def test_encoding_is_shared_by_columns_and_products():
    graph = rewritten(PROBLEMS["two products"](), axis="rows")
    made = [key for key in graph if key_split(key).startswith("encode")]
    assert len(made) == 4  # one for each contraction block, for six columns of blocks in two products


def test_prefixes_are_readable():
    graph = rewritten(PROBLEMS["matmul"]())
    prefixes = {key_split(key) for key in graph}
    assert {
        "piece-chunk-sum-aggregate",
        "parity-chunk-sum-aggregate",
        "encode-array",
        "scale-array",
    } <= prefixes
    assert all(isinstance(key, tuple) and len(key[0].rpartition("-")[2]) == 32 for key in graph)
    fused = rewritten(da.ones((40, 10), chunks=(10, 10)) @ da.ones((10, 10)), force=True)
    assert {"piece-matmul", "parity-matmul"} <= {key_split(key) for key in fused}
    for name in ("x-" + "0" * 32, "ones_like-" + "0" * 32, "odd name 7"):
        prefix = key_split((layer_name("piece", name, 1), 0))
        assert prefix.startswith("piece-") and len(prefix) > 6


def test_targets_keep_their_keys_and_lanes_get_new_ones():
    x = PROBLEMS["matmul"]()
    graph = rewritten(x)
    assert set(flatten(x.__dask_keys__())) == {key for group in groups(graph) for key in group.targets}
    plain = dask.array.optimization.optimize(x.__dask_graph__(), x.__dask_keys__())
    lanes = {key for group in groups(graph) for lane in group.lanes for key in lane}
    assert not lanes & set(plain)


def test_keys_are_deterministic_and_tell_settings_apart():
    def own(**settings):
        x = PROBLEMS["gram"]()
        return {key for key in rewritten(x, **settings) if key_split(key).startswith(("piece", "parity"))}

    assert own() == own()
    assert not own() & own(parity=2)
    assert not own() & own(late=Lateness(multiplier=2))
    names = [{group.name for group in groups(rewritten(PROBLEMS["gram"](), parity=r))} for r in (1, 1, 2)]
    assert names[0] == names[1] and not names[0] & names[2]


def test_optimizer_travels():
    optimizer = CodedOptimizer(Settings(parity=(1, 2), force=True))
    copy = pickle.loads(pickle.dumps(optimizer))
    assert copy == optimizer and hash(copy) == hash(optimizer)
    assert tokenize(copy) == tokenize(optimizer) != tokenize(CodedOptimizer())
    x = PROBLEMS["matmul"]()
    dsk = pickle.loads(pickle.dumps(x.__dask_graph__()))
    graph = copy(dsk, x.__dask_keys__())
    assert groups(graph)
    assert np.array_equal(value(x, pickle.loads(pickle.dumps(graph))), x.compute(scheduler="sync"))


def test_as_array_optimizer_of_dask():
    x = PROBLEMS["chained"]()
    with dask.config.set(array_optimize=CodedOptimizer(Settings(force=True))):
        found = x.compute(scheduler="sync")
        kept = dask.persist(x, scheduler="sync")[0].compute(scheduler="sync")
    assert np.array_equal(found, x.compute(scheduler="sync"))
    assert np.array_equal(kept, found)


@pytest.mark.parametrize("workers, sizes", [(None, [40]), (4, [3] * 13 + [1]), (100, [40])])
def test_groups_fit_the_workers(workers, sizes):
    x = da.ones((80, 8), chunks=(2, 4)) @ da.ones((8, 4), chunks=4)
    found = [group.code.q for group in groups(rewritten(x, workers=workers, axis="rows"))]
    limit = {None: 16, 4: 3, 100: 16}[workers]
    assert sum(found) == 40 and max(found) <= limit and min(found) >= 2


def test_balanced():
    for count in range(2, 60):
        for limit in range(2, 20):
            cuts = balanced(range(count), limit)
            assert [i for cut in cuts for i in cut] == list(range(count))
            sizes = {len(cut) for cut in cuts}
            assert min(sizes) >= 2 and max(sizes) <= max(limit, 3) and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("rows, sub_blocks", [(64, 8), (20, 8), (8, 8), (33, 8), (17, 1), (5, 1)])
def test_sub_blocks_unless_padding_is_long(rows, sub_blocks):
    x = da.ones((16 * rows, 40), chunks=(rows, 40)) @ da.ones((40, 30))
    (group,) = groups(rewritten(x, parity=2, axis="rows", group=64))
    assert (group.code.k, group.code.sub_blocks) == (16, sub_blocks)


def test_group_of_product_code():
    x = tall() @ wide()
    graph = rewritten(x, parity=(1, 1))
    found = groups(graph)
    assert {group.code.q for group in found} <= {4, 6, 9, 12, 15}
    assert all(len(group.code.encodings) == 2 and group.scales is None for group in found)


def test_explicit_code():
    x = tall() @ wide()
    code = codes.parity(5, 3, sub_blocks=1)
    for group in groups(rewritten(x, explicit=code, force=False)):
        assert group.code is code
    for group in groups(rewritten(x, explicit=codes.product(5, 3, 1, 1))):
        assert group.code.q == 15
    with pytest.raises(ValueError, match="encodes .4,. blocks"):
        rewritten(x, explicit=codes.parity(4, 1), axis="rows")


def test_one_product_is_given_up_and_the_other_is_coded(monkeypatch):
    from dask_coded.graph import optimizer
    from dask_coded.graph.lanes import NotSeparable

    genuine, seen = optimizer.rewrite, []

    def rewrite(flat, plan, settings, requested=()):
        seen.append(plan)
        if len(seen) == 1:
            raise NotSeparable("for the test")
        return genuine(flat, plan, settings, requested)

    monkeypatch.setattr(optimizer, "rewrite", rewrite)
    x = PROBLEMS["two products"]()
    graph = rewritten(x)
    assert len(seen) == 2 and groups(graph)
    assert np.array_equal(value(x, graph), x.compute(scheduler="sync"))
    assert not any(str(key).lstrip("('").startswith("door") for key in graph)


def test_chunks_that_are_not_those_in_use():
    x = PROBLEMS["matmul"]()
    for layer in x.__dask_graph__().layers.values():
        layer.collection_annotations["chunks"] = tuple(
            (sum(n),) for n in layer.collection_annotations["chunks"]
        )
    assert not groups(rewritten(x))


def test_large_codes_of_one_name_get_keys_of_their_own():
    """NumPy prints large arrays with dots in the middle; keys must see every coefficient."""

    def keys(middle):
        rows = np.concatenate([np.eye(40), np.ones((1, 40))])
        rows[40, 20] = middle
        code = codes.Code("mine", (rows,), rows, np.eye(40))
        x = da.ones((80, 8), chunks=(2, 4)) @ da.ones((8, 4), chunks=4)
        return {key for key in rewritten(x, explicit=code) if key_split(key).startswith(("encode", "parity"))}

    assert keys(2) == keys(2) and not keys(2) & keys(3)
