"""Units of work, such as a training each: one after another, side by side, or on a cluster.

A unit is a function of a module and plain settings. In this process it is simply called; a worker
writes all that it says to a log of the unit's own, and the driver shows how far all of them are.
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

from core.errors import BadInput, Together
from core.log import into_file, logger, progress_bar, setup_log
from core.system_settings import SystemSettings

ATTEMPTS = 2

OWN_DIRECTORIES = ("model_directory", "result_directory")
DIRECTORIES = ("dev_directory", "eval_directory", "cache_directory", *OWN_DIRECTORIES)


class Unit(NamedTuple):
    """One piece of work.

    name : what it is called in messages, "fan: 990 clips"
    title : what tells it from all others of the run, "ae seed 0 fan"
    log : the name of its log, in logs/ of the result directory
    param : the settings of its system, resolved
    work : a function of a module, called with param, given, and here
    given : what else it needs, plain values
    here : what it may use where it runs in this process, and loads by itself elsewhere
    """

    name: str
    title: str
    log: str
    param: SystemSettings
    work: Callable[..., None]
    given: tuple[Any, ...]
    here: tuple[Any, ...] = ()

    @property
    def directory(self) -> Path:
        return self.param.result_directory

    @property
    def log_path(self) -> Path:
        return self.directory / "logs" / f"{self.log}.log"

    @property
    def now_path(self) -> Path:
        """Where a worker says how far it is; there while the unit is at work."""
        return self.directory / "logs" / f".{self.log}.now"

    def elsewhere(self) -> Unit:
        """What a worker gets, who may stand in another directory."""
        places = {key: getattr(self.param, key).absolute() for key in DIRECTORIES}
        return self._replace(param=self.param.with_values(places), here=())


class Outcome(NamedTuple):
    """How a unit ended.

    problem : what went wrong; empty where nothing did
    final : whether another attempt would end the same way
    said : (level, message) of what it logged
    seconds : how long it took
    node : where it ran, for the engine
    """

    problem: str
    final: bool = False
    said: Sequence[tuple[int, str]] = ()
    seconds: float = 0.0
    node: str = ""


class Engine(Protocol):
    """What runs units elsewhere."""

    def each(self, waiting: Mapping[int, Unit], again: bool) -> Iterator[tuple[int, Outcome]]:
        """Run units, and yield number and outcome of each as it ends.

        There is one at least; those without did not begin. again: they failed once, elsewhere.
        """


def run(units: Sequence[Unit], engine: Engine | None, problems: Together) -> list[Unit]:
    """Run every unit, whatever becomes of the others; the problems are collected.

    Parameters
    ----------
    engine : None runs them in this process, one after another

    Returns
    -------
    The units that failed.
    """
    if engine is not None:
        return _run_elsewhere(units, engine, problems)
    failed = []
    for number, unit in enumerate(units, start=1):
        setup_log(unit.directory)
        logger.info("[%d/%d] %s", number, len(units), unit.name)
        before = len(problems.messages)
        with problems:
            unit.work(unit.param, *unit.given, *unit.here)
        failed += [unit] * (len(problems.messages) - before)
    return failed


def _run_elsewhere(units: Sequence[Unit], engine: Engine, problems: Together) -> list[Unit]:
    waiting = {number: unit.elsewhere() for number, unit in enumerate(units)}
    attempts: collections.Counter[int] = collections.Counter()
    failed, done = [], 0
    with _Display(list(waiting.values())) as display:
        while waiting:
            again = all(attempts[number] for number in waiting)
            chosen = {n: unit for n, unit in waiting.items() if again or not attempts[n]}
            for number, outcome in engine.each(chosen, again):
                unit = units[number]
                attempts[number] += 1
                setup_log(unit.directory)
                for level, message in outcome.said:
                    logger.log(level, "%s", message)
                if outcome.problem and not outcome.final and attempts[number] < ATTEMPTS:
                    logger.warning(
                        "%s: %s; to be tried once more; log -> %s",
                        *(unit.title, outcome.problem, unit.log_path),
                    )
                    continue
                del waiting[number]
                done += 1
                display.step()
                if outcome.problem:
                    failed.append(unit)
                    with problems:
                        raise BadInput(f"{unit.title}: {outcome.problem}; log -> {unit.log_path}")
                logger.info(
                    "[%d/%d] %s: %s after %.0f s",
                    *(done, len(units), unit.title),
                    *("failed" if outcome.problem else "done", outcome.seconds),
                )
    return failed


def work_off(unit: Unit, env: Mapping[str, str | None]) -> Outcome:
    """Do a unit in a worker.

    env : variables that count as TensorFlow starts, None to unset; a worker that has started it
        for an earlier unit had the same ones
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, who ends the workers
    for name, value in env.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    began, problem, final, said = time.monotonic(), "", False, []
    try:
        with into_file(unit.log_path, unit.now_path, said):
            logger.info("%s on %s %s", unit.title, socket.gethostname(), _node())
            said.clear()
            try:
                unit.work(unit.param, *unit.given)
            except BadInput as error:
                problem, final = str(error), True
                logger.error("%s", error)
                said.pop()
            except Exception as error:  # whatever it is, the other units go on
                problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                traceback.print_exc()
    except OSError as error:
        problem = f"{error.filename or 'its log'}: {error.strerror} on {socket.gethostname()}"
    return Outcome(problem, final, said, time.monotonic() - began, _node())


def _node() -> str:
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray and ray.is_initialized() else ""


def thread_settings(threads: int) -> dict[str, str]:
    """The variables that give TensorFlow and others so many threads, where none says otherwise."""
    names = (
        *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    )
    return {
        **{name: os.environ.get(name, str(threads)) for name in names},
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # a worker would take all of a GPU that several share
    }


class _Display:
    """One bar over all units, with what runs now and how far that is."""

    def __init__(self, units: Sequence[Unit]):
        self.units = units
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Display:
        for unit in self.units:
            unit.now_path.unlink(missing_ok=True)
        self.bar = progress_bar(len(self.units), "units", "unit")
        self.thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self.stopped.set()
        self.thread.join()
        self.bar.close()
        for unit in self.units:
            unit.now_path.unlink(missing_ok=True)

    def step(self) -> None:
        self.bar.update()

    def _watch(self) -> None:
        while not self.stopped.wait(1 if sys.stderr.isatty() else 10):
            now = []
            for unit in self.units:
                with contextlib.suppress(OSError):
                    now.append(f"{unit.title} {unit.now_path.read_text(encoding='utf-8')}".strip())
            more = f" and {len(now) - 4} more" if len(now) > 4 else ""
            self.bar.set_postfix_str(", ".join(now[:4]) + more)
