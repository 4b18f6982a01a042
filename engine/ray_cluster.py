"""Ray, as a backend of joblib: the units of a run on every machine of a cluster.

`ray.util.joblib` deals its work out to a fixed set of actors in turn: a unit waits behind a long
one while other workers idle, and with a lost node its actors are gone. Here each unit is a task
of Ray's own, which goes where there is room, and to another node when its own is lost.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import joblib
import ray
from joblib.parallel import ParallelBackendBase
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from core.errors import BadInput
from core.settings import HOME
from engine import ray_nodes
from engine.jobs import Outcome, Unit, thread_settings, work_off

# Ray reads these as it is imported: no report of its use leaves the machine, and nodes without
# GPUs are no news.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

SECONDS_TO_ANSWER = 5  # for a connection
SECONDS_TO_JOIN = 10  # for Ray, once something answers
SECONDS_TO_LOOK = 30  # for every node, which starts a Python for it
LOST_NODES = 3  # so many times a unit goes on elsewhere when its node is lost
LOCAL_OBJECTS = 2**28  # bytes that a cluster made here may hold; the default is a third of memory


class Backend(ParallelBackendBase):
    """Ray's tasks behind joblib's Parallel.

    options : of the tasks, as for `ray.remote`
    far : how many workers there are, which may be on other machines
    """

    supports_retrieve_callback = True

    def __init__(self, options: dict[str, Any], far: int = 0, **more: Any):
        super().__init__(**more)
        self.far = far
        self.task = ray.remote(_call).options(scheduling_strategy="SPREAD", **options)

    def effective_n_jobs(self, n_jobs: int) -> int:
        return n_jobs

    def submit(self, func: Callable, callback: Callable[[Future], None]) -> Future:
        future = self.task.remote(func).future()
        # A lost unit must not end the others, so it has to be known which one it was.
        future.number = func.items[0][1][0]
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Future) -> list[Any]:
        try:
            return future.result()
        except RayError as error:
            return [(future.number, error)]


def _call(work: Callable[[], Any]) -> Any:
    return work()


class Cluster:
    """A cluster that was found fit.

    at_once : how many units may run at once; None: as many as there is room for
    share : cores for each
    gpus : GPUs for each, or a fraction of one
    """

    def __init__(
        self, at_once: int | None, share: int, threads: int, gpus: float | None, cores: int
    ):
        self.at_once, self.share, self.gpus, self.cores = at_once, share, gpus, cores
        self.env = thread_settings(threads)
        self.failed_on: set[str] = set()

    def each(self, waiting: Mapping[int, Unit], again: bool) -> Iterator[tuple[int, Outcome]]:
        options: dict[str, Any] = {"num_cpus": self.share, "max_retries": LOST_NODES}
        if self.gpus:
            options["num_gpus"] = self.gpus
        if again and self.failed_on and self._others():
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self.failed_on)})"}
        with joblib.parallel_config(Backend({**options, "runtime_env": _environment(self.env)})):
            parallel = joblib.Parallel(
                max(2, self.at_once or len(waiting)),
                return_as="generator_unordered",
                pre_dispatch=self.at_once or "all",
                batch_size=1,
            )
            calls = (joblib.delayed(_numbered)(n, unit) for n, unit in waiting.items())
            for number, outcome in parallel(calls):
                if isinstance(outcome, RayError):
                    first = str(outcome).strip().partition("\n")[0]
                    outcome = Outcome(f"its worker was lost ({type(outcome).__name__}: {first})")
                elif outcome.problem:
                    self.failed_on.add(outcome.node)
                yield number, outcome

    def _others(self) -> list[dict[str, Any]]:
        """The nodes with room for a unit on which none has failed."""
        needs = {"CPU": self.share, "GPU": self.gpus or 0}
        return [
            node
            for node in _alive()
            if node["NodeID"] not in self.failed_on
            and all(node["Resources"].get(kind, 0) >= much for kind, much in needs.items())
        ]

    def extracting(self) -> contextlib.AbstractContextManager:
        """A context in which features are extracted all over the cluster."""
        options = {"num_cpus": 1, "max_retries": LOST_NODES}
        options["runtime_env"] = _environment(thread_settings(1))
        # Nothing else that uses joblib is to go there by itself, so one job.
        return joblib.parallel_config(Backend(options, self.at_once or self.cores), n_jobs=1)


def _numbered(number: int, unit: Unit) -> tuple[int, Outcome]:
    return number, work_off(unit, {})


def _environment(env: dict[str, str]) -> dict[str, Any]:
    path = [str(HOME), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {"env_vars": {**env, "PYTHONPATH": os.pathsep.join(filter(None, path))}}


@contextlib.contextmanager
def connected(
    place: str, jobs: int | None, gpus: float | None, read: Sequence[str], written: Sequence[str]
) -> Iterator[Cluster]:
    """Join a cluster, or make one on this machine, and check it; leaves it, or ends it.

    Parameters
    ----------
    place : "auto", "ray://host:port" or "local:N"
    jobs : how many units may run at once; None: as many as there is room for
    gpus : for each unit
    read, written : directories, absolute, that every node must see, and write into

    Raises
    ------
    BadInput : where nothing answers, versions differ, a node lacks something, or there are not so
        many GPUs.
    """
    before = signal.getsignal(signal.SIGTERM)
    _join(place)
    signal.signal(signal.SIGTERM, before)  # Ray took it, and would dump its stack
    try:
        found = _checked(place, jobs, gpus, read, written)
        with found.extracting():
            yield found
    finally:
        ray.shutdown()


def _join(place: str) -> None:
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if place.startswith("local:"):
        ray.init(
            "local",
            num_cpus=int(place.partition(":")[2]),
            include_dashboard=False,
            object_store_memory=LOCAL_OBJECTS,
            **quiet,
        )
        return
    _check_answer(place)
    problem: list[BaseException] = []

    def init() -> None:
        try:
            ray.init(place, **quiet)
        except (Exception, SystemExit) as error:
            problem.append(error)

    # Where something else than Ray answers, it would wait for minutes.
    thread = threading.Thread(target=init, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_JOIN)
    if thread.is_alive():
        raise BadInput(
            f"--cluster {place}: no Ray lets us in within {SECONDS_TO_JOIN} s; is it running, and "
            "is this its token? (RAY_AUTH_TOKEN, ~/.ray/auth_token)"
        )
    if not problem:
        return
    said = " ".join(str(problem[0]).split())
    if "ersion" in said:
        raise BadInput(
            f"--cluster {place}: Ray and Python must have the same versions here and there; "
            f"here Ray {ray.__version__}, Python {sys.version.split()[0]} ({said})"
        )
    if isinstance(problem[0], ConnectionError) and place == "auto":
        said = (
            "there is no Ray on this machine; start it with ray start, set RAY_ADDRESS=host:port, "
            "or give ray://host:port or local:N"
        )
    raise BadInput(f"--cluster {place}: cannot be joined; {said}")


def _check_answer(place: str) -> None:
    """Raise BadInput where nobody listens, which Ray would find out after a minute."""
    told = place.removeprefix("ray://")
    if place == "auto":
        told = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://")
        if not told:
            return  # Ray looks for one on this machine, and soon knows
    host, _, port = told.rpartition(":")
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadInput(f"--cluster {place}: {told} does not answer ({said})") from None


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _checked(
    place: str, jobs: int | None, gpus: float | None, read: Sequence[str], written: Sequence[str]
) -> Cluster:
    nodes = [node["Resources"] for node in _alive()]
    most, cores = (max(held.get(kind, 0) for held in nodes) for kind in ("GPU", "CPU"))
    if gpus and gpus > most:
        total = sum(held.get("GPU", 0) for held in nodes)
        raise BadInput(
            f"--gpus-per-job {gpus:g}: no node of the cluster has so many; the largest has "
            f"{most:g}, all together {total:g}"
        )
    total = int(sum(held.get("CPU", 0) for held in nodes))
    slots = sum(int(held.get("GPU", 0) / gpus) for held in nodes) if gpus else total
    share = max(1, min(total // (jobs or slots or 1), int(cores)))
    threads = share
    if place.startswith("local:"):
        threads = max(1, joblib.cpu_count() // min(total, jobs or total))
    _check_nodes(read, written)
    return Cluster(jobs, share, threads, gpus, max(1, total))


def _check_nodes(read: Sequence[str], written: Sequence[str]) -> None:
    """Raise BadInput for nodes without the directories, or without what the work needs."""
    ray.cloudpickle.register_pickle_by_value(ray_nodes)
    token = f".seen-{secrets.token_hex(8)}"
    here = {path: ray_nodes.digest(path) for path in [str(HOME), *read] if Path(path).is_dir()}
    left = [Path(path) / token for path in written]
    try:
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        asked, problems = {}, {}
        for node in _alive():
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(ray_nodes.missing).options(num_cpus=0, scheduling_strategy=where)
            asked[task.remote(here, [str(path) for path in left])] = node
        ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS_TO_LOOK)
        for ref in silent:
            problems[ref] = [f"no answer in {SECONDS_TO_LOOK} s"]
        for ref in ready:
            try:
                problems[ref] = ray.get(ref)
            except RayError as error:
                problems[ref] = [str(error).strip().splitlines()[-1]]
        there = {node["NodeID"] for node in _alive()}  # a node may have died meanwhile
        lines = [
            f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}): {problem}"
            for ref, node in asked.items()
            for problem in problems[ref]
            if node["NodeID"] in there
        ]
    finally:
        for path in left:
            path.unlink(missing_ok=True)
    if lines:
        raise BadInput("--cluster: nothing was started\n" + "\n".join(sorted(lines)))
