"""Rows of one shape and type in a file that has no name: as quick to read as memory, and not held by the process.

The system keeps in its cache what memory allows, once for all processes that read the file, and frees the disk when the
last of them ends, however it ends.
"""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from pipeline.runtime.scratch import scratch_root


class RowFile:
    """`count` rows of one shape and `dtype`, by number. Any thread or process may read and write."""

    def __init__(self, file: int, count: int, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.file, self.count, self.row_shape, self.dtype = file, count, shape, np.dtype(dtype)
        self.row_bytes = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        weakref.finalize(self, os.close, file)

    @classmethod
    def create(cls, count: int, shape: tuple[int, ...], dtype: DTypeLike) -> RowFile:
        """A new one, its place on the disk taken at once. Raises OSError where there is too little."""
        folder = scratch_root()
        folder.mkdir(parents=True, exist_ok=True)
        file, name = tempfile.mkstemp(dir=folder, suffix=".rows")
        Path(name).unlink()
        rows = cls(file, count, shape, dtype)
        _reserve(file, count * rows.row_bytes, folder)
        return rows

    @classmethod
    def of(cls, values: np.ndarray) -> RowFile:
        """The rows of an array."""
        rows = cls.create(len(values), values.shape[1:], values.dtype)
        rows.write(0, values)
        return rows

    @property
    def address(self) -> str:
        """The path by which other processes of this machine open the file, on Linux."""
        return f"/proc/{os.getpid()}/fd/{self.file}"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, *self.row_shape)

    @property
    def nbytes(self) -> int:
        return self.count * self.row_bytes

    def __len__(self) -> int:
        return self.count

    def write(self, first: int, values: np.ndarray) -> None:
        """Rows first, first + 1 …"""
        assert values.shape[1:] == self.row_shape, values.shape
        assert values.dtype == self.dtype, values.dtype
        left, place = _bytes_of(np.ascontiguousarray(values)), first * self.row_bytes
        while left:
            written = os.pwrite(self.file, left, place)
            left, place = left[written:], place + written

    def read(self, first: int, count: int) -> np.ndarray:
        """(count, *row_shape): rows first, first + 1 …"""
        values = np.empty((count, *self.row_shape), self.dtype)
        self._read_into(values, first)
        return values

    def __getitem__(self, which: int | slice | np.ndarray) -> np.ndarray:
        """A row, or rows as an array: of a slice without steps, or of these numbers."""
        if isinstance(which, np.ndarray):
            return self.take(which)
        if not isinstance(which, slice):
            return self.read(which, 1)[0]
        first, end, step = which.indices(self.count)
        assert step == 1, which
        return self.read(first, max(0, end - first))

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(self.count))

    def take(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, *row_shape): the rows of these numbers."""
        values = np.empty((len(numbers), *self.row_shape), self.dtype)
        for place, number in enumerate(numbers):
            self._read_into(values[place : place + 1], int(number))
        return values

    def _read_into(self, values: np.ndarray, first: int) -> None:
        if not 0 <= first <= first + len(values) <= self.count:
            raise IndexError(f"rows {first} to {first + len(values)} of {self.count}")
        left, place = _bytes_of(values), first * self.row_bytes
        while left:
            got = os.preadv(self.file, [left], place)
            assert got, "the file is shorter than its rows"
            left, place = left[got:], place + got


class Peers(Protocol):
    """The processes of this machine that read the same rows."""

    @property
    def local_rank(self) -> int: ...

    @property
    def local_size(self) -> int: ...

    def share(self, make: Callable[[], RowFile]) -> RowFile:
        """Give all of them what the first makes."""

    def wait(self) -> None:
        """Return when all of them have come here."""


class Alone:
    """No others."""

    local_rank, local_size = 0, 1

    def share(self, make: Callable[[], RowFile]) -> RowFile:
        return make()

    def wait(self) -> None:
        pass


def open_rows(address: str, count: int, shape: tuple[int, ...], dtype: DTypeLike) -> RowFile:
    """The rows that another process of this machine holds at `address`."""
    return RowFile(os.open(address, os.O_RDWR), count, shape, dtype)


def _bytes_of(values: np.ndarray) -> memoryview:
    """An array's own memory, byte by byte."""
    return memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def _reserve(file: int, size: int, folder: Path) -> None:
    try:
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file, 0, size)
        else:
            os.truncate(file, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # the file system cannot
            error.filename = str(folder)
            raise
        os.truncate(file, size)
