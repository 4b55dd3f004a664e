"""The examples run, and one says what is wrong with an input that it cannot use."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import dask_coded as dc

EXAMPLE = Path(__file__).parent.parent / "examples" / "matmul_with_stragglers.py"
WORKERS = 3
pytest.importorskip("matplotlib", reason="the example needs the extra `examples`")


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """Let the examples be imported, also by the workers of a cluster that is started after this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE.parent))
        yield


def run_example(*arguments: object, cwd: Path, example: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::UserWarning", str(example), *map(str, arguments)]
    # Workers that look for a killed one give up soon.
    env = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240)


@pytest.mark.slow  # README's first command, which .ci/run runs as written, is this example
@pytest.mark.cluster
def test_runs_on_the_photographs(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the example needs the extra `examples`")
    arguments = ("--quick", "--workers", 3, "--seconds", 0.5)
    done = run_example(*arguments, "--output", "plot.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("no fault", "one worker"))]
    assert len(rows) == 4
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.cluster
def test_power_iteration_survives(tmp_path: Path) -> None:
    arguments = ("--workers", 3, "--steps", 1)
    done = run_example(*arguments, cwd=tmp_path, example=EXAMPLE.with_name("survive_worker_loss.py"))
    assert done.returncode == 0, done.stderr
    assert ", 0 computed again" in done.stdout
    assert float(done.stdout.split()[-1]) < 1e-12


@pytest.mark.cluster
@pytest.mark.slow
def test_runs_on_a_npy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4000, 500)).astype(np.float32))
    done = run_example("--quick", "--input", "x.npy", "--output", "plot.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def write(path: Path, content: object) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    return path


BAD_INPUTS = {
    "missing": (None, "no such file"),
    "empty": (b"", "cannot be read as a .npy file"),
    "not_npy": (b"hello, this is text", "cannot be read as a .npy file"),
    "three_d": (np.zeros((9, 9, 9)), "must be 2-d"),
    "scalar": (np.zeros(()), "must be 2-d"),
    "text": (np.array([["a", "b"]]), "must hold real numbers"),
    "complex": (np.zeros((99, 9), complex), "must hold real numbers"),
    "objects": (np.array([[None]]), "cannot be read as a .npy file"),
    "short": (np.zeros((9, 9)), "needs at least 12 rows"),
    "wide": (np.zeros((20, 30)), "needs at least 30 rows"),
    "narrow": (np.zeros((99, 3)), "needs at least 4 columns"),
    "not_finite": (np.full((99, 9), np.nan), "not finite"),
}


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[list[str]], int]:
    """The example's main function, imported; it must refuse before it starts a cluster."""
    monkeypatch.chdir(tmp_path)
    import matmul_with_stragglers as example

    def no_cluster(**settings: object) -> None:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(example, "LocalCluster", no_cluster)
    return example.main


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_refused_with_a_reason(
    name: str, main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, reason = BAD_INPUTS[name]
    path = write(tmp_path / "x.npy", content)
    assert main(["--input", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and reason in error


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--workers", "2"], "--workers"),
        (["--seconds", "-1"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--output", "no/such/folder/plot.png"], "no such directory"),
        (["--output", "plot.xyz"], "not a kind of picture"),
        (["--input", "."], "Zarr"),
    ],
)
def test_bad_argument_is_refused_with_a_reason(
    arguments: list[str],
    reason: str,
    main: Callable[[list[str]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.cluster
def test_classifier_is_trained_while_a_worker_is_slow(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the example needs the extra `examples`")
    arguments = ("--fault", "slow", "--steps", 2, "--seconds", 0.02, "--blocks", 2)
    done = run_example(*arguments, cwd=tmp_path, example=EXAMPLE.with_name("logistic_regression.py"))
    assert done.returncode == 0, done.stderr
    table = [line.split() for line in done.stdout.splitlines() if line.startswith(("plain", "encoded"))]
    assert [row[:2] for row in table] == [["plain", "slow"], ["encoded", "slow"]]
    assert all(float(row[-2]) < 1e-9 for row in table)


@pytest.fixture
def side_by_side() -> Any:
    """What the examples of encoded matrices share."""
    return importlib.import_module("side_by_side")


#: example -> its function, and what happens to a worker meanwhile
ITERATIONS = {
    "conjugate_gradients": ("solution", "slow"),
    "dask_ml_estimator": ("classifiers", "frozen"),
    "k_means": ("centers", "killed"),
    "neural_network": ("train", "slow"),
    "pagerank": ("pagerank", "frozen"),
    "power_iteration": ("principal_axes", "frozen"),
    "ridge_regression": ("ridge", "frozen"),
    "svd_compressed": ("principal_axes", "slow"),
}


@pytest.mark.filterwarnings("ignore:.*fuse_ave_width:FutureWarning")  # dask-glm
@pytest.mark.filterwarnings("ignore:.*iprint:DeprecationWarning")  # dask-glm
@pytest.mark.parametrize("name", ITERATIONS)
def test_iterations_agree_with_numpy_in_spite_of_a_fault(
    name: str, side_by_side: Any, shared: Client
) -> None:
    pytest.importorskip("sklearn", reason="the example needs the extra `examples`")
    if name == "dask_ml_estimator":
        pytest.importorskip("dask_ml", reason="dask-ml is not installed")
    example = importlib.import_module(name)
    algorithm, fault = ITERATIONS[name]
    is_product = getattr(example, "is_product", side_by_side.is_product)
    steps = 2 if name in ("dask_ml_estimator", "svd_compressed") else 4  # theirs are long
    options = Namespace(blocks=WORKERS - 1, fault=fault, steps=steps, seconds=0.02)
    numbers = example.data()
    expected = example.references(*numbers, steps)
    found = list(
        side_by_side.compare(
            shared, getattr(example, algorithm), numbers, expected, options.fault, options, is_product
        )
    )
    assert len(found) == 2 and all(list(differences.values())[0] < 1e-10 for differences in found)
    assert dc.report(shared).to_dict()["errors"] == 0


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--seconds", "-1"], ["--blocks", "1"]])
def test_bad_arguments_of_iterations_are_refused(
    arguments: list[str], side_by_side: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        side_by_side.main("", None, None, None, argv=arguments)
    assert "--steps must be at least 1" in capsys.readouterr().err
