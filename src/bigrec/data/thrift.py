"""Values of Thrift's compact protocol, in which Parquet files describe themselves.

Libraries read the metadata of whole files this way, but none offers the headers of pages.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bigrec.errors import DataError

Fields = Mapping[int, Any]
"""Wanted fields of a structure by number: `VALUE`, or the wanted fields of structures in it."""

VALUE: Fields = MappingProxyType({})

_MAX_DEPTH = 16
_CURE = "The file is damaged: write or download it again."
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
_DOUBLE_BYTES = 8
_VARINT_BITS = 64


class ThriftReader:
    """Reads structures one after the other; what is not wanted is skipped and takes no memory.

    Args:
        content: Bytes that begin with a structure.

    Attributes:
        position: Number of bytes that were read.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def struct(self, wanted: Fields) -> dict[int, Any]:
        """Read a structure.

        Args:
            wanted: Fields to return; those in lists of structures are wanted of each.

        Raises:
            DataError: If the bytes are no structure, or end before it does.
        """
        try:
            return self._struct(wanted, 0)
        except IndexError:
            raise DataError(f"its description ends too early. {_CURE}") from None

    def _struct(self, wanted: Fields, depth: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            step, kind = head >> 4, head & 15
            number = number + step if step else self._integer()
            if kind in {_TRUE, _FALSE}:
                value: Any = kind == _TRUE
            else:
                value = self._value(kind, wanted.get(number), depth)
            if number in wanted:
                found[number] = value
        return found

    def _value(self, kind: int, wanted: Fields | None, depth: int) -> Any:
        """A value; of structures None where they are not wanted."""
        if depth > _MAX_DEPTH:
            raise DataError(f"its description is nested too deeply. {_CURE}")
        value: Any = None
        if kind in _INTEGERS:
            value = self._integer()
        elif kind == _STRUCT:
            fields = self._struct(wanted or VALUE, depth + 1)
            value = None if wanted is None else fields
        elif kind == _BINARY:
            value = self._bytes(self._varint())
        elif kind in {_LIST, _SET}:
            value = self._list(wanted, depth)
        elif kind in {_TRUE, _FALSE, _BYTE}:
            value = self._byte()
        elif kind == _DOUBLE:
            value = self._bytes(_DOUBLE_BYTES)
        elif kind == _MAP:
            self._map(depth)
        else:
            raise DataError(f"its description holds a value of the unknown kind {kind}. {_CURE}")
        return value

    def _list(self, wanted: Fields | None, depth: int) -> list[Any] | None:
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        values: list[Any] = []
        for _ in range(size):
            value = self._value(head & 15, wanted, depth + 1)
            if wanted is not None:
                values.append(value)
        return None if wanted is None else values

    def _map(self, depth: int) -> None:
        size = self._varint()
        kinds = self._byte() if size else 0
        for _ in range(size):
            self._value(kinds >> 4, None, depth + 1)
            self._value(kinds & 15, None, depth + 1)

    def _byte(self) -> int:
        value = self._content[self.position]
        self.position += 1
        return value

    def _bytes(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._content):
            raise IndexError
        value = self._content[self.position : end]
        self.position = end
        return value

    def _varint(self) -> int:
        value = 0
        for shift in range(0, _VARINT_BITS, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise DataError(f"its description holds a number of too many bytes. {_CURE}")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
