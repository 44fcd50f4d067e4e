"""Which images a refresh has met, small enough to be kept in its row: a worker that takes over goes on with it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

HEAD = struct.Struct("<qq")


class SeenImages:
    """A set of the ids from ``first`` to ``last``; ids outside of it are ignored."""

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        self._bits = bytearray((last - first) // 8 + 1 if last >= first else 0)

    def add(self, ids: Iterable[int]) -> None:
        """Add ids."""
        first, last, bits = self.first, self.last, self._bits
        for pk in ids:
            if first <= pk <= last:
                place = pk - first
                bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, pk: int) -> bool:
        place = pk - self.first
        return self.first <= pk <= self.last and bool(self._bits[place >> 3] & 1 << (place & 7))

    def pack(self) -> bytes:
        """Return it as bytes: ids in a row take next to nothing."""
        return HEAD.pack(self.first, self.last) + zlib.compress(bytes(self._bits), 1)

    @classmethod
    def unpack(cls, packed: bytes) -> SeenImages:
        """Return what ``pack`` wrote."""
        seen = cls(*HEAD.unpack_from(packed))
        seen._bits = bytearray(zlib.decompress(packed[HEAD.size :]))
        return seen
