"""Rows in a file without a name: written and read by number, by other processes too, and gone with the last of them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.runtime.row_file import Alone, RowFile, open_rows


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> np.ndarray:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return np.random.default_rng(0).integers(0, 256, (7, 3, 2)).astype(np.uint8)


def test_rows_come_back_by_number(values: np.ndarray, tmp_path: Path) -> None:
    rows = RowFile.of(values)
    assert (len(rows), rows.shape, rows.nbytes) == (7, (7, 3, 2), 42)
    np.testing.assert_array_equal(rows.take([6, 0, 6]), values[[6, 0, 6]])
    np.testing.assert_array_equal(rows[np.array([2, 1])], values[[2, 1]])
    np.testing.assert_array_equal(rows[2:5], values[2:5])
    np.testing.assert_array_equal(rows[5:100], values[5:])
    np.testing.assert_array_equal(np.stack(list(rows)), values)
    rows.write(3, values[:2])
    np.testing.assert_array_equal(rows[3:5], values[:2])
    assert not list((tmp_path / ".scratch").iterdir())  # no name is left to be cleaned up
    with pytest.raises(IndexError, match="rows 6 to 8 of 7"):
        rows.read(6, 2)


def test_another_process_reads_and_writes_the_same_rows(values: np.ndarray) -> None:
    rows = RowFile.of(values.astype(np.float16))
    code = (
        "import pickle, sys; from pipeline.runtime.row_file import open_rows\n"
        "rows = open_rows(*pickle.load(sys.stdin.buffer)); rows.write(0, rows[6:7])"
    )
    told = pickle.dumps((rows.address, len(rows), rows.row_shape, rows.dtype.str))
    subprocess.run([sys.executable, "-c", code], input=told, check=True)
    np.testing.assert_array_equal(rows[0:1], values[6:7])


def test_rows_outlive_the_one_who_made_them(values: np.ndarray) -> None:
    rows = RowFile.of(values)
    again = open_rows(rows.address, len(rows), rows.row_shape, rows.dtype)
    del rows
    np.testing.assert_array_equal(again[0:7], values)


def test_no_rows_are_no_error(values: np.ndarray) -> None:
    assert RowFile.of(values[:0])[0:3].shape == (0, 3, 2)
    assert Alone().share(lambda: RowFile.of(values)).count == 7
