"""Jobs by threads, processes and a dask cluster: the same results in the same order, whatever happens to workers."""

from __future__ import annotations

import json
import operator
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.runtime import cluster as clusters
from pipeline.runtime.executors import open_workers
from pipeline.runtime.jobs import CLUSTER, map_groups
from pipeline.runtime.remote import find_faults
from pipeline.synthetic.build import Job, build_set, draw_clips, split_counts
from pipeline.synthetic.shapes import shapes_set
from tests.synthetic_toys import shapes_params
from tests.test_synthetic_build import FEW, digest
from tests.test_transcode import contents, make_raw, run, seeds

ROOT = Path(__file__).resolve().parent.parent


# This machine


@pytest.mark.parametrize(("count", "threads"), [(1, False), (2, False), (1, True), (3, True)])
def test_results_come_in_the_items_order(count: int, threads: bool) -> None:
    with open_workers(count, threads=threads) as workers:
        assert list(workers.map(operator.add, 100, range(40))) == list(range(100, 140))
        groups = {"a": [1, 2], "b": [], "c": [3]}
        found = {name: list(results) for name, results in map_groups(workers, operator.add, 10, groups)}
        assert found == {"a": [11, 12], "c": [13]}
        with pytest.raises(ZeroDivisionError):
            list(workers.map(operator.truediv, 1, [2, 0, 4]))


def test_few_items_are_taken_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    with open_workers(2, threads=True) as workers:
        results = workers.map(operator.add, 0, items())
        assert next(results) == 0
        assert len(taken) < 20
        results.close()  # type: ignore[attr-defined]


def test_a_killed_process_is_one_line() -> None:
    with open_workers(2) as workers, pytest.raises(ValueError, match=r"a worker process was killed.*run the same"):
        list(workers.map(operator.call, os._exit, range(9)))


# A cluster


