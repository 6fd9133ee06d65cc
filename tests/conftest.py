"""What tests of several modules are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pipeline.runtime import parallel as cores


@pytest.fixture
def two_cores() -> Iterator[None]:
    """Two threads for torch and a fresh pool of two, whatever the machine has."""
    before = torch.get_num_threads()
    cores._pool.cache_clear()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
    cores._pool.cache_clear()
