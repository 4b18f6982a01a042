"""Measure this project and checkouts of the originals in turns: python -m benchmarks.originals

    python -m benchmarks.originals --torch PYTHON --keras PYTHON \\
        --original AEGAN-AD=DIR AE-ASD=DIR STgram-MFN=DIR ...

Nothing is fetched. DIR is a checkout of the original, PYTHON an interpreter that has what it
imports: --torch one with PyTorch, torchaudio, librosa, scikit-learn and tqdm, --keras one with
TensorFlow 2.8. With a GPU that both see, both sides run on it.

Every comparison has two processes, `benchmarks.original_side` and `benchmarks.our_side`, which
are started, compile and warm up one after the other, and then work in turns: one measures while the
other waits, and each round begins with the other one. A training step is of the published size (of
a smaller batch where two cores would need too long for the published one), a score that of a clip
of 10 s. Both start from features or samples that are in memory, the original from windows that are
stacked already, except where the original makes its features for every step (STgram-MFN, dcase-asd-
toolkit). An original scores clip by clip, as its own test does. Ours scores a test set of 6 to 200
clips in one call (`benchmarks.our_side`), which compiles the scoring once, and the time is divided
by the clips; a longer test set would have a smaller share of the compiling.

Of the rounds the median is reported. A ratio is the original's seconds by ours, so above 1 this
project is faster; it is the median of the rounds' own ratios, so that other work of the machine in
a round slows both, and stands with the smallest and the largest. As a machine may be shared, the
CPU seconds of the processes are compared too. The table goes to benchmarks/originals.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.run import processor
from benchmarks.side import Seconds
from core.files import save_text
from engine.jobs import thread_settings

HERE = Path(__file__).resolve().parent
HOME = HERE.parent


class Comparison(NamedTuple):
    """What of an original is compared, and how its rows are described.

    system : of ours
    original : the name of the original, as --original has it
    within : where its modules are in the checkout
    interpreter : torch or keras
    step, score : what a step has, and what is scored; after "training step, " and "score, "
    """

    system: str
    original: str
    within: str
    interpreter: str
    step: str
    score: str


STACKED = "512 windows of 640"
CLIP = "a clip of 309 windows"
AE_ASD = ("AE-ASD", ".", "torch", STACKED, CLIP)
COMPARISONS = {
    "aegan_ad": Comparison(
        *("aegan_ad", "AEGAN-AD", "dcase22", "torch"),
        *("32 windows of 128 x 128", "all nineteen of a clip of 186 windows"),
    ),
    "stgram_mfn": Comparison(
        *("stgram_mfn", "STgram-MFN", ".", "torch"),
        *("8 clips of 10 s, 41 classes", "a clip of 10 s from its samples"),
    ),
    "dis_spec": Comparison(
        *("dis_spec", "dcase-asd-toolkit", ".", "torch"),
        *("16 clips of 10 s, 4 classes", "a clip of 10 s from its samples"),
    ),
    "dis_multispec": Comparison(
        *("dis_multispec", "dcase-asd-toolkit", ".", "torch"),
        *("8 clips of 10 s, 4 classes", "a clip of 10 s from its samples"),
    ),
    "anomaly_transformer": Comparison(
        *("anomaly_transformer", "Anomaly-Transformer", ".", "torch"),
        *("32 windows of 100 x 128", "a clip of 313 frames"),
    ),
    "ae": Comparison("ae", "dcase2022_task2_baseline_ae", ".", "keras", STACKED, CLIP),
    "ae_asd": Comparison("ae", *AE_ASD),
    "vae": Comparison("vae", *AE_ASD),
    "idnn": Comparison("idnn", *AE_ASD),
    "mobilenet_v2": Comparison(
        *("mobilenet_v2", "dcase2022_task2_baseline_mobile_net_v2", ".", "keras"),
        *("32 images of 64 x 128, 3 classes", "a clip of 250 windows"),
    ),
    "grlnet": Comparison(
        *("grlnet", "GRLNet", ".", "torch", "2 segments of 16000 samples", "a segment"),
    ),
}
KINDS = ("step", "score")


class Row(NamedTuple):
    """Seconds of one kind of work in every round: (wall, CPU) of the original and of ours."""

    system: str
    work: str
    theirs: list[Seconds]
    ours: list[Seconds]

    def cells(self) -> list[str]:
        """Return the row of the table: the median wall milliseconds, and both ratios."""
        medians = [statistics.median(wall for wall, _ in side) for side in (self.theirs, self.ours)]
        milliseconds = [f"{1e3 * median:.4g} ms" for median in medians]
        return [self.system, self.work, *milliseconds, self.ratio(0), self.ratio(1)]

    def ratio(self, clock: int) -> str:
        """Return the median of the rounds' ratios, and the smallest and the largest of them.

        clock : 0 for the wall seconds, 1 for the CPU seconds
        """
        ratios = [a[clock] / b[clock] for a, b in zip(self.theirs, self.ours, strict=True)]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


class Worker:
    """A process that measures one side of a comparison whenever it is asked.

    Attributes: versions and device, as it names them. Ends the program with the process's own
    message where that fails.
    """

    def __init__(self, command: Sequence[str], env: dict[str, str]):
        self.command = command
        self.notes = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.notes,
            text=True,
            cwd=HOME,
            env=env,
        )
        about = json.loads(self.answer())
        self.versions, self.device = about["versions"], about["device"]

    def measure(self, kind: str) -> Seconds:
        """Return the wall and the CPU seconds of a step or of a score."""
        try:
            print(kind, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            self.fail()
        wall, cpu = map(float, self.answer().split())
        return wall, cpu

    def answer(self) -> str:
        """Return the next line that it prints."""
        line = self.process.stdout.readline()
        if not line:
            self.fail()
        return line

    def fail(self) -> None:
        """End the program with what the process wrote to its standard error."""
        self.process.wait()
        self.notes.seek(0)
        sys.exit(f"error: {' '.join(self.command)}\n{self.notes.read()}")

    def close(self) -> None:
        """End the process, and wait for it."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.notes.close()


