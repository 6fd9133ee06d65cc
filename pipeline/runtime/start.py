"""What every program does first, before anything large is imported: this module imports nothing but the system's own.

`start_stage(__name__)` or `start_program(__name__)` stands above a program's other imports. An imported module is left
alone: only the one that runs as `__main__` sets its process up.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def start_stage(name: str) -> None:
    """Start a program that DVC runs: it ends when its parent does, also while it still imports."""
    if name == "__main__":
        start_program(name)
        die_with_parent(os.getppid())


def start_program(name: str) -> None:
    """Start a program that a user runs."""
    if name == "__main__":
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall each other on a busy machine


def die_with_parent(parent: int, how: signal.Signals = signal.SIGTERM) -> None:
    """On Linux: be sent a signal when the process `parent` dies, however it dies; exit where it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        sys.exit("the parent process is gone")
