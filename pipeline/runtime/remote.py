"""The part of a cluster's job that travels with it, by value: no worker and no scheduler needs the project installed.

A worker gets the project's code, and what a run's jobs share, as one zip archive; here it is put on the worker's path.
This module imports nothing of the project and nothing that a bare worker lacks.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SHARED, NEEDS = "shared.pickle", "needs.pickle"  # in the archive, beside the code


def find_faults(
    packages: Mapping[str, str],  # version by name, as the client has them
    files: Mapping[str, int],  # bytes by path, as the client sees them
) -> list[str]:
    """The lacks of this machine for the client's jobs, in words."""
    faults = []
    for name, wanted in packages.items():
        try:
            there = version(name)
        except PackageNotFoundError:
            faults.append(f"lacks {name} {wanted}")
        else:
            if there.partition("+")[0] != wanted.partition("+")[0]:
                faults.append(f"has {name} {there}, not {wanted}")
    for path, size in files.items():
        if not Path(path).exists():
            faults.append(f"does not see {path}")
        elif Path(path).is_file() and Path(path).stat().st_size != size:
            faults.append(f"sees another {path} ({Path(path).stat().st_size} bytes, not {size})")
    return faults


def run_job(package: str, function: str, item: bytes) -> bytes:
    """Run `module:function` of the package (an archive's name) on (what is shared, the item); pickles in and out."""
    from distributed import get_worker

    worker: Any = get_worker()
    state = worker.__dict__.setdefault("text_to_video", {"lock": threading.Lock(), "package": None})
    with state["lock"]:
        if state["package"] != package:
            _open_package(Path(worker.local_directory, package), worker.address, state)
            state["package"] = package
        module, name = function.split(":")
        run, shared, arguments = getattr(importlib.import_module(module), name), state["shared"], pickle.loads(item)
    return pickle.dumps(run(shared, arguments))


def _open_package(path: Path, address: str, state: dict[str, Any]) -> None:
    """Let this process import the package's code, and no other version of it, and read what is shared."""
    with zipfile.ZipFile(path) as archive:
        faults = find_faults(*pickle.loads(archive.read(NEEDS)))
        if faults:
            raise ValueError(
                f"dask worker {address} {'; '.join(faults)} (packages: pip install -r requirements.txt there; "
                "files lie under the same path on every machine)"
            )
        own = {name.split("/")[0] for name in archive.namelist()}
        for name in [name for name in sys.modules if name.split(".")[0] in own]:
            del sys.modules[name]
        sys.path.insert(0, str(path))
        importlib.invalidate_caches()
        state["shared"] = pickle.loads(archive.read(SHARED))


def drop_package(package: str, dask_worker: Any) -> None:
    """Delete the archive, with what is shared, from a worker: the run is over."""
    path = Path(dask_worker.local_directory, package)
    sys.path[:] = [entry for entry in sys.path if entry != str(path)]
    path.unlink(missing_ok=True)
