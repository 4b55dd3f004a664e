"""Which dtypes are coded, and in which parity is kept."""

from __future__ import annotations

import numpy as np
import pytest

from dask_coded.kernels import codable, encode_block, parity_dtype


@pytest.mark.parametrize(
    ("operand", "result", "parity"),
    [
        ("float16", "float16", "float32"),
        ("float16", "float32", "float32"),
        ("float16", "float64", "float64"),
        ("float32", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float32", "float64"),
        ("float32", "complex64", "complex64"),
        ("float64", "complex64", "complex128"),
        ("complex64", "complex64", "complex64"),
        (">f8", ">f8", "=f8"),
        ("int8", "int8", "int8"),
        ("int8", "int64", "int64"),
        ("int64", "int32", "int32"),
        ("int32", "uint64", "uint64"),
        (">i4", ">i4", "=i4"),
        ("int64", "float64", "float64"),
        ("uint8", "float16", "float32"),
        ("int32", "complex64", "complex64"),
    ],
)
def test_parity_dtype(operand: str, result: str, parity: str) -> None:
    assert codable(operand, result) is None
    found = parity_dtype(operand, result)
    assert found == np.dtype(parity) and found.isnative


@pytest.mark.parametrize(
    ("operand", "result", "reason"),
    [
        ("bool", "bool", "logical"),
        ("bool", "int64", "logical"),
        ("int64", "bool", "logical"),
        ("object", "object", "object"),
        ("M8[ns]", "M8[ns]", "datetime64"),
        ("m8[ns]", "m8[ns]", "timedelta64"),
        ("i4,f4", "i4,f4", "structured"),
        ("S3", "S3", "strings"),
        ("U3", "U3", "strings"),
        ("longdouble", "longdouble", "longdouble"),
        ("float64", "longdouble", "longdouble"),
        ("clongdouble", "clongdouble", "longdouble"),
        ("float64", "int64", "rounds"),
        ("complex128", "float64", "drops a part"),
    ],
)
def test_not_codable(operand: str, result: str, reason: str) -> None:
    text = codable(operand, result)
    assert text is not None and reason in text
    with pytest.raises(TypeError, match="cannot code .*" + reason):
        parity_dtype(operand, result)


def test_variable_width_strings() -> None:
    assert codable(np.dtypes.StringDType(), "float64") == "strings have no arithmetic"


def test_encode_refuses_what_is_not_codable() -> None:
    with pytest.raises(TypeError, match="logical"):
        encode_block([[1]], [np.ones(2, bool)], axis=0, length=2, dtype="i8")
    with pytest.raises(TypeError, match="rounds"):
        encode_block([[1]], [np.ones(2)], axis=0, length=2, dtype="i8")
    with pytest.raises(TypeError, match="whole numbers"):
        encode_block([[0.5]], [np.ones(2, int)], axis=0, length=2, dtype="i8")
