"""Make machine-like sounds in the layout of a DCASE Challenge Task 2 dataset.

    python -m tools.demo_data --to DIR --year 2022

writes DIR/dev_data/<machine>/ and DIR/eval_data/<machine>/ as the challenge of that year
distributes them, and DIR/ground_truth/ with the labels of the evaluation clips. Every clip is
16 kHz PCM16. The sounds are parametric models, no recordings: good for trying out a system from
end to end within minutes, worthless as a benchmark.

A clip's random generator is derived from its own place in the dataset, so the same options give
the same bytes, and more clips leave the others as they were.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.demo_sounds import SAMPLE_RATE, Clip, attribute_name, clip_generator, render

STATE_FILE = "demo_data.json"
ROOTS = ("dev_data", "eval_data", "ground_truth")
# Part of the recorded options: sounds of another recipe must not be mixed with these.
RECIPE_VERSION = 1


class Refusal(Exception):
    """The dataset cannot be made here; the message says why, where, and what to do."""


def make_dataset(
    to: str | os.PathLike[str],
    year: int = 2022,
    machines: Sequence[str] | None = None,
    clips: int = 60,
    test_clips: int = 40,
    seconds: float = 5.0,
    seed: int = 0,
    *,
    force: bool = False,
    progress: bool = False,
) -> int:
    """Make a dataset, or finish one that was interrupted.

    Parameters
    ----------
    to : folder that gets `dev_data`, `eval_data`, `ground_truth` and `demo_data.json`.
    year : challenge year, 2020 to 2026, whose layout and file names are used.
    machines : names of machine types; default: four to six that suit the year. From 2023 on the
        first half (rounded up) goes to `dev_data` and the others to `eval_data`.
    clips : training clips a section, 2 or more; a tenth of them, at least one, is target domain.
    test_clips : test clips a section, 4 or more, spread evenly over domains and labels.
    seconds : length of a clip, 0.1 to 60.
    seed : 0 or more; another seed gives other clips of other sections.
    force : replace a dataset that was made here with other options.
    progress : show a progress bar on stderr.

    Returns
    -------
    The number of wav files written: 0 where the dataset was complete already.

    Raises
    ------
    ValueError : an option is outside of the above.
    Refusal : files are in the way, or `to` cannot be written.
    """
    options = _options(year, machines, clips, test_clips, seconds, seed)
    root = Path(to)
    try:
        plan = _plan(options)
        missing = _prepare(root, options, plan, force)
        _write_clips(root, missing, options, progress)
        for path, text in plan.texts.items():
            if not (root / path).is_file():
                _write_text(root / path, text)
    except OSError as error:
        where = error.filename or root
        raise Refusal(f"{where}: cannot be written ({error.strerror or error})") from None
    return len(missing)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status 0, 1 (refused) or 130 (interrupted)."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        written = make_dataset(
            args.to,
            args.year,
            args.machine,
            args.clips,
            args.test_clips,
            args.seconds,
            args.seed,
            force=args.force,
            progress=True,
        )
    except ValueError as error:
        parser.error(str(error))
    except Refusal as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    if written:
        print(f"{written} clips written below {args.to}")
    else:
        print(f"{args.to}: the dataset is complete already; nothing to do")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Make machine-like sounds in the layout of a DCASE Task 2 dataset.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder that gets dev_data, eval_data and ground_truth (default: here)",
    )
    parser.add_argument(
        "--year", type=int, default=2022, metavar="N", help="2020 to 2026 (default: 2022)"
    )
    parser.add_argument(
        "--machine",
        nargs="+",
        metavar="NAME",
        help="machine types (default: four to six that suit the year); "
        "from 2023 on the first half is for dev_data, the rest for eval_data",
    )
    parser.add_argument(
        "--clips", type=int, default=60, metavar="N", help="training clips a section (default: 60)"
    )
    parser.add_argument(
        "--test-clips", type=int, default=40, metavar="N", help="test clips a section (default: 40)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="length of a clip (default: 5)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace a dataset that this tool made here with other options",
    )
    return parser


def _options(
    year: int,
    machines: Sequence[str] | None,
    clips: int,
    test_clips: int,
    seconds: float,
    seed: int,
) -> dict[str, object]:
    if year not in LAYOUTS:
        raise ValueError(f"--year is {year}; expected {min(LAYOUTS)} to {max(LAYOUTS)}")
    layout = LAYOUTS[year]
    names = list(dict.fromkeys(machines)) if machines else list(layout.machines)
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name):
            raise ValueError(f"--machine has {name!r}; expected letters, digits and '-'")
    if layout.split_machines and len(names) < 2:
        raise ValueError(
            f"--machine names one machine type; in {year} dev_data and eval_data hold different "
            "ones, so name two or more"
        )
    for option, value, least in (("clips", clips, 2), ("test-clips", test_clips, 4)):
        if not least <= value <= 9999:
            raise ValueError(f"--{option} is {value}; expected {least} to 9999")
    if not 0.1 <= seconds <= 60:
        raise ValueError(f"--seconds is {seconds}; expected 0.1 to 60")
    if seed < 0:
        raise ValueError(f"--seed is {seed}; expected 0 or more")
    return {
        "recipe_version": RECIPE_VERSION,
        "year": year,
        "machines": names,
        "clips": clips,
        "test_clips": test_clips,
        "seconds": float(seconds),
        "seed": seed,
    }


class Layout(NamedTuple):
    """How the dataset of one year is cut up and named."""

    machines: tuple[str, ...]
    dev_sections: tuple[str, ...]
    eval_sections: tuple[str, ...]
    split_machines: bool = False
    domains: tuple[str, ...] = ("source", "target")
    without_attribute: bool = False
    supplemental: bool = False
    channels: int = 1


_FOUR = ("fan", "gearbox", "valve", "slider")
_SIX = ("fan", "gearbox", "valve", "slider", "bearing", "pump")
_THREE_AND_THREE = (("00", "01", "02"), ("03", "04", "05"))
_ONE_AND_ONE = (("00",), ("00",))

LAYOUTS = {
    2020: Layout(
        ("fan", "pump", "slider", "valve"),
        ("00", "02", "04"),
        ("01", "03", "05"),
        domains=("source",),
    ),
    2021: Layout(_FOUR, *_THREE_AND_THREE),
    2022: Layout(_FOUR, *_THREE_AND_THREE),
    2023: Layout(_SIX, *_ONE_AND_ONE, True),
    2024: Layout(_SIX, *_ONE_AND_ONE, True, without_attribute=True),
    2025: Layout(_SIX, *_ONE_AND_ONE, True, without_attribute=True, supplemental=True),
    2026: Layout(_SIX, *_ONE_AND_ONE, True, without_attribute=True, supplemental=True, channels=2),
}

LABELS = ("normal", "anomaly")
NO_ATTRIBUTE = "noAttribute"


class Section(NamedTuple):
    """One section of one machine type; `named` where its clips' names show the attribute."""

    year: int
    root: str
    machine: str
    section: str
    named: bool


