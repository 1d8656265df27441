from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigrec.data.thrift import VALUE, ThriftReader
from bigrec.errors import DataError


def test_wanted_fields_are_read_and_others_are_skipped() -> None:
    # 1: i32 -2; 2: list of two structures {1: i32 5}; 3: true; 4: text "ab"; 20: i64 64.
    content = b"\x15\x03\x19\x2c\x15\x0a\x00\x15\x0a\x00\x11\x18\x02ab\x06\x28\x80\x01\x00"
    reader = ThriftReader(content + b"rest")
    wanted = {1: VALUE, 2: {1: VALUE}, 3: VALUE, 20: VALUE}
    assert reader.struct(wanted) == {1: -2, 2: [{1: 5}, {1: 5}], 3: True, 20: 64}
    assert reader.position == len(content)
    assert ThriftReader(content).struct({4: VALUE}) == {4: b"ab"}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_structure_or_told(content: bytes) -> None:
    with suppress(DataError):
        assert set(ThriftReader(content).struct({1: VALUE, 2: {1: VALUE}})) <= {1, 2}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends too early"),
        (b"\x15", "ends too early"),
        (b"\x18\xff\xff\xff\x7fab\x00", "ends too early"),
        (b"\x1c" * 40, "nested too deeply"),
        (b"\x19\x19" * 40, "nested too deeply"),
        (b"\x15" + b"\xff" * 20, "a number of too many bytes"),
        (b"\x1e\x00", "the unknown kind 14"),
    ],
)
def test_damage_is_told(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        ThriftReader(content).struct({})
