"""Where independent jobs run."""

from __future__ import annotations

import os


def worker_count() -> int:
    """Cores this process may use; found at run time, never a param."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
