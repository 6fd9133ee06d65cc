"""Every program sets its process up before it imports anything large, and a stage dies with its parent from then on."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process_toys import is_running

ROOT = Path(__file__).resolve().parent.parent
STAGES = [path for path in sorted(ROOT.glob("stages/*.py")) if path.name != "__init__.py"]
PROGRAMS = [path for path in sorted(ROOT.glob("pipeline/*.py")) if path.name != "__init__.py"]
BENCHES = [path for path in sorted(ROOT.glob("bench/*.py")) if '__name__ == "__main__"' in path.read_text()]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("path", [*STAGES, *PROGRAMS, *BENCHES], ids=lambda path: path.stem)
def test_a_program_starts_before_it_imports(path: Path) -> None:
    start = "start_stage" if path in STAGES else "start_program"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = [ast.unparse(node) for node in tree.body[1:]]  # below the docstring
    assert lines[:3] == [
        "from __future__ import annotations",
        f"from pipeline.runtime.start import {start}",
        f"{start}(__name__)",
    ]
    assert lines[-1].startswith("if __name__ == '__main__':")


def test_the_start_imports_nothing_large() -> None:
    script = "import sys; before = set(sys.modules); import pipeline.runtime.start; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded <= {"pipeline", *sys.stdlib_module_names}


@pytest.mark.parametrize("shell", ["", "dash", "bash"])
def test_a_stage_dies_with_a_parent_killed_during_its_imports(shell: str, tmp_path: Path) -> None:
    """DVC runs a stage by $SHELL, or by /bin/sh where that is not set; dash waits for the command as a process between
    the two, bash becomes it."""
    marker = tmp_path / "importing"
    (tmp_path / "yaml.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        f"Path({str(marker)!r}).write_text(f'{{os.getpid()}} {{os.environ[\"OMP_WAIT_POLICY\"]}}')\ntime.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    environment.pop("OMP_WAIT_POLICY", None)
    environment["DVC_STAGE"] = "shapes"
    command = [shell, "-c", f"{sys.executable} -m stages.shapes"] if shell else [sys.executable, "-m", "stages.shapes"]
    script = f"import subprocess; subprocess.run({command})"
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment)
    wait_until(lambda: marker.is_file() and bool(marker.read_text()))
    stage, policy = marker.read_text().split()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not is_running(int(stage)))
    assert policy == "PASSIVE"


def test_a_stage_under_what_took_its_place_dies_with_dvc(tmp_path: Path) -> None:
    """As under torchrun: the stage becomes it, and starts the stage once more."""
    program, marker = tmp_path / "stage.py", tmp_path / "started"
    program.write_text(
        "import os, subprocess, sys, time\nfrom pathlib import Path\n"
        "from pipeline.runtime.start import start_stage\nstart_stage('__main__')\n"
        "again = 'import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])'\n"
        "if len(sys.argv) == 1:\n    os.execv(sys.executable, [sys.executable, '-c', again, __file__, 'once more'])\n"
        f"Path({str(marker)!r}).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "train"}
    script = f"import subprocess; subprocess.run(['dash', '-c', {f'{sys.executable} {program}'!r}])"
    dvc = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment)
    wait_until(lambda: marker.is_file() and bool(marker.read_text()))
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    wait_until(lambda: not is_running(int(marker.read_text())))


def test_a_process_whose_parent_is_gone_already_ends() -> None:
    script = f"from pipeline.runtime.start import die_with_parent; die_with_parent({os.getpid()} + 1)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "the parent process is gone\n")
