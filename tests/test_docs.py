"""The README's code runs, and what it says about defaults and commands is true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import dask_coded

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEFAULTS = yaml.safe_load((ROOT / "dask_coded" / "coded.yaml").read_text())["coded"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", yaml.safe_dump(value).removesuffix("...\n").strip()


def modules() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(dask_coded.__path__, "dask_coded.")]
    return ["dask_coded", *(name for name in found if not name.endswith(".cuda"))]


@pytest.mark.cluster
@pytest.mark.usefixtures("short_connects")
def test_readme_blocks_run_in_order() -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    try:
        for block in blocks("python"):
            line = README[: README.index(block)].count("\n")
            exec(compile("\n" * line + block, "README.md", "exec"), names)
        assert names["figures"]["groups"] >= 1
    finally:
        for name in ("client", "cluster"):
            if name in names:
                names[name].close()


def test_readme_lists_every_setting_with_its_default() -> None:
    table = dict(re.findall(r"^\| `([a-z.-]+)` \| `([^`]+)` \|", README, re.MULTILINE))
    assert table == dict(flat(DEFAULTS))


@pytest.mark.parametrize("word", ["examples/", "pytest"])
def test_readme_has_one_command_for_each_purpose(word: str) -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert len([line for line in lines if line.startswith("python3 -m venv") and word in line]) == 1


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
