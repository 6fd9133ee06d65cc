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
def in_thread():
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
for run in (in_thread, fill):
    run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    run()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep its pages")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    kept, given_back = (
        subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout.split()
        for how in ("keep", "give back")
    )
    for where, ours, plain in zip(("in a thread", "in main"), map(int, kept), map(int, given_back), strict=True):
        assert plain > 40 * 2**23 * 4 // 2**16, f"glibc keeps large blocks {where} by itself: no use"
        assert ours < 0.3 * plain, where