def main() -> int:
    """Measure the comparisons whose originals are given, and write their table."""
    args = _parse()
    env = environment(args.threads)
    load, rows, about, missing = os.getloadavg(), [], {}, []
    for name, comparison in COMPARISONS.items():
        if comparison.system not in args.system:
            continue
        commands = sides(name, comparison, args)
        if commands is None:
            missing.append(f"{name}: no checkout of {comparison.original}, or no interpreter")
            print(f"left out: {missing[-1]}", flush=True)
        else:
            with started(commands, env) as workers:
                rows += measure(comparison, workers, args.rounds)
                about |= {worker.versions: worker.device for worker in workers}
        save_text(args.to, report(rows, about, missing, args, load))
    print(f"-> {args.to}")
    return 0


def environment(threads: int) -> dict[str, str]:
    """Return the environment of both sides, whatever the number of threads is here."""
    limits = thread_settings(threads)  # keeps what is set here already
    limits |= {name: str(threads) for name in limits if name.endswith("_THREADS")}
    return {**os.environ, **limits}


@contextmanager
def started(commands: Sequence[list[str]], env: dict[str, str]) -> Iterator[list[Worker]]:
    """Start the workers one after the other, each once the one before is ready; and end them."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Worker(command, env))) for command in commands]


def sides(name: str, comparison: Comparison, args: argparse.Namespace) -> list[list[str]] | None:
    """Return the commands of the original's side and of ours; None without the original."""
    folder = args.original.get(comparison.original)
    python = {"torch": args.torch, "keras": args.keras}[comparison.interpreter]
    if folder is None or python is None:
        return None
    original = [python, "-m", "benchmarks.original_side", name, str(folder / comparison.within)]
    return [original, [sys.executable, "-m", "benchmarks.our_side", name]]


def measure(comparison: Comparison, workers: Sequence[Worker], rounds: int) -> Iterator[Row]:
    """Yield the rows of a comparison; the workers are the original's and ours."""
    works = {"step": f"training step, {comparison.step}", "score": f"score, {comparison.score}"}
    for kind in KINDS:
        seconds: list[list[Seconds]] = [[], []]
        for number in range(rounds):
            for side in (0, 1) if number % 2 else (1, 0):
                seconds[side].append(workers[side].measure(kind))
        row = Row(f"{comparison.system} ({comparison.original})", works[kind], *seconds)
        print(" | ".join(row.cells()), flush=True)
        yield row


def report(
    rows: Sequence[Row],
    about: dict[str, str],
    missing: Sequence[str],
    args: argparse.Namespace,
    load: Sequence[float],
) -> str:
    """Return the table as Markdown, with the machine that it was measured on.

    Parameters
    ----------
    about : versions of a side → its device
    missing : a line per comparison that was left out
    load : the load averages at the start, of the last 1, 5 and 15 minutes
    """
    now = os.getloadavg()
    sides_ran_on = "; ".join(f"{versions} on {device}" for versions, device in about.items())
    lines = [
        "# The originals",
        "",
        f"`python -m benchmarks.originals --rounds {args.rounds} --threads {args.threads}`: the "
        "originals' own code and this project in turns. Medians over the rounds; a ratio is the "
        "original's seconds by ours (above 1: ours is faster), the median of the rounds' own "
        "ratios, with the smallest and the largest of them. Ours scores a test set in one call, "
        "its compiling included; the time is divided by the number of clips.",
        "",
        f"{processor()}, {os.cpu_count()} cores; threads per process: {args.threads}; "
        f"{sides_ran_on}. Load average of the last minute, {load[0]:.1f} at the start and "
        f"{now[0]:.1f} at the end; what it is above the threads is other work.",
        "",
        "| system (original) | work | original | ours | ratio, wall | ratio, CPU |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(row.cells()) + " |" for row in rows),
        "",
        *(f"Left out: {line}.\n" for line in missing),
    ]
    return "\n".join(lines).rstrip() + "\n"


def named_folder(text: str) -> tuple[str, Path]:
    """Return name and folder of NAME=DIR; the name must be that of an original, the folder there.

    Raises argparse.ArgumentTypeError.
    """
    name, _, folder = text.partition("=")
    known = sorted({comparison.original for comparison in COMPARISONS.values()})
    if name not in known:
        raise argparse.ArgumentTypeError(f"{text}: no such original; NAME is {', '.join(known)}")
    if not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return name, Path(folder).resolve()


def _parse() -> argparse.Namespace:
    systems = list(dict.fromkeys(comparison.system for comparison in COMPARISONS.values()))
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--original", nargs="+", action="extend", type=named_folder, default=[], metavar="NAME=DIR")
    add("--torch", metavar="PYTHON", help="of the originals in PyTorch")
    add("--keras", metavar="PYTHON", help="of the official baselines, in Keras 2.8")
    add("--system", nargs="+", choices=systems, default=systems, help="some of them")
    add("--rounds", type=int, default=7)
    add("--threads", type=int, default=os.cpu_count() or 1, help="of each process")
    add("--to", type=Path, default=HERE / "originals.md", metavar="FILE")
    args = parser.parse_args()
    args.original = dict(args.original)
    return args


if __name__ == "__main__":
    sys.exit(main())
