"""A stage's metrics in two files: what params and inputs decide, and what the machine and the clock do.

The first is committed and repeats to the byte; the second, of the same name in `metrics/machine/`, is ignored by git.
`dvc metrics show` reads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.runtime.files import write_json

FOLDER = "machine"
OF_THE_MACHINE = frozenset(
    {
        "chunks_resumed",
        "clips_per_s",
        "data_wait_share",
        "device",
        "precision",
        "processes",
        "seconds",
        "seconds_per_clip",
        "shards_resumed",
        "workers",
    }
)


def write_metrics(path: Path, values: Mapping[str, Any]) -> None:
    """Write `values` to `path`, but for those keys that the machine decides: they go to `machine_file(path)`."""
    write_json(path, {key: value for key, value in values.items() if not _is_of_the_machine(key)})
    write_json(machine_file(path), {key: value for key, value in values.items() if _is_of_the_machine(key)})


def _is_of_the_machine(key: str) -> bool:
    """Also of one value among several: `steps.4.seconds_per_clip`."""
    return key.rpartition(".")[2] in OF_THE_MACHINE


def machine_file(path: Path) -> Path:
    """metrics/embed/shapes.json to metrics/machine/embed/shapes.json; elsewhere a `machine/` beside the file."""
    root = next((parent for parent in path.parents if parent.name == "metrics"), path.parent)
    return root / FOLDER / path.relative_to(root)
