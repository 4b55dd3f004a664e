"""Errors and warnings that users may see."""

from __future__ import annotations

__all__ = ["CodedError", "CodedWarning", "DecodeRefused", "NotDecodable"]


class CodedError(Exception):
    """Base class of every error raised by dask_coded."""


class NotDecodable(CodedError):
    """The finished pieces do not determine the wanted block."""


class DecodeRefused(CodedError):
    """A decode would not be accurate enough, or its inputs are not finite.

    Parameters
    ----------
    reason : str
        What was found.
    bound : float, optional
        Estimated relative error of the decoded block (worst row).
    tolerance : float, optional
        Largest relative error that was allowed.
    """

    def __init__(self, reason: str, bound: float | None = None, tolerance: float | None = None):
        super().__init__(reason, bound, tolerance)
        self.reason = reason
        self.bound = bound
        self.tolerance = tolerance

    def __str__(self) -> str:
        if self.bound is None:
            return self.reason
        return f"{self.reason}: estimated relative error {self.bound:.2g}, tolerance {self.tolerance:.2g}"


class CodedWarning(UserWarning):
    """Coding was asked for and could not be done; plain Dask is used."""