@dataclass
class Machines:
    """A dask scheduler and workers on 127.0.0.1, each started in an empty folder, without the project on its path."""

    folder: Path
    address: str = ""
    scheduler: list[subprocess.Popen] = field(default_factory=list)
    workers: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        place = self.folder / f"empty-{len(self.scheduler) + len(self.workers)}"
        place.mkdir()
        plain = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.Popen(
            [sys.executable, "-m", *words, "--no-dashboard"],
            cwd=place, env={**plain, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def start_scheduler(self) -> None:
        file = self.folder / "scheduler.json"
        command = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
        self.scheduler.append(self.start(*command, "--scheduler-file", str(file)))
        deadline = time.monotonic() + 60
        while not file.is_file() or not file.read_text(encoding="utf-8").endswith("}"):
            assert time.monotonic() < deadline, "no scheduler"
            time.sleep(0.05)
        self.address = json.loads(file.read_text(encoding="utf-8"))["address"]

    def start_worker(self, **environment: str) -> None:
        command = ["distributed.cli.dask_worker", self.address, "--nthreads", "1", "--host", "127.0.0.1"]
        self.workers.append(self.start(*command, "--no-nanny", **environment))

    def wait_for(self, workers: int) -> None:
        from distributed import Client

        with Client(self.address, timeout=30, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)

    def stop(self) -> None:
        for process in (*self.workers, *self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def started(folder: Path, workers: int = 2, **environment: str) -> Iterator[Machines]:
    machines = Machines(folder)
    try:
        machines.start_scheduler()
        for _ in range(workers):
            machines.start_worker(**environment)
        machines.wait_for(workers)
        yield machines
    finally:
        machines.stop()


@pytest.fixture(scope="module")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the fake decoders alone, for the workers' path."""
    folder = tmp_path_factory.mktemp("decoders") / "tests"
    folder.mkdir()
    (folder / "__init__.py").touch()
    shutil.copy(ROOT / "tests/fake_decoders.py", folder)
    return str(folder.parent)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, decoders: str) -> Iterator[Machines]:
    with started(tmp_path_factory.mktemp("cluster"), PYTHONPATH=decoders) as machines:
        yield machines


pytestmark = pytest.mark.filterwarnings("default")  # the cluster's library's own


@pytest.mark.slow
def test_a_cluster_transcodes_to_the_same_bytes(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path / "raw", {**seeds(40), "video7": b"bad", "video9": b"abort"})
    run(raw, tmp_path / "here")
    monkeypatch.setenv(CLUSTER, machines.address)
    report = run(raw, tmp_path / "there")
    assert report.workers == "a dask cluster of 2 workers"
    assert contents(tmp_path / "there" / "out") == contents(tmp_path / "here" / "out")


@pytest.mark.slow
def test_a_cluster_draws_the_same_set(machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = shapes_params(**FEW)
    build_set(shapes_set(params), split_counts(params), 16, tmp_path / "a", tmp_path / "here", workers=1)
    monkeypatch.setenv(CLUSTER, machines.address)
    build_set(shapes_set(params), split_counts(params), 16, tmp_path / "b", tmp_path / "there")
    assert digest(tmp_path / "there") == digest(tmp_path / "here")


@pytest.mark.slow
def test_the_code_that_runs_is_the_clients(machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker lives on while the project is edited."""
    monkeypatch.setenv(CLUSTER, machines.address)
    generated, jobs = shapes_set(shapes_params()), [Job(Path("shard"), "train", 0, 2)]

    def keys() -> list[str]:
        with open_workers() as workers:
            return [row.key for rows in workers.map(draw_clips, generated, jobs) for row in rows]

    before = keys()
    (tmp_path / "pipeline").mkdir()
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", dirs_exist_ok=True)
    edited = tmp_path / "pipeline/synthetic/build.py"
    source = edited.read_text(encoding="utf-8")
    edited.write_text(source.replace("range(job.start, job.stop)", "range(job.start + 5, job.stop + 5)"))
    with monkeypatch.context() as context:
        context.setattr(clusters, "ROOT", tmp_path)
        assert keys() == [generated.row("train", index).key for index in (5, 6)] != before
    assert keys() == before


@pytest.mark.slow
def test_a_killed_worker_and_a_new_one_give_the_same_bytes(
    decoders: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path / "raw", seeds(36, "slow"))
    run(raw, tmp_path / "here", clips_per_shard=12)
    with started(tmp_path, PYTHONPATH=decoders) as machines:
        monkeypatch.setenv(CLUSTER, machines.address)

        def kill_one(number: int, result: list[object]) -> list[object]:
            if number == 1:  # of 6
                machines.workers[0].send_signal(signal.SIGKILL)
                machines.start_worker(PYTHONPATH=decoders)
            return result

        mapped = clusters.Cluster.map
        monkeypatch.setattr(
            clusters.Cluster, "map", lambda *words: (kill_one(*pair) for pair in enumerate(mapped(*words)))
        )
        report = run(raw, tmp_path / "there", clips_per_shard=12)
        assert machines.workers[0].wait() == -signal.SIGKILL
        assert len(machines.workers) == 3
    assert report.workers == "a dask cluster of 2 workers"
    assert contents(tmp_path / "there" / "out") == contents(tmp_path / "here" / "out")


@pytest.mark.slow
def test_a_scheduler_that_goes_is_one_line_and_finished_shards_are_kept(
    decoders: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path / "raw", seeds(20, "slow"))
    monkeypatch.setattr(clusters, "CONNECT_S", 1.0)
    with started(tmp_path, 1, PYTHONPATH=decoders) as machines:
        monkeypatch.setenv(CLUSTER, machines.address)
        monkeypatch.setattr("pipeline.transcode.assemble.write_json", lambda *_: machines.scheduler[0].kill())
        with pytest.raises(ValueError, match="the scheduler is gone; what is finished is kept"):
            run(raw, tmp_path)
    assert (tmp_path / "scratch/shard-00000.parquet").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("versions", "line"),
    [
        ({"distributed": "1.0"}, r"the scheduler has Python 3\.\d+ and distributed .*, this machine 3\.\d+ and 1\.0"),
        ({"pillow": "0.9"}, r"dask worker tcp://.* has pillow .*, not 0\.9 \(packages: pip install -r"),
    ],
)
def test_another_version_is_one_line(
    versions: dict[str, str], line: str, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLUSTER, machines.address)
    here = clusters.version
    monkeypatch.setattr(clusters, "version", lambda name: versions.get(name) or here(name))
    with pytest.raises(ValueError, match=line), open_workers() as workers:
        list(workers.map(draw_clips, shapes_set(shapes_params()), [Job(Path("shard"), "train", 0, 2)]))


def test_what_a_machine_lacks_is_said(tmp_path: Path) -> None:
    file = tmp_path / "clips.zip"
    file.write_bytes(b"12345")
    here = version("numpy")
    assert find_faults({"numpy": here}, {str(file): 5, str(tmp_path): 4096}) == []
    assert find_faults({"numpy": f"{here}+cpu"}, {}) == []
    assert find_faults({"numpy": "0.9", "no-such-package": "1.0"}, {str(file): 6, "/no/such.zip": 1}) == [
        f"has numpy {here}, not 0.9",
        "lacks no-such-package 1.0",
        f"sees another {file} (5 bytes, not 6)",
        "does not see /no/such.zip",
    ]


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLUSTER, "tcp://127.0.0.1:9")
    with pytest.raises(ValueError, match="no dask scheduler answers there"), open_workers():
        pass
