"""The workers of a dask cluster. They need the packages of requirements.txt only: the project's code goes with the job.

Whoever reaches the scheduler can run code on it, as on any dask cluster: keep it on a network of trusted machines.
"""

from __future__ import annotations

import platform
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from pickle import dumps, loads
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import cloudpickle
from distributed import Client, KilledWorker
from distributed.comm import CommClosedError
from distributed.diagnostics.plugin import UploadFile

from pipeline.runtime import remote
from pipeline.runtime.code import ROOT
from pipeline.runtime.jobs import CLUSTER, Item, Pending, Result, Shared, in_order

CONNECT_S = 5.0
KEPT = "what is finished is kept: change that and run the same command again"
# Packages whose version can show in an output's bytes; a worker has the same ones.
PACKAGES = ("numpy", "pillow", "av", "pyarrow", "torch", "transformers", "tokenizers")


@contextmanager
def open_cluster(address: str, files: Sequence[Path]) -> Iterator[Cluster]:
    """The workers of the scheduler at `address`. Raises ValueError, one line, where a job could not run there."""
    cloudpickle.register_pickle_by_value(remote)
    place = f"{CLUSTER}={address}"
    try:
        with warnings.catch_warnings(action="ignore"):  # of versions: they are compared below, in one line
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{place}: no dask scheduler answers there ({error}); start it or unset {CLUSTER}") from None
    with client:
        _refuse_other_versions(client, place)
        try:
            yield Cluster(client, files)
        except (CancelledError, CommClosedError):
            raise ValueError(f"{place}: the scheduler is gone; {KEPT}") from None
        except KilledWorker as error:
            raise ValueError(f"{place}: one job lost worker after worker ({error}); {KEPT}") from None


class Cluster:
    """A `Workers` of pipeline/runtime/executors.py."""

    def __init__(self, client: Client, files: Sequence[Path]) -> None:
        self.client, self.files = client, files
        self.count = len(client.nthreads())

    @property
    def name(self) -> str:
        return f"a dask cluster of {self.count} workers"

    def map(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
    ) -> Iterator[Result]:
        package = f"text-to-video-{uuid4().hex}.zip"
        where = f"{function.__module__}:{function.__qualname__}"
        with TemporaryDirectory() as folder:
            write_package(Path(folder, package), shared, self.files)
            plugin = UploadFile(str(Path(folder, package)), load=False)
        self.client.register_plugin(plugin, name=package)  # for workers that join later, too

        run_job = remote.run_job
        by_value = lambda item: run_job(package, where, item)  # noqa: E731  # no importable name: dask sends it whole

        def submit(item: Item) -> Pending[bytes]:
            return self.client.submit(by_value, dumps(item), pure=False)

        for answer in in_order(submit, items, sum(self.client.nthreads().values())):
            yield loads(answer)
        self.client.unregister_worker_plugin(package)
        self.client.run(remote.drop_package, package)


def write_package(path: Path, shared: Any, files: Sequence[Path]) -> None:
    """A zip archive of the project's modules and what all jobs share and need; Python imports from it as it is."""
    packages = {name: version(name) for name in PACKAGES}
    sizes = {str(file.resolve()): file.stat().st_size for file in files}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(remote.NEEDS, dumps((packages, sizes)))
        for file in sorted((ROOT / "pipeline").rglob("*.py")):
            archive.write(file, file.relative_to(ROOT))
        archive.writestr(remote.SHARED, dumps(shared))


def _refuse_other_versions(client: Client, place: str) -> None:
    """Python and dask have to be the same everywhere, or nothing can be asked of a worker."""
    told: Any = client.get_versions()
    here = (platform.python_version_tuple()[:2], version("distributed"))
    machines: Mapping[str, Any] = {"the scheduler": told["scheduler"], **told["workers"]}
    if len(machines) == 1:
        raise ValueError(f"{place}: this scheduler has no workers; start some or unset {CLUSTER}")
    for name, versions in machines.items():
        packages = versions["packages"]
        there = (tuple(packages["python"].split(".")[:2]), packages["distributed"])
        if there != here:
            raise ValueError(
                f"{place}: {name} has Python {'.'.join(there[0])} and distributed {there[1]}, "
                f"this machine {'.'.join(here[0])} and {here[1]}; they have to be the same"
            )
