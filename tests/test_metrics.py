"""Committed metrics hold nothing that depends on the machine; that lies beside them, where git does not look."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.runtime.code import ROOT
from pipeline.runtime.metrics import OF_THE_MACHINE, machine_file, write_metrics


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)


def test_a_metrics_file_is_cut_in_two(tmp_path: Path) -> None:
    path = tmp_path / "metrics/embed/shapes.json"
    write_metrics(path, {"captions": 5, "seconds": 1.5, "workers": "2 processes"})
    assert json.loads(path.read_text()) == {"captions": 5}
    beside = tmp_path / "metrics/machine/embed/shapes.json"
    assert json.loads(beside.read_text()) == {"seconds": 1.5, "workers": "2 processes"}
    assert machine_file(path) == beside
    assert machine_file(tmp_path / "toy.json") == tmp_path / "machine/toy.json"


def test_the_committed_metrics_hold_nothing_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "metrics/*.json"], cwd=ROOT, capture_output=True, text=True, check=True)
    of_benches = ("metrics/bench/", "metrics/gpu.json")  # measured once, machine and date beside
    for name in listed.stdout.split():
        if name.startswith(of_benches):
            continue
        found = set(keys(json.loads((ROOT / name).read_text(encoding="utf-8")))) & OF_THE_MACHINE
        assert not found, f"{name}: {sorted(found)}"
