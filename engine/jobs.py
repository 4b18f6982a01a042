"""Jobs, such as one training each, and how they run: in this process, or in workers.

A job is a function of a module and plain settings. In this process it is simply called. A worker
writes all messages of a job to that job's own log, and this process shows the progress of all jobs.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from core.errors import BadInput, ProblemCollector
from core.log import logger, output_to_file, progress_bar, setup_log
from core.run_settings import SystemSettings
from data.frame_cache import RemoteWorkers

ATTEMPTS = 2

OUTPUT_DIRECTORIES = ("model_directory", "result_directory")
DIRECTORIES = ("dev_directory", "eval_directory", "cache_directory", *OUTPUT_DIRECTORIES)


class Job(NamedTuple):
    """A training of one network, or the scoring of one slice of test clips.

    name : its name in messages of this process, "fan: 990 clips"
    title : its name among all jobs of the command, "ae seed 0 fan"
    log : the name of its log, in logs/ of the result directory
    settings : of its run
    function : a function of a module, called with settings, arguments and local_arguments
    arguments : plain values
    local_arguments : what the function gets in this process; in a worker it loads them itself
    """

    name: str
    title: str
    log: str
    settings: SystemSettings
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    local_arguments: tuple[Any, ...] = ()

    @property
    def directory(self) -> Path:
        """Return the result directory of its run."""
        return self.settings.result_directory

    @property
    def log_path(self) -> Path:
        """Return the file to which a worker writes all output of the job."""
        return self.directory / "logs" / f"{self.log}.log"

    @property
    def progress_path(self) -> Path:
        """Return the file to which a worker writes its progress; it exists while the job runs."""
        return self.directory / "logs" / f".{self.log}.progress"

    def for_worker(self) -> Job:
        """Return the job with absolute paths and plain values only."""
        directories = {key: getattr(self.settings, key).absolute() for key in DIRECTORIES}
        return self._replace(settings=self.settings.with_values(directories), local_arguments=())


class JobResult(NamedTuple):
    """How a job ended.

    problem : what went wrong; empty where nothing did
    final : whether another attempt would end the same way
    messages : (level, message) of what it logged
    seconds : how long it took
    node : Ray's id of the node on which it ran; empty without Ray
    """

    problem: str
    final: bool = False
    messages: Sequence[tuple[int, str]] = ()
    seconds: float = 0.0
    node: str = ""


class Executor(Protocol):
    """Runs jobs in workers: processes of this machine, or of a cluster.

    workers : workers that extract features too; None: processes of this machine do it
    """

    workers: RemoteWorkers | None

    def run(self, jobs: Mapping[int, Job], retry: bool) -> Iterator[tuple[int, JobResult]]:
        """Run jobs, and yield (number, result) of each as it ends.

        Yields at least one result. A job without a result was not started. retry : all of these
        jobs failed once.
        """


def run_jobs(
    jobs: Sequence[Job], executor: Executor | None, problems: ProblemCollector
) -> list[Job]:
    """Run every job, also after one has failed; the problems are collected.

    Parameters
    ----------
    executor : None runs the jobs in this process, one after another

    Returns
    -------
    The jobs that failed.
    """
    if executor is not None:
        return _run_in_workers(jobs, executor, problems)
    failed = []
    for number, job in enumerate(jobs, start=1):
        setup_log(job.directory)
        logger.info("[%d/%d] %s", number, len(jobs), job.name)
        before = len(problems.messages)
        with problems:
            job.function(job.settings, *job.arguments, *job.local_arguments)
        failed += [job] * (len(problems.messages) - before)
    return failed


def _run_in_workers(
    jobs: Sequence[Job], executor: Executor, problems: ProblemCollector
) -> list[Job]:
    waiting = {number: job.for_worker() for number, job in enumerate(jobs)}
    attempts: collections.Counter[int] = collections.Counter()
    failed, done = [], 0
    with _Display(list(waiting.values())) as display:
        while waiting:
            retry = all(attempts[number] for number in waiting)
            chosen = {n: job for n, job in waiting.items() if retry or not attempts[n]}
            for number, result in executor.run(chosen, retry):
                job = jobs[number]
                attempts[number] += 1
                setup_log(job.directory)
                for level, message in result.messages:
                    logger.log(level, "%s", message)
                if result.problem and not result.final and attempts[number] < ATTEMPTS:
                    logger.warning(
                        "%s: %s; to be tried once more; log -> %s",
                        *(job.title, result.problem, job.log_path),
                    )
                    continue
                del waiting[number]
                done += 1
                display.step()
                if result.problem:
                    failed.append(job)
                    with problems:
                        raise BadInput(f"{job.title}: {result.problem}; log -> {job.log_path}")
                logger.info(
                    "[%d/%d] %s: %s after %.0f s",
                    *(done, len(jobs), job.title),
                    *("failed" if result.problem else "done", result.seconds),
                )
    return failed


def run_job(job: Job, env: Mapping[str, str | None]) -> JobResult:
    """Run one job in a worker.

    env : environment variables that TensorFlow reads as it starts, None to remove one; they are
        the same for all jobs, because a worker that ran a job before has started TensorFlow
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, who ends the workers
    # tqdm's own lock has a semaphore, which would remain when the worker is killed.
    tqdm.set_lock(threading.RLock())
    for name, value in env.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    start, problem, final, messages = time.monotonic(), "", False, []
    try:
        with output_to_file(job.log_path, job.progress_path, messages):
            logger.info("%s on %s %s", job.title, socket.gethostname(), _node())
            messages.clear()
            try:
                job.function(job.settings, *job.arguments)
            except BadInput as error:
                problem, final = str(error), True
                logger.error("%s", error)
                messages.pop()
            except Exception as error:  # whatever it is, the other jobs go on
                problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                traceback.print_exc()
    except OSError as error:
        problem = f"{error.filename or 'its log'}: {error.strerror} on {socket.gethostname()}"
    return JobResult(problem, final, messages, time.monotonic() - start, _node())


def _node() -> str:
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray and ray.is_initialized() else ""


def thread_settings(threads: int) -> dict[str, str]:
    """Return environment variables that limit TensorFlow and others to so many threads.

    A variable that is set already keeps its value.
    """
    names = (
        *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    )
    return {
        **{name: os.environ.get(name, str(threads)) for name in names},
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # a worker would take all of a GPU that several share
    }


class _Display:
    """One bar over all jobs, with the jobs that run now and the progress of each."""

    def __init__(self, jobs: Sequence[Job]):
        self.jobs = jobs
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Display:
        for job in self.jobs:
            job.progress_path.unlink(missing_ok=True)
        self.bar = progress_bar(len(self.jobs), "jobs", "job")
        self.thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self.stopped.set()
        self.thread.join()
        self.bar.close()
        for job in self.jobs:
            job.progress_path.unlink(missing_ok=True)

    def step(self) -> None:
        """Count one more job as done."""
        self.bar.update()

    def _watch(self) -> None:
        while not self.stopped.wait(1 if sys.stderr.isatty() else 10):
            running = []
            for job in self.jobs:
                with contextlib.suppress(OSError):
                    progress = job.progress_path.read_text(encoding="utf-8")
                    running.append(f"{job.title} {progress}".strip())
            more = f" and {len(running) - 4} more" if len(running) > 4 else ""
            self.bar.set_postfix_str(", ".join(running[:4]) + more)
