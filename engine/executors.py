"""The executor of a command: processes of this machine, or a cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from core.command_line import Command
from core.errors import BadInput
from core.run_settings import SystemSettings
from engine.jobs import OUTPUT_DIRECTORIES, Executor, Job, JobResult, run_job, thread_settings

KILLED = (
    "its process, or one beside it, was killed, most likely for want of memory: a smaller --jobs "
    "takes less"
)


@contextlib.contextmanager
def make_executor(command: Command, runs: Sequence[SystemSettings]) -> Iterator[Executor | None]:
    """Yield the executor of a command, None for this process; end afterwards what it started.

    Parameters
    ----------
    command : `cluster` "auto", "ray://host:port" or "local:N"; `jobs`, the number of jobs at once,
        None: one, or on a cluster as many as fit; `gpus_per_job` of the cluster
    runs : their directories must be seen by every node of a cluster

    Raises BadInput where the cluster cannot be used.
    """
    if command.cluster:
        if importlib.util.find_spec("ray") is None:
            raise BadInput("--cluster needs Ray: pip install '.[cluster]'")
        from engine import ray_cluster

        read = _directories(runs, f"{command.mode}_directory")
        written = _directories(runs, "cache_directory", *OUTPUT_DIRECTORIES)
        joined = ray_cluster.connected(
            command.cluster, command.jobs, command.gpus_per_job, read, written
        )
        with joined as executor, _without_gpus():
            yield executor
    elif (command.jobs or 1) > 1:
        with contextlib.closing(ProcessExecutor(command.jobs)) as executor, _without_gpus() as env:
            executor.env.update(env)
            yield executor
    else:
        yield None


def _directories(runs: Sequence[SystemSettings], *keys: str) -> list[str]:
    return sorted({str(getattr(run, key).absolute()) for run in runs for key in keys})


@contextlib.contextmanager
def _without_gpus() -> Iterator[dict[str, str | None]]:
    """Hide the GPUs from this process, because its workers need them.

    Yields the environment variables with which the workers see them.
    """
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    os.environ[name] = "-1"
    try:
        yield {name: before}
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


class ProcessExecutor:
    """Runs jobs in processes of this machine, each with its share of the cores.

    jobs : the number of jobs at once
    """

    workers = None

    def __init__(self, jobs: int):
        from joblib import cpu_count

        self.jobs, self.threads = jobs, max(1, cpu_count() // jobs)
        self.env: dict[str, str | None] = dict(thread_settings(self.threads))

    def run(self, jobs: Mapping[int, Job], retry: bool) -> Iterator[tuple[int, JobResult]]:
        """Run jobs, and yield (number, result) of each as it ends."""
        from joblib import Parallel, delayed, parallel_config
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        ended = set()
        # What failed may have failed for want of memory, so it runs one after another.
        at_once = 1 if retry else min(self.jobs, len(jobs))
        with parallel_config(backend="loky", inner_max_num_threads=self.threads):
            # At least two processes: with one, joblib would run the job in this process.
            parallel = Parallel(
                max(2, at_once), return_as="generator_unordered", pre_dispatch=at_once, batch_size=1
            )
            try:
                for number, result in parallel(
                    delayed(_run_job)(number, job, self.env, os.getpid())
                    for number, job in jobs.items()
                ):
                    ended.add(number)
                    yield number, result
            except TerminatedWorkerError:
                left = [number for number in jobs if number not in ended]
                started = [number for number in left if jobs[number].progress_path.exists()]
                for number in started or left[:at_once]:
                    jobs[number].progress_path.unlink(missing_ok=True)
                    yield number, JobResult(KILLED)

    def close(self) -> None:
        """Kill the processes, whatever they do."""
        from joblib.externals.loky import get_reusable_executor

        # Without reuse=True loky would first wait until they have done their jobs.
        get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)


def _run_job(
    number: int, job: Job, env: Mapping[str, str | None], driver: int
) -> tuple[int, JobResult]:
    if not any(thread.name == "driver" for thread in threading.enumerate()):
        threading.Thread(target=_end_with, args=(driver,), name="driver", daemon=True).start()
    return number, run_job(job, env)


def _end_with(driver: int) -> None:
    """End this process as soon as the driver has ended, even if it was killed."""
    while os.getppid() == driver:
        time.sleep(1)
    os._exit(1)
