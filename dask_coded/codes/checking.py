"""Checks of the arguments of constructors."""

from __future__ import annotations

from operator import index

from dask_coded.codes.code import Code

__all__ = ["at_least", "require_one_operand", "require_systematic"]


def at_least(smallest: int, **arguments: int) -> None:
    """Raise unless every argument is a whole number not below `smallest`."""
    for name, value in arguments.items():
        try:
            whole = index(value)
        except TypeError:
            raise TypeError(f"{name}={value!r}: give a whole number, {smallest} or more") from None
        if whole < smallest:
            raise ValueError(f"{name}={value}: give {smallest} or more")


def require_systematic(code: Code, purpose: str) -> None:
    """Raise unless every target of `code` is one of its pieces, each a different one."""
    own = set(code.systematic)
    if -1 in own or len(own) < code.q:
        raise ValueError(
            f"{purpose} needs a code whose targets are pieces of their own, and {code.name} is none:"
            " give a systematic code such as parity(k, r)"
        )


def require_one_operand(code: Code, purpose: str) -> None:
    """Raise unless `code` encodes a single operand with plain numbers."""
    if len(code.encodings) != 1 or code.sub_blocks != 1:
        raise ValueError(
            f"{purpose} needs a code of one operand without sub-blocks; {code.name} has"
            f" {len(code.encodings)} operand(s) and sub_blocks={code.sub_blocks}:"
            " give a code such as parity(k, r, sub_blocks=1)"
        )
