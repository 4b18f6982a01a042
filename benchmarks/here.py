"""This project, as one side of a benchmark: python -m benchmarks.here JOB ... prints JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import keras_model
from benchmarks.official import timer
from core import settings
from data.dataset import read_clips
from data.frames import Frames
from models import base


def main() -> None:
    """Run one job, and print its seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("features", "step", "score"))
    parser.add_argument("folder", type=Path, help="has train/*.wav and test/*.wav")
    parser.add_argument("cache", type=Path, help="an empty folder")
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    machine = args.folder.name
    assignments = [
        ("dev_directory", str(args.folder.parent)),
        ("cache_directory", str(args.cache)),
        ("fit.epochs", args.epochs),
        ("fit.verbose", 0),
    ]
    run = settings.read_config(None, assignments).for_system("ae")

    def frames(folder: str, cache: str = "cache") -> Frames:
        own = run.with_values({"cache_directory": args.cache / cache})
        return read_clips(own, "dev", machine, (folder,))[0]

    if args.job == "features":
        frames("test", "warm-up")  # librosa compiles on its first call
        seconds = []
        for _ in ("cold", "warm"):
            begun = time.perf_counter()
            frames("train")
            seconds.append(time.perf_counter() - begun)
        print(json.dumps({"cold": seconds[0], "warm": seconds[1]}))
    elif args.job == "step":
        base.FEWEST_STEPS_FOR_XLA = 0  # as a training of the published length
        system, epochs = keras_model.build_system(run, ["section_00"]), timer()
        system.callbacks = lambda: [epochs]
        clips = frames("train")
        system.train(clips)
        windows = len(system.windows(clips, 1)[0])
        steps = -(-int(windows * (1 - run.fit.validation_split)) // 512)
        print(json.dumps({"seconds": [epoch / steps for epoch in epochs.seconds]}))
    else:
        system = keras_model.build_system(run, ["section_00"])
        system.score(frames("train", "warm-up"))
        seconds = {}
        for kind in ("cold", "warm"):
            begun = time.perf_counter()
            clips = frames("test")
            system.score(clips)
            seconds[kind] = (time.perf_counter() - begun) / len(clips.clips)
        print(json.dumps(seconds))


if __name__ == "__main__":
    main()
