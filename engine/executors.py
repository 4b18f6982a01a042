"""Where jobs run: processes of this machine, or a cluster."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.errors import BadInput
from engine.jobs import OWN_DIRECTORIES, Engine, Outcome, Unit, thread_settings, work_off

KILLED = (
    "its process, or one beside it, was killed, most likely for want of memory: a smaller --jobs "
    "takes less"
)


@contextlib.contextmanager
def engine(args: argparse.Namespace, params: Sequence[dict[str, Any]]) -> Iterator[Engine | None]:
    """What a command line asks for: None for this process; whatever is started, ends here too.

    params : the settings of the run's systems; a cluster must see their directories

    Raises BadInput where the cluster cannot be used.
    """
    if args.cluster:
        if importlib.util.find_spec("ray") is None:
            raise BadInput("--cluster needs Ray: pip install '.[cluster]'")
        from engine import ray_cluster

        data = _places(params, f"{args.mode}_directory")
        own = _places(params, "cache_directory", *OWN_DIRECTORIES)
        joined = ray_cluster.connected(args.cluster, args.jobs, args.gpus_per_job, data, own)
        with joined as found, _without_gpus():
            yield found
    elif (args.jobs or 1) > 1:
        with contextlib.closing(Processes(args.jobs)) as found, _without_gpus() as env:
            found.env.update(env)
            yield found
    else:
        yield None


def _places(params: Sequence[dict[str, Any]], *keys: str) -> list[str]:
    return sorted({str(getattr(param, key).absolute()) for param in params for key in keys})


@contextlib.contextmanager
def _without_gpus() -> Iterator[dict[str, str | None]]:
    """Keep this process off the GPUs, which its workers need; yields what they are to undo."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    os.environ[name] = "-1"
    try:
        yield {name: before}
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


class Processes:
    """Processes of this machine, as many at once as asked for, each with its share of the cores."""

    def __init__(self, jobs: int):
        from joblib import cpu_count

        self.jobs, self.threads = jobs, max(1, cpu_count() // jobs)
        self.env: dict[str, str | None] = dict(thread_settings(self.threads))

    def each(self, waiting: Mapping[int, Unit], again: bool) -> Iterator[tuple[int, Outcome]]:
        from joblib import Parallel, delayed, parallel_config
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        ended = set()
        # What failed may have failed for want of memory, so it is tried again alone.
        at_once = 1 if again else min(self.jobs, len(waiting))
        with parallel_config(backend="loky", inner_max_num_threads=self.threads):
            # Two, for one would run in this process.
            parallel = Parallel(
                max(2, at_once), return_as="generator_unordered", pre_dispatch=at_once, batch_size=1
            )
            try:
                for number, outcome in parallel(
                    delayed(_in_process)(number, unit, self.env, os.getpid())
                    for number, unit in waiting.items()
                ):
                    ended.add(number)
                    yield number, outcome
            except TerminatedWorkerError:
                left = [number for number in waiting if number not in ended]
                begun = [number for number in left if waiting[number].now_path.exists()]
                for number in begun or left[:at_once]:
                    waiting[number].now_path.unlink(missing_ok=True)
                    yield number, Outcome(KILLED)

    def close(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=False, kill_workers=True)


def _in_process(
    number: int, unit: Unit, env: Mapping[str, str | None], driver: int
) -> tuple[int, Outcome]:
    if not any(thread.name == "driver" for thread in threading.enumerate()):
        threading.Thread(target=_end_with, args=(driver,), name="driver", daemon=True).start()
    return number, work_off(unit, env)


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(1)
    os._exit(1)
