"""How both sides of `benchmarks.originals` measure and answer; and the sizes that they share.

It imports nothing of this project, so that an original's interpreter runs it too. `serve` is the
protocol: after a first line of JSON, which names the versions and the device, every line "step" or
"score" on standard input is answered by one line: the wall seconds and the CPU seconds of one
training step, or of scoring one clip.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

N_MELS, RATE = 128, 16000
CLIP_FRAMES, CLIP_SAMPLES = 313, 160000  # of 10 s
SEGMENT = 16000  # samples, GRLNet's shortest released length
CLASSES = {"stgram_mfn": 41, "mobilenet_v2": 3, "dis_spec": 4, "dis_multispec": 4}
# Windows, clips or segments of a training step.
BATCHES = {
    "ae": 512,
    "ae_asd": 512,
    "vae": 512,
    "idnn": 512,
    "mobilenet_v2": 32,
    "aegan_ad": 32,
    "grlnet": 2,
    "stgram_mfn": 8,
    "dis_spec": 16,
    "dis_multispec": 8,
    "anomaly_transformer": 32,
}
SHORTEST = 0.3  # seconds of a measurement: what is quicker is done several times

Seconds = tuple[float, float]  # wall, CPU
Measure = Callable[[int], Seconds]  # how often → the seconds of one


class Side(NamedTuple):
    """What one side can do, and what it runs with."""

    step: Measure
    score: Measure
    versions: str
    device: str


def clock() -> Seconds:
    """Return the wall seconds and this process's CPU seconds, since some time."""
    return time.perf_counter(), time.process_time()


def since(begun: Seconds, count: int) -> Seconds:
    """Return the seconds of each of `count` repetitions."""
    wall, cpu = clock()
    return (wall - begun[0]) / count, (cpu - begun[1]) / count


def repeated(function: Callable[[], Any]) -> Measure:
    """Return a measure of a function that waits for its own end."""

    def measure(count: int) -> Seconds:
        begun = clock()
        for _ in range(count):
            function()
        return since(begun, count)

    return measure


def serve(make: Callable[[], Side]) -> None:
    """Answer "step" and "score" on standard input with their seconds, until it ends.

    make : builds the side. Whatever it or the side prints goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side = make()
    counts: dict[str, int] = {}
    print(json.dumps({"versions": side.versions, "device": side.device}), file=answers, flush=True)
    for line in sys.stdin:
        measure = {"step": side.step, "score": side.score}[line.strip()]
        if line not in counts:  # the first call compiles, or fills caches
            measure(1)
            counts[line] = max(1, round(SHORTEST / measure(1)[0]))
        print(*measure(counts[line]), file=answers, flush=True)


class Batches:
    """A loader that gives one batch several times, and measures what is done between.

    make : returns the batch, in the time that is measured
    """

    def __init__(self, make: Callable[[], Any], wait: Callable[[], None] = lambda: None):
        self.make, self.wait, self.count = make, wait, 1
        self.seconds: Seconds = (0.0, 0.0)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        self.wait()
        begun = clock()
        for _ in range(self.count):
            yield self.make()
        self.wait()
        self.seconds = since(begun, self.count)

    def measured(self, function: Callable[[], Any]) -> Measure:
        """Return a measure of what a function does with each batch."""

        def measure(count: int) -> Seconds:
            self.count = count
            function()
            return self.seconds

        return measure


class LoaderEnds(Exception):
    """Leaves a function of an original after its loop, before it evaluates what it made."""


class LastBatches(Batches):
    """Batches after which the function that asks for them is left."""

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        raise LoaderEnds


def until_its_loader_ends(function: Callable[[], Any]) -> Callable[[], None]:
    """Return a function that ends where its `LastBatches` do."""

    def run() -> None:
        try:
            function()
        except LoaderEnds:
            return

    return run
