"""Measure a training of the dense autoencoder as a GPU is used: python -m benchmarks.gpu

Trains 100 epochs on 3000 clips of noise of 10 s, start and features included, in float32 and in
half precision, and compares the scores of the training clips. It runs on a CPU, too, where half
precision is slow: take few clips there. The table goes to benchmarks/gpu.md.
`benchmarks.originals` compares steps with the originals on the same GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.growth import SECONDS, Case, command, make_clips
from benchmarks.run import HERE, child, processor
from core.arrays import read_arrays
from core.files import save_text

PRECISIONS = ("float32", "mixed_float16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both precisions, and write their table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--clips", type=int, default=3000, metavar="N", help="default: 3000")
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--to", type=Path, default=HERE / "gpu.md", metavar="FILE")
    args = parser.parse_args(arguments)
    rows, usual = [], None
    with tempfile.TemporaryDirectory(prefix="gpu-") as work:
        data = make_clips(Path(work) / "data", args.clips, splits=("train",))
        for precision in PRECISIONS:
            assigned = (f"fit.epochs={args.epochs}", f"fit.precision={precision}")
            out = Path(work) / precision
            run = child(command("00_train.py", Case("ae", args.clips, assigned), data, out))
            (model,) = out.glob("model/**/*.npz")
            scores = read_arrays(model)["train_scores"]
            usual = scores if usual is None else usual
            apart = np.max(np.abs(scores - usual) / np.abs(usual))
            rows.append(f"| {precision} | {run.seconds:.1f} | {run.mebibytes:.0f} | {apart:.2g} |")
            print(rows[-1], flush=True)
    save_text(args.to, report(rows, args.clips, args.epochs))
    print(f"-> {args.to}")
    return 0


def report(rows: Sequence[str], n_clips: int, epochs: int) -> str:
    """Return the table as Markdown."""
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "a GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    lines = [
        "# The dense autoencoder on a GPU",
        "",
        f"`python -m benchmarks.gpu --clips {n_clips} --epochs {epochs}`: trainings of `ae` on "
        f"clips of {SECONDS} s, start and features included; {', '.join(gpus) or 'no GPU'}; "
        f"{processor()}, {os.cpu_count()} cores. The last column is the largest relative "
        "difference of a training clip's score from that in float32.",
        "",
        "| precision | seconds | MiB | difference |",
        "|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
