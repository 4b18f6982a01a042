"""Jobs, and the extraction of features, on the nodes of a Ray cluster.

Each job is one Ray task: it runs where it fits, and on another node when its node is lost. The
pools of `ray.util` (joblib, multiprocessing, ActorPool) have a fixed set of actors, which end with
their node.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from core.errors import BadInput
from core.settings import HOME
from engine import ray_nodes
from engine.jobs import Job, JobResult, run_job, thread_settings

# Ray reads these: no report of its use leaves the machine, nodes without GPUs cause no warning, and
# calls whose results are no longer wanted print no traceback.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")

SECONDS_TO_ANSWER = 5  # for a connection
SECONDS_TO_JOIN = 10  # for Ray, once something answers
SECONDS_TO_CHECK = 30  # for every node, which starts a Python for it
LOST_NODES = 3  # how often a task starts again on another node because its node is lost
LOCAL_OBJECTS = 2**28  # bytes for the objects of a local cluster; the default is 1/3 of memory


class RayExecutor:
    """Runs jobs on a cluster that has been checked.

    jobs : the number of jobs at once; None: as many as fit
    cores : for each job
    threads : of each job
    gpus : for each job, or a fraction of one
    workers : the workers that extract features
    """

    def __init__(
        self, jobs: int | None, cores: int, threads: int, gpus: float | None, workers: RayWorkers
    ):
        self.jobs, self.cores, self.threads, self.gpus = jobs, cores, threads, gpus
        self.workers = workers
        self.failed_on: set[str] = set()  # ids of nodes

    def run(self, jobs: Mapping[int, Job], retry: bool) -> Iterator[tuple[int, JobResult]]:
        """Run jobs, and yield (number, result) of each as it ends."""
        options: dict[str, Any] = {"num_cpus": self.cores, "num_gpus": self.gpus}
        if retry and self.failed_on and self._has_other_node():
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self.failed_on)})"}
        calls = {number: (job, {}) for number, job in jobs.items()}
        for number, result in _call(run_job, calls, self.jobs, self.threads, **options):
            if isinstance(result, RayError):
                first = str(result).strip().partition("\n")[0]
                result = JobResult(f"its worker was lost ({type(result).__name__}: {first})")
            elif result.problem and not result.final:
                self.failed_on.add(result.node)
            yield number, result

    def _has_other_node(self) -> bool:
        """Return whether a job fits on a node on which none has failed."""
        needs = {"CPU": self.cores, "GPU": self.gpus or 0}
        return any(
            all(node["Resources"].get(kind, 0) >= much for kind, much in needs.items())
            for node in _alive()
            if node["NodeID"] not in self.failed_on
        )


class RayWorkers(NamedTuple):
    """Workers with one core each that extract features, as `frame_cache.RemoteWorkers`."""

    number: int

    def starmap(
        self, function: Callable[..., Any], arguments: Sequence[tuple], at_once: int
    ) -> Iterator[Any]:
        """Yield function(*values) of each tuple of values, in any order.

        Raises BadInput where a call fails, or loses its node too often.
        """
        calls = dict(enumerate(arguments))
        for _, result in _call(function, calls, at_once, 1, num_cpus=1):
            if isinstance(result, RayError):
                last = str(result).strip().splitlines()[-1]
                raise BadInput(
                    f"extracting features failed on the cluster ({last}); run the same command "
                    "again: what is done is saved"
                )
            yield result


def _call(
    function: Callable, calls: Mapping[int, tuple], at_once: int | None, threads: int, **options
) -> Iterator[tuple[int, Any]]:
    """Call a function on the cluster; yield (number, result or RayError) of each call as it ends.

    Parameters
    ----------
    calls : number → arguments
    at_once : the number of calls that Ray has at any time; None: all
    threads : of each call
    options : of the tasks, as for `ray.remote`
    """
    path = [str(HOME), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    env = {**thread_settings(threads), "PYTHONPATH": os.pathsep.join(filter(None, path))}
    options |= {"max_retries": LOST_NODES, "runtime_env": {"env_vars": env}}
    task = ray.remote(function).options(scheduling_strategy="SPREAD", **options)
    waiting, running = iter(calls.items()), {}
    while True:
        room = (at_once or len(calls)) - len(running)
        for number, arguments in itertools.islice(waiting, room):
            running[task.remote(*arguments)] = number
        if not running:
            return
        (ready, *_), _ = ray.wait(list(running))
        number = running.pop(ready)
        try:
            result = ray.get(ready)
        except RayError as error:
            result = error
        yield number, result


@contextlib.contextmanager
def connected(
    address: str, jobs: int | None, gpus: float | None, read: Sequence[str], written: Sequence[str]
) -> Iterator[RayExecutor]:
    """Join a cluster, or make one on this machine, and check it; leave it, or end it, afterwards.

    Parameters
    ----------
    address : "auto", "ray://host:port" or "local:N"
    jobs : the number of jobs at once; None: as many as fit
    gpus : for each job
    read, written : absolute paths of directories that every node must be able to read, and to
        write into

    Raises
    ------
    BadInput : where nothing answers, versions differ, a node does not see a directory, or no node
        has so many GPUs.
    """
    before = signal.getsignal(signal.SIGTERM)
    _join(address)
    signal.signal(signal.SIGTERM, before)  # Ray has set its own handler, which prints its stack
    try:
        executor = _executor(jobs, gpus, local=address.startswith("local:"))
        _check_nodes(read, written)
        yield executor
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address.startswith("local:"):
        ray.init(
            "local",
            num_cpus=int(address.partition(":")[2]),
            include_dashboard=False,
            object_store_memory=LOCAL_OBJECTS,
            **quiet,
        )
        return
    _check_answer(address)
    problem: list[BaseException] = []

    def init() -> None:
        try:
            ray.init(address, **quiet)
        except (Exception, SystemExit) as error:
            problem.append(error)

    # Where something else than Ray answers, Ray would wait for minutes.
    thread = threading.Thread(target=init, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_JOIN)
    if thread.is_alive():
        raise BadInput(
            f"--cluster {address}: no Ray accepts the connection within {SECONDS_TO_JOIN} s; is it "
            "running, and is this its token? (RAY_AUTH_TOKEN, ~/.ray/auth_token)"
        )
    if not problem:
        return
    reason = " ".join(str(problem[0]).split())
    if "ersion" in reason:
        raise BadInput(
            f"--cluster {address}: Ray and Python must have the same versions here and there; "
            f"here Ray {ray.__version__}, Python {sys.version.split()[0]} ({reason})"
        )
    if isinstance(problem[0], ConnectionError) and address == "auto":
        reason = (
            "there is no Ray on this machine; start it with ray start, set RAY_ADDRESS=host:port, "
            "or give ray://host:port or local:N"
        )
    raise BadInput(f"--cluster {address}: cannot be joined; {reason}")


def _check_answer(address: str) -> None:
    """Raise BadInput where nothing listens, which Ray would notice only after a minute."""
    server = address.removeprefix("ray://")
    if address == "auto":
        server = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://")
        if not server:
            return  # Ray looks for one on this machine, which takes a moment
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"--cluster {address}: {server} does not answer ({reason})") from None


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _executor(jobs: int | None, gpus: float | None, local: bool) -> RayExecutor:
    """Return an executor that shares the cores of the cluster among the jobs.

    Raises BadInput where no node has the GPUs of one job.
    """
    nodes = [node["Resources"] for node in _alive()]
    most_gpus, most_cores = (max(node.get(kind, 0) for node in nodes) for kind in ("GPU", "CPU"))
    if gpus and gpus > most_gpus:
        total_gpus = sum(node.get("GPU", 0) for node in nodes)
        raise BadInput(
            f"--gpus-per-job {gpus:g}: no node of the cluster has so many; the largest has "
            f"{most_gpus:g}, all nodes in total {total_gpus:g}"
        )
    total = int(sum(node.get("CPU", 0) for node in nodes))
    slots = sum(int(node.get("GPU", 0) / gpus) for node in nodes) if gpus else total
    cores = max(1, min(total // (jobs or slots or 1), int(most_cores)))
    threads = max(1, joblib.cpu_count() // min(total, jobs or total)) if local else cores
    return RayExecutor(jobs, cores, threads, gpus, RayWorkers(jobs or max(1, total)))


def _check_nodes(read: Sequence[str], written: Sequence[str]) -> None:
    """Raise BadInput, with one line per problem, where jobs cannot run on every node."""
    ray.cloudpickle.register_pickle_by_value(ray_nodes)
    token = f".seen-{secrets.token_hex(8)}"
    digests = {path: ray_nodes.digest(path) for path in [str(HOME), *read] if Path(path).is_dir()}
    tokens = [Path(path) / token for path in written]
    try:
        for path in tokens:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        asked, problems = {}, {}
        for node in _alive():
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(ray_nodes.check_node).options(num_cpus=0, scheduling_strategy=place)
            asked[task.remote(digests, [str(path) for path in tokens])] = node
        ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS_TO_CHECK)
        for ref in silent:
            problems[ref] = [f"no answer in {SECONDS_TO_CHECK} s"]
        for ref in ready:
            try:
                problems[ref] = ray.get(ref)
            except RayError as error:
                problems[ref] = [str(error).strip().splitlines()[-1]]
        alive = {node["NodeID"] for node in _alive()}  # a node may have died meanwhile
        lines = [
            f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}): {problem}"
            for ref, node in asked.items()
            for problem in problems[ref]
            if node["NodeID"] in alive
        ]
    finally:
        for path in tokens:
            path.unlink(missing_ok=True)
    if lines:
        raise BadInput("--cluster: nothing was started\n" + "\n".join(sorted(lines)))
