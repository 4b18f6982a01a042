"""A full evaluation with the jackknife interval, here and by recomputation: prints JSON.

Recomputation evaluates the section of every clip again without the clip, and reuses the metrics of
the other sections. To evaluate all sections each time would take as many times as long.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np

from evaluation import evaluators, intervals
from evaluation.metrics import ScoredSection, SectionKey, official_score

MACHINES = ("bearing", "fan", "gearbox", "slider", "ToyCar", "ToyTrain", "valve")


def made_up(machine: str, section: str, clips: int) -> ScoredSection:
    """Return random scores of clips of both labels and domains in equal parts."""
    random = np.random.default_rng([len(machine), int(section)])
    labels = np.arange(clips) % 2
    return ScoredSection(
        SectionKey(machine, f"section_{section}"),
        np.array([f"section_{section}_{number:04d}.wav" for number in range(clips)]),
        random.normal(size=clips) + labels,
        labels,
        np.array(["source", "target"])[np.arange(clips) // 2 % 2],
        np.arange(clips) // 4 % 2,
    )


def recomputed(run: list[ScoredSection]) -> np.ndarray:
    """Return the official score without each clip: (clips,), section after section."""
    results, scores = [section.evaluate() for section in run], []
    for index, section in enumerate(run):
        for clip in range(len(section.names)):
            others = np.arange(len(section.names)) != clip
            arrays = {
                name: getattr(section, name)[others]
                for name in ("names", "scores", "labels", "domains", "decisions")
            }
            without = replace(section, **arrays).evaluate()
            scores.append(official_score([*results[:index], without, *results[index + 1 :]]))
    return np.array(scores)


def main() -> None:
    """Measure both ways, and print their seconds and the largest difference of their scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200, help="of a section; there are 21")
    clips = parser.parse_args().clips
    run = [
        made_up(machine, section, clips) for machine in MACHINES for section in ("00", "01", "02")
    ]
    evaluators.rows([section.evaluate() for section in run[:1]])  # imports what it needs
    begun = time.perf_counter()
    evaluators.rows([section.evaluate() for section in run])
    here = time.perf_counter() - begun
    begun = time.perf_counter()
    expected = recomputed(run)
    by_recomputation = time.perf_counter() - begun
    difference = np.abs(intervals.leave_one_out(run) - expected).max()
    print(json.dumps({"here": here, "recomputed": by_recomputation, "difference": difference}))


if __name__ == "__main__":
    main()
