"""Files of arrays: read as written, refused if they are not what is expected."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigrec.errors import BundleError
from bigrec.storage.arrays import Expected, check_arrays, read_arrays, write_arrays

PATH = Path("a.safetensors")
EXPECTED = {
    "x": Expected(("n", "d")),
    "rows": Expected(("n",), dtypes=("int32", "int64"), least=0, below="n"),
}


def arrays(**changes: Any) -> dict[str, Any]:
    sound = {"x": np.ones((3, 2), dtype=np.float32), "rows": np.array([2, 0, 1])}
    return {name: array for name, array in (sound | changes).items() if array is not None}


def test_arrays_are_read_back(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.safetensors", {"x": np.arange(6.0).reshape(2, 3).T})
    read = read_arrays(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read["x"], [[0, 3], [1, 4], [2, 5]])


def test_sizes_are_found_by_their_letters() -> None:
    assert check_arrays(PATH, arrays(), EXPECTED) == {"n": 3, "d": 2}
    assert check_arrays(PATH, arrays(), EXPECTED, sizes={"n": 3})["d"] == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x": None}, "it lacks x"),
        ({"y": np.ones(1)}, "it holds y, which nothing reads"),
        ({"x": np.ones((3, 2))}, r"x is float64 of shape \[3, 2\]; expected float32 of shape"),
        ({"x": np.ones(3, dtype=np.float32)}, r"x is float32 of shape \[3\]; .* \[n, d\]"),
        ({"rows": np.array([0, 1])}, r"rows is int64 of shape \[2\]; .* \[n\] with n = 3"),
        ({"x": np.full((3, 2), np.nan, dtype=np.float32)}, "x holds NaN or infinity"),
        ({"x": np.full((3, 2), -np.inf, dtype=np.float32)}, "x holds NaN or infinity"),
        ({"rows": np.array([0, 1, 3])}, "rows holds values from 0 to 3; .* 0 and below 3"),
        ({"rows": np.array([0, 1, -1])}, "rows holds values from -1 to 1; .* at least 0"),
    ],
)
def test_arrays_that_are_not_as_expected_are_told(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BundleError, match=rf"a\.safetensors cannot be used: {reason}"):
        check_arrays(PATH, arrays(**changes), EXPECTED)


def test_a_number_of_its_shape_can_be_known() -> None:
    with pytest.raises(BundleError, match=r"expected float32 of shape \[n, 5\]"):
        check_arrays(PATH, {"x": arrays()["x"]}, {"x": Expected(("n", 5))})
    with pytest.raises(BundleError, match="n = 4"):
        check_arrays(PATH, arrays(), EXPECTED, sizes={"n": 4})


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F32", "shape": [2**40, 2**30], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [2**63, 4], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
        {"x": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        "[" * 100_000,
        "{",
    ],
    ids=lambda header: str(header)[:60],
)
def test_a_header_of_absurd_shapes_takes_no_memory(tmp_path: Path, header: Any) -> None:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(BundleError, match="it is not a safetensors file of arrays"):
        read_arrays(path)


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 8, bytes(8)])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BundleError, match="it is not a safetensors file"):
        read_arrays(tmp_path / "a")
    with pytest.raises(BundleError, match=r"cannot be used: it is missing\. Again\."):
        read_arrays(tmp_path / "b", cure="Again.")