class Plan(NamedTuple):
    """Every file of a dataset: the clips, and the text of the CSV files by path."""

    clips: list[Clip]
    texts: dict[str, str]


def _plan(options: dict[str, object]) -> Plan:
    year, names = options["year"], options["machines"]
    layout = LAYOUTS[year]
    half = math.ceil(len(names) / 2)
    dev, evaluation = (names[:half], names[half:]) if layout.split_machines else (names, names)
    plan = Plan([], {})
    for root, machines, sections in (
        ("dev_data", dev, layout.dev_sections),
        ("eval_data", evaluation, layout.eval_sections),
    ):
        for machine in machines:
            named = not (layout.without_attribute and machine == machines[-1])
            for section in sections:
                _plan_section(plan, options, Section(year, root, machine, section, named))
    return plan


def _plan_section(plan: Plan, options: dict[str, object], at: Section) -> None:
    layout = LAYOUTS[at.year]
    train = _train_cells(options["clips"], layout.domains)
    test = _test_cells(options, at)
    folder = f"{at.root}/{at.machine}"
    clips = [
        Clip(f"{folder}/{_place(at, split, cell, number)}", at.machine, at.section, split, *cell)
        for split, cells in (("train", train), ("test", test))
        for number, cell in enumerate(cells)
    ]
    plan.clips.extend(clips)
    if layout.supplemental:
        for index in range(max(2, options["clips"] // 10)):
            value = _shown(at, "source", index)
            name = f"section_{at.section}_machine_source_{index:04d}_{value}.wav"
            cell = (at.machine, at.section, "supplemental", "source", "normal", index)
            plan.clips.append(Clip(f"{folder}/supplemental/{name}", *cell))
    if at.year >= 2022:
        listed = [c for c in clips if c.split == "train" or at.root == "dev_data"]
        plan.texts[f"{folder}/attributes_{at.section}.csv"] = _attribute_table(listed, at.named)
    if at.root == "eval_data":
        plan.texts.update(_truth(at.year, [c for c in clips if c.split == "test"]))


def _train_cells(clips: int, domains: tuple[str, ...]) -> list[tuple[str, str, int]]:
    target = max(1, clips // 10) if "target" in domains else 0
    source = [("source", "normal", index) for index in range(clips - target)]
    return source + [("target", "normal", index) for index in range(target)]


def _test_cells(options: dict[str, object], at: Section) -> list[tuple[str, str, int]]:
    # Shuffled in blocks of one clip a domain and label: the order tells nothing, every length is
    # as even as it can be, and a longer list begins with the shorter one.
    kinds = [(domain, label) for domain in LAYOUTS[at.year].domains for label in LABELS]
    cells = []
    for block in range(math.ceil(options["test_clips"] / len(kinds))):
        rng = clip_generator(options["seed"], at.machine, at.section, "order", block)
        cells += [(*kinds[k], block) for k in rng.permutation(len(kinds))]
    return cells[: options["test_clips"]]


def _place(at: Section, split: str, cell: tuple[str, str, int], number: int) -> str:
    """Folder and name of a clip within its machine type's folder."""
    domain, label, index = cell
    hidden = at.root == "eval_data" and split == "test"
    if at.year == 2020:
        name = f"id_{at.section}_{number if hidden else index:08d}.wav"
        return f"{split}/{name}" if hidden else f"{split}/{label}_{name}"
    if at.year == 2021 and split == "test":
        folder = f"{domain}_test"
        rest = f"{_rank(cell):04d}" if hidden else f"{label}_{index:04d}"
        return f"{folder}/section_{at.section}_{folder}_{rest}.wav"
    if hidden:
        # The challenge dropped the word "test" from these names in 2023.
        word = "test_" if at.year == 2022 else ""
        return f"{split}/section_{at.section}_{word}{number:04d}.wav"
    value = _shown(at, domain, index)
    return f"{split}/section_{at.section}_{domain}_{split}_{label}_{index:04d}_{value}.wav"


def _shown(at: Section, domain: str, index: int) -> str:
    return (
        "_".join(attribute_name(at.machine, at.section, domain, index))
        if at.named
        else NO_ATTRIBUTE
    )


def _rank(cell: tuple[str, str, int]) -> int:
    # The normal clip of a pair comes first in every other pair: parity tells no label.
    _, label, index = cell
    return 2 * index + int((label == "anomaly") != bool(index % 2))


def _attribute_table(clips: list[Clip], named: bool) -> str:
    rows = ["file_name,d1p,d1v"]
    for clip in clips:
        facts = attribute_name(clip.machine, clip.section, clip.domain, clip.index)
        shown = facts if named else ("", "")
        rows.append(",".join((clip.path.partition("/")[2], *shown)))
    return "\n".join(rows) + "\n"


def _truth(year: int, clips: list[Clip]) -> dict[str, str]:
    """The labels and domains of evaluation clips in the form of the official evaluator."""
    word = "id" if year == 2020 else "section"
    texts: dict[str, str] = {}
    for clip in sorted(clips):
        split = f"{clip.domain}_test" if year == 2021 else "test"
        table = f"ground_truth_{clip.machine}_{word}_{clip.section}_{split}.csv"
        name = clip.path.rpartition("/")[2]
        facts = {"data": clip.label == "anomaly"}
        if year >= 2022:
            facts["domain"] = clip.domain == "target"
        for kind, fact in facts.items():
            path = f"ground_truth/ground_truth_{kind}/{table}"
            texts[path] = texts.get(path, "") + f"{name},{int(fact)}\n"
    return texts


def _prepare(root: Path, options: dict[str, object], plan: Plan, force: bool) -> list[Clip]:
    """Clear the way for a dataset. Returns the clips that are yet to be written."""
    made = _recorded(root)
    missing = [clip for clip in plan.clips if not (root / clip.path).is_file()]
    if made == options and not missing:
        return []
    ours = _paths(_plan(made)) if made else set()
    foreign = next((path for path in _present(root) if path not in ours), None)
    if foreign:
        raise Refusal(
            f"{root / foreign} was not made by this tool, which leaves such files alone; "
            "choose another folder with --to, or move that one away"
        )
    if made == options:
        return missing
    if made and not force:
        differing = ", ".join(f"{key} {made[key]}" for key in options if made[key] != options[key])
        raise Refusal(
            f"{root} holds a dataset made with other options ({differing}); choose another folder "
            "with --to, or give --force to replace it"
        )
    _remove(root, ours)
    _write_text(root / STATE_FILE, json.dumps(options, indent=1) + "\n")
    return plan.clips


def _recorded(root: Path) -> dict[str, object] | None:
    """The options of the dataset in `root`, None where there is none."""
    path = root / STATE_FILE
    if root.exists() and not root.is_dir():
        raise Refusal(f"{root} is a file; name a folder with --to")
    if not path.exists():
        return None
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
        version = made.pop("recipe_version")
        return {**_options(**made), "recipe_version": version}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refusal(
            f"{path} is not a record of this tool; choose another folder with --to, or move that "
            "file and the dataset beside it away"
        ) from None


def _paths(plan: Plan) -> set[str]:
    return {clip.path for clip in plan.clips} | set(plan.texts)


def _present(root: Path) -> Iterator[str]:
    for top in ROOTS:
        for folder, _, names in os.walk(root / top):
            # Hidden files are those of file managers, and our own half-written ones.
            for name in names:
                if not name.startswith("."):
                    yield (Path(folder) / name).relative_to(root).as_posix()


def _remove(root: Path, paths: set[str]) -> None:
    for path in paths:
        (root / path).unlink(missing_ok=True)
    for top in ROOTS:
        for folder, _, _ in os.walk(root / top, topdown=False):
            if not any(Path(folder).iterdir()):
                Path(folder).rmdir()


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, text.encode())


def _write_clips(root: Path, clips: list[Clip], options: dict[str, object], progress: bool) -> None:
    if not clips:
        return
    from joblib import Parallel, cpu_count, delayed
    from tqdm import tqdm

    for folder in {(root / clip.path).parent for clip in clips}:
        folder.mkdir(parents=True, exist_ok=True)
    # Starting processes costs more than it saves where there are only seconds of sound to make.
    jobs = cpu_count() if len(clips) * options["seconds"] > 1000 else 1
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    done = parallel(delayed(_write_clip)(root, clip, options) for clip in clips)
    for _ in tqdm(done, total=len(clips), unit="clip", disable=not progress):
        pass


def _write_clip(root: Path, clip: Clip, options: dict[str, object]) -> None:
    import soundfile

    samples = render(clip, options["seconds"], options["seed"], LAYOUTS[options["year"]].channels)
    # Through memory: a full disk is then an OSError that names the file.
    wav = io.BytesIO()
    soundfile.write(wav, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    _write(root / clip.path, wav.getvalue())


def _write(path: Path, data: bytes) -> None:
    # Beside and renamed: a file that is there is whole.
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
