"""Keys of coded tasks: Dask's form ``("<prefix>-<token>", i, j, ...)``, readable prefixes."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from dask.base import tokenize
from dask.utils import key_split

from dask_coded.codes import Code

__all__ = ["fingerprint", "is_block", "layer_name", "name_part", "renamed"]


def name_part(key: Hashable) -> str:
    """Return the part of a key that its whole layer shares."""
    return str(key[0]) if isinstance(key, tuple) and key else str(key)


def is_block(key: Any, name: str) -> bool:
    """Tell a block of the array `name` from tasks that its layer keeps to itself."""
    return name_part(key) == name and isinstance(key, tuple) and all(isinstance(i, int) for i in key[1:])


def layer_name(role: str, original: str, *content: Any) -> str:
    """Return ``<role>-<prefix of original>-<token of content>``.

    `dask.utils.key_split` gives back role and prefix: it stops at the first word
    that is not purely letters, so those are joined by hyphens here.
    """
    words = [word for word in re.split(r"[^A-Za-z]+", key_split(original)) if word]
    return "-".join((role, *words, tokenize(original, *content)))


@lru_cache(256)
def fingerprint(code: Code) -> str:
    """Return a token of a code's coefficients; cached, since many groups share a code."""
    return str(tokenize(code.encodings, code.generator, code.target, code.sub_blocks))


def renamed(role: str, key: Hashable, salt: str, *place: int) -> tuple[Any, ...]:
    """Return the key of a task that was made from task `key`; `place` tells its copies apart."""
    name = _copy_name(role, name_part(key), salt)
    coordinates = key[1:] if isinstance(key, tuple) else ()
    return (name, *place, *coordinates)


_copy_name = lru_cache(1024)(layer_name)
