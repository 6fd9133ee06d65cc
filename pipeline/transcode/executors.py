"""Where batches of clips run: threads of this process, each minding a decoder process, or a dask cluster.

A cluster is a property of the machine, not of the result: it is named by an environment variable, never by a param.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from pipeline.runtime.executors import worker_count
from pipeline.transcode.workers import stop_idle

CLUSTER = "T2V_DASK_SCHEDULER"


@contextmanager
def open_executor(workers: int | None = None) -> Iterator[tuple[Executor, str]]:
    """An executor and its description. Raises ValueError where the cluster does not answer.

    The cluster's workers need this project on their path and the archive under the same absolute path.
    """
    address = os.environ.get(CLUSTER)
    if address:
        with _cluster(address) as found:
            yield found
        return
    workers = workers or worker_count()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="transcode")
    try:
        yield pool, f"{workers} processes"
    finally:
        pool.shutdown(cancel_futures=True)
        stop_idle()


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, str]]:
    from distributed import Client

    try:
        client = Client(address, timeout=5, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{CLUSTER}={address}: no dask scheduler answers there ({error}); start it or unset {CLUSTER}"
        ) from None
    with client:
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not n_workers:
            raise ValueError(f"{CLUSTER}={address}: this scheduler has no workers; start some or unset {CLUSTER}")
        yield client.get_executor(pure=False), f"a dask cluster of {n_workers} workers"
