"""`dvc repro` with nothing to do, beside a repository of one stage: `python -m bench.nothing [--json FILE]`.

Of this repository, which has to be up to date. The rest above DVC's own floor goes by the number of dependencies.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench.facts import add_facts
from bench.stopwatch import time_children
from pipeline.runtime.code import ROOT
from pipeline.runtime.stage import run_stage

ONE_STAGE = "stages: {one: {cmd: touch one, outs: [one]}}\n"
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.nothing", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write everything here")
    args = parser.parse_args()
    if run_dvc(ROOT, "status") != 0:
        raise ValueError("this repository is not up to date, so there is something to do: run dvc repro first")
    with tempfile.TemporaryDirectory() as name:
        floor = Path(name)
        subprocess.run(["git", "init", "-q"], cwd=floor, check=True)
        shutil.copytree(ROOT / ".dvc", floor / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
        (floor / "dvc.yaml").write_text(ONE_STAGE, encoding="utf-8")
        run_dvc(floor, "repro")
        ours, least = (time_children(partial(run_dvc, folder, "repro"), rounds=ROUNDS) for folder in (ROOT, floor))
    found = {
        "nothing_wall_s": ours.wall_s,
        "nothing_cpu_s": ours.cpu_s,
        "nothing_floor_wall_s": least.wall_s,
        "nothing_floor_cpu_s": least.cpu_s,
        "nothing_ratio": ours.cpu_s / least.cpu_s,
    }
    print("  ".join(f"{key} {value:.2f}" for key, value in found.items()))
    if args.json is not None:
        add_facts(args.json, found)


def run_dvc(folder: Path, command: str) -> int:
    """The exit code of `dvc COMMAND --quiet`: of status, 0 where nothing is to do."""
    return subprocess.run([sys.executable, "-m", "dvc", command, "--quiet"], cwd=folder, check=False).returncode


if __name__ == "__main__":
    run_stage(main)
