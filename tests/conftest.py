"""What tests of several modules are given."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # a worker to a core


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first: a worker takes whole files, and a long last one leaves the other idle."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture
def two_cores() -> Iterator[None]:
    """Two threads for torch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def own_params() -> Iterator[None]:
    """What is drawn by the repository's params is drawn by the tests' own, whatever preset is applied."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.sampling.standing.ROOT", Path(__file__).parent)
        yield
