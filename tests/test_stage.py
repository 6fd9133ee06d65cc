"""What a stage's process is set to."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading, torch
from pipeline.runtime.stage import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def fill():
    for _ in range(40):  # a few fall beside the freed block, however many there are
        torch.ones(2**23)
def run():
    if sys.argv[2] == "main":
        return fill()
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
run()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep its pages")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_freed_memory_is_kept_for_the_next_step(where: str) -> None:
    kept, given_back = (
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, how, where], check=True, capture_output=True, text=True
            ).stdout
        )
        for how in ("keep", "give back")
    )
    assert given_back > 40 * 2**23 * 4 // 2**16, "glibc keeps large blocks by itself: keep_freed_memory has no use"
    assert kept < 0.3 * given_back
