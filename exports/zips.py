"""A zip that is written as it comes: memory stays flat however many files are in it.

``zipfile`` keeps an object for each file until the end; here the directory waits in a temporary file. The bytes are
those that ``zipfile`` would write, and the same for the same files. Format: PKWARE's APPNOTE.TXT, 4.3 and 4.5.3.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import zlib
from hashlib import blake2b
from typing import BinaryIO

LOCAL = struct.Struct("<4s5H3L2H")
ENTRY = struct.Struct("<4s4B4H3L5H2L")
END_64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR_64 = struct.Struct("<4sLQL")
END = struct.Struct("<4s4H2LH")
VERSION, VERSION_64 = 20, 45
UNIX, REGULAR_FILE = 3, 0o644 << 16
DEFLATED = 8
FIRST_DAY = 1 << 5 | 1  # 1980-01-01, the first that a zip knows
IS_UTF8 = 0x800
MAX_SIZE = (1 << 31) - 1  # beyond it, sizes and offsets are written with 64 bits: old readers take the rest for a sign
MAX_COUNT = (1 << 16) - 1
ELSEWHERE = 0xFFFFFFFF
SPOOLED = 1 << 20


class ZipOutput:
    """A zip whose bytes depend on its content alone."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._directory = tempfile.SpooledTemporaryFile(SPOOLED)  # noqa: SIM115, closed by __exit__
        self._count = 0
        self._names: set[bytes] = set()

    def __enter__(self) -> ZipOutput:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        with self._directory:
            if kind is None:
                self._end()

    def holds(self, name: str) -> bool:
        """Whether there is such a file in it."""
        return _digest(name) in self._names

    def add(self, name: str, content: str | bytes) -> None:
        """Write a file; a text in UTF-8."""
        data = content.encode() if isinstance(content, str) else content
        if len(data) > MAX_SIZE:
            raise ValueError("A file in a zip is held in memory and at most 2 GiB.")
        deflate = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = deflate.compress(data) + deflate.flush()
        encoded, flags = name.encode(), 0 if name.isascii() else IS_UTF8
        facts = (zlib.crc32(data), len(packed), len(data), len(encoded))
        offset = self._out.tell()
        self._out.write(LOCAL.pack(b"PK\3\4", VERSION, flags, DEFLATED, 0, FIRST_DAY, *facts, 0) + encoded + packed)
        extra, version = b"", VERSION
        if offset > MAX_SIZE:
            extra, version, offset = struct.pack("<2HQ", 1, 8, offset), VERSION_64, ELSEWHERE
        versions = (version, UNIX, version, 0)
        self._directory.write(
            ENTRY.pack(
                b"PK\1\2", *versions, flags, DEFLATED, 0, FIRST_DAY, *facts, len(extra), 0, 0, 0, REGULAR_FILE, offset
            )
            + encoded
            + extra
        )
        self._names.add(_digest(name))
        self._count += 1

    def _end(self) -> None:
        """Write the directory and where it is."""
        start, size, count = self._out.tell(), self._directory.tell(), self._count
        self._directory.seek(0)
        shutil.copyfileobj(self._directory, self._out)
        if count > MAX_COUNT or start > MAX_SIZE or size > MAX_SIZE:
            here = self._out.tell()
            self._out.write(END_64.pack(b"PK\6\6", 44, VERSION_64, VERSION_64, 0, 0, count, count, size, start))
            self._out.write(LOCATOR_64.pack(b"PK\6\7", 0, here, 1))
        count, size, start = min(count, MAX_COUNT), min(size, ELSEWHERE), min(start, ELSEWHERE)
        self._out.write(END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0))


def _digest(name: str) -> bytes:
    """Return what stands for a name: of half a million paths, the digests are the smaller part.

    Names that differ in case only are one on many machines.
    """
    return blake2b(name.casefold().encode(), digest_size=16).digest()
