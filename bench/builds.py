"""Two builds of this repository beside each other, and what a stage costs in each: seconds, peak memory, disk.

The build of now is a copy of the working tree's files, the one before a git revision; each runs its stages by its own
code and params.yaml in a temporary folder. Memory is that of a stage and all its processes, shared pages counted once.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
LOOK_EVERY_S = 0.05
RATIOS = ("time", "cpu", "memory", "disk")


@dataclass(frozen=True)
class Cost:
    """The cost of one program."""

    seconds: float
    cpu_s: float  # of all its processes: steadier where others use the machine too
    memory_mb: float  # peak of its processes together
    disk_mb: float  # of the build's folder afterwards


@dataclass(frozen=True)
class Build:
    """A build's own folder, ready to run stages in."""

    name: str
    folder: Path

    @property
    def videos(self) -> str:
        """The name that this build gives the set of the stage transcode."""
        return "videos" if "data/shards/videos" in (self.folder / "dvc.yaml").read_text(encoding="utf-8") else "msrvtt"

    def set_params(self, values: Mapping[str, Any]) -> None:
        """Change params.yaml by `section.key`; what this build does not know is passed over."""
        path = self.folder / "params.yaml"
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in values.items():
            section, _, key = name.rpartition(".")
            part = tree.get(section, {}) if section else tree
            if key in part:
                part[key] = value
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")

    def run(self, *words: str) -> Cost:
        """Run `python WORDS` in the build's folder, such as `-m stages.train`. Raises ValueError where it fails."""
        started, spent = time.perf_counter(), children_cpu_s()
        with (self.folder / "bench.log").open("w+b") as log:
            env = {key: value for key, value in os.environ.items() if key not in ("DVC_ROOT", "PYTHONPATH")}
            process = subprocess.Popen([sys.executable, *words], cwd=self.folder, env=env, stdout=log, stderr=log)
            peak = 0
            while not _has_ended(process, LOOK_EVERY_S):
                peak = max(peak, tree_memory(process.pid))
            seconds = time.perf_counter() - started
            if process.returncode:
                log.seek(0)
                said = " ".join(log.read()[-1000:].decode(errors="replace").split())
                raise ValueError(f"{self.name}: python {' '.join(words)} ended with {process.returncode}: {said}")
        return Cost(seconds, children_cpu_s() - spent, peak / 1e6, folder_bytes(self.folder) / 1e6)


@contextmanager
def open_builds(before: str | None) -> Iterator[list[Build]]:
    """The build of now, after the one of the revision `before` where one is named. Raises ValueError where there is no
    such revision."""
    with TemporaryDirectory(prefix="t2v-bench-") as name:
        builds = []
        if before is not None:
            builds.append(Build("before", Path(name) / "before"))
            _unpack(before, builds[0].folder)
        builds.append(Build("now", Path(name) / "now"))
        _copy_working_tree(builds[-1].folder)
        yield builds


def ratios(before: Cost, now: Cost) -> dict[str, float]:
    """`time_ratio`, `cpu_ratio`, `memory_ratio` and `disk_ratio`: of now over before."""
    pairs = zip(RATIOS, astuple(before), astuple(now), strict=True)
    return {f"{what}_ratio": new / old for what, old, new in pairs if old > 0.0}


def in_json(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Costs by build as plain numbers, with the ratios where both builds were run."""
    found: dict[str, Any] = {name: _rounded(asdict(cost)) for name, cost in costs.items()}
    return found | (_rounded(ratios(costs["before"], costs["now"])) if "before" in costs else {})


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in values.items()}


def children_cpu_s() -> float:
    """CPU seconds of the processes that this one has waited for, and of those that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_memory(pid: int) -> int:
    """Bytes of memory of a process and its descendants, shared pages counted once (Linux's PSS); 0 where it ended."""
    children = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        children[int(fields[1])].append(int(path.parent.name))
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        waiting += children[one]
        total += _proportional(one)
    return total


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def folder_bytes(folder: Path) -> int:
    """Bytes on the disk of all that lies in a folder, hard links counted once."""
    sizes = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _has_ended(process: subprocess.Popen[bytes], wait_s: float) -> bool:
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _unpack(revision: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        raise ValueError(f"--before {revision}: {packed.stderr.decode().strip()}; give a tag or a commit (git log)")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)


def _copy_working_tree(folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
