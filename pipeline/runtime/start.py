"""The first steps of every program, before anything large is imported: it imports nothing but the system's own.

`start_stage(__name__)` or `start_program(__name__)` stands above a program's other imports. An imported module is left
alone: only the one that runs as `__main__` sets its process up.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
DVC_PROCESS = "T2V_DVC_PROCESS"  # environment: its number, where a shell stands between it and the stage


def start_stage(name: str) -> None:
    """Start a stage: where DVC runs it, it ends when DVC does, also while it still imports."""
    if name == "__main__":
        start_program(name)
        if sys.platform == "linux" and "DVC_STAGE" in os.environ:
            _die_with_dvc(os.getppid())


def start_program(name: str) -> None:
    """Start a program that a user runs."""
    if name == "__main__":
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall each other on a busy machine


def run_program(main: Callable[[], object]) -> None:
    """Run a command's `main`: one line on stderr and exit 1 on what a user can mend, exit 130 after Ctrl-C."""
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit(130)


def die_with_parent(parent: int, how: signal.Signals = signal.SIGTERM) -> None:
    """On Linux: be sent a signal when the process `parent` dies, however it dies; exit where it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        sys.exit("the parent process is gone")


def _die_with_dvc(parent: int) -> None:
    """Be sent SIGTERM when DVC dies, also where its shell stands in between: bash becomes the command, dash forks.

    What a stage starts in its own place (torchrun, and the stage once more under it) finds DVC by the environment.
    """
    die_with_parent(parent)
    try:
        if DVC_PROCESS not in os.environ:
            if Path(f"/proc/{parent}/cmdline").read_text().split("\0")[-3:-2] != ["-c"]:
                return  # no shell that waits for its command
            os.environ[DVC_PROCESS] = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1]
        ends = os.pidfd_open(int(os.environ[DVC_PROCESS]))
    except OSError:  # one of the two is gone, and with the shell goes this process
        return
    threading.Thread(target=_end_after, args=(ends,), name="dvc", daemon=True).start()


def _end_after(process: int) -> None:
    select.select([process], [], [])
    os.kill(os.getpid(), signal.SIGTERM)
