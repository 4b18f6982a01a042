"""Make machine-like sounds in the layout of a DCASE Challenge Task 2 dataset.

    python tools/demo_data.py --to DIR --year 2022

writes DIR/dev_data/<machine>/ and DIR/eval_data/<machine>/ as the challenge of that year
distributes them, and DIR/ground_truth/ with the labels of the evaluation clips. Every clip is
16 kHz PCM16. The sounds are parametric models, no recordings: good for trying out a system from
end to end within minutes, worthless as a benchmark.

A clip's random generator is derived from its own place in the dataset, so the same options give
the same bytes, and more clips leave the others as they were.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

SAMPLE_RATE = 16000
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


class Clip(NamedTuple):
    """One wav file of the plan. `index` counts within its section, split, domain and label."""

    path: str
    machine: str
    section: str
    split: str
    domain: str
    label: str
    index: int


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
        rng = _generator(options["seed"], at.machine, at.section, "order", block)
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
    return "_".join(_attribute(at.machine, at.section, domain, index)) if at.named else NO_ATTRIBUTE


def _rank(cell: tuple[str, str, int]) -> int:
    # The normal clip of a pair comes first in every other pair: parity tells no label.
    _, label, index = cell
    return 2 * index + int((label == "anomaly") != bool(index % 2))


def _attribute_table(clips: list[Clip], named: bool) -> str:
    rows = ["file_name,d1p,d1v"]
    for clip in clips:
        facts = _attribute(clip.machine, clip.section, clip.domain, clip.index)
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


@dataclass(frozen=True)
class Voice:
    """How a machine sounds. Frequencies and rates in Hz, levels in dB, times in seconds.

    Steady noise of level 0 carries the rest. `bumps` are (centre, octaves, level) of its spectrum;
    `rotation` modulates it by `depth`. `tones` are the levels of the harmonics of `pitch`. Strokes
    come at `stroke_rate`: noise around `stroke_band` and a ring of frequency `ring` that glides by
    the factor `glide` during `stroke_time`.
    """

    bumps: tuple[tuple[float, float, float], ...]
    tilt: float
    rotation: float = 10.0
    depth: float = 0.2
    pitch: float = 200.0
    tones: tuple[float, ...] = ()
    stroke_rate: float = 0.0
    stroke_time: float = 0.03
    stroke_band: float = 3000.0
    stroke_level: float = 0.0
    ring: float = 1500.0
    glide: float = 1.0
    background: float = -8.0
    missing: float = 0.0
    # Makes the faults of a machine type louder or softer, so that all are about equally hard.
    fault_level: float = 0.0


VOICES = {
    "fan": Voice(
        bumps=((300, 1.2, 9), (1800, 0.8, 5)),
        tilt=-3.0,
        rotation=11.0,
        depth=0.25,
        pitch=92.0,
        tones=(-4, -8, -13, -17, -22),
        fault_level=-1.0,
    ),
    "gearbox": Voice(
        bumps=((700, 1.0, 5), (2600, 0.7, 6)),
        tilt=-2.5,
        rotation=17.0,
        depth=0.12,
        pitch=410.0,
        tones=(-6, -9, -10, -15, -19, -23),
        fault_level=-1.0,
    ),
    "valve": Voice(
        bumps=((500, 1.5, 4),),
        tilt=-2.0,
        rotation=5.0,
        depth=0.05,
        pitch=120.0,
        tones=(-16, -22),
        stroke_rate=3.4,
        stroke_time=0.05,
        stroke_band=3200.0,
        stroke_level=8.0,
        ring=1400.0,
        fault_level=4.0,
    ),
    "slider": Voice(
        bumps=((900, 1.5, 4),),
        tilt=-2.5,
        rotation=8.0,
        depth=0.1,
        pitch=150.0,
        tones=(-14, -20),
        stroke_rate=1.7,
        stroke_time=0.42,
        stroke_band=2300.0,
        stroke_level=5.0,
        ring=700.0,
        glide=1.5,
        fault_level=3.0,
    ),
    "bearing": Voice(
        bumps=((1200, 1.0, 5), (4200, 0.6, 7)),
        tilt=-2.0,
        rotation=23.0,
        pitch=137.0,
        tones=(-10, -13, -16, -20),
    ),
    "pump": Voice(
        bumps=((400, 1.0, 7), (1500, 0.7, 5)),
        tilt=-3.0,
        rotation=12.0,
        pitch=98.0,
        tones=(-7, -9, -14, -18),
        stroke_rate=6.1,
        stroke_time=0.11,
        stroke_band=1300.0,
        stroke_level=2.0,
        ring=420.0,
    ),
    "ToyCar": Voice(
        bumps=((1500, 1.0, 6), (5000, 0.7, 4)),
        tilt=-1.5,
        rotation=14.0,
        depth=0.25,
        pitch=310.0,
        tones=(-6, -7, -12, -14, -20),
    ),
    "ToyTrain": Voice(
        bumps=((800, 1.2, 6),),
        tilt=-2.0,
        rotation=9.0,
        pitch=180.0,
        tones=(-9, -12, -18),
        stroke_rate=4.3,
        stroke_time=0.07,
        stroke_band=2500.0,
        stroke_level=4.0,
        ring=1100.0,
    ),
    "ToyConveyor": Voice(
        bumps=((600, 1.0, 6), (3500, 0.8, 3)),
        tilt=-2.0,
        rotation=7.0,
        depth=0.15,
        pitch=240.0,
        tones=(-8, -12, -15),
        stroke_rate=2.2,
        stroke_time=0.2,
        stroke_band=1800.0,
        stroke_level=2.0,
        ring=600.0,
        glide=1.2,
    ),
}

# What distinguishes the domains of a section: a parameter, its values in the source domain and
# in the target domain.
SHIFTS = (
    ("vel", ("6", "8"), ("12", "14")),
    ("wt", ("30", "50"), ("100", "130")),
    ("m-n", ("W", "X"), ("Y", "Z")),
)
AMOUNTS = {"source": (0.0, 0.2), "target": (0.9, 1.1)}

# From easy to hard and back, so that few test clips hold some of each.
FAULTS = ("whine", "deviation", "knock", "resonance", "rub", "imbalance", "crackle", "stall")

LEVEL_DB = -32.0


def render(clip: Clip, seconds: float, seed: int, channels: int = 1) -> np.ndarray:
    """The sound of a clip.

    Parameters
    ----------
    clip : which one; its path has no influence.
    seconds : length.
    seed : of the dataset.
    channels : 1, or 2: a microphone at the machine and one far from it.

    Returns
    -------
    int16 array of shape (samples,) or (samples, channels), about -32 dB re full scale.
    """
    rng = _generator(
        seed, clip.machine, clip.section, clip.split, clip.domain, clip.label, clip.index
    )
    time = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / np.float32(SAMPLE_RATE)
    fault = _fault(clip) if clip.label == "anomaly" else None
    voice = _section_voice(clip.machine, clip.section, seed)
    voice = _shifted(voice, clip)
    voice = _varied(voice, rng)
    if fault in VOICE_FAULTS:
        voice = VOICE_FAULTS[fault](voice, rng)
    sound = _machine_sound(voice, time, rng)
    if fault in ADDED_FAULTS:
        added = ADDED_FAULTS[fault](voice, time, rng)
        level = rng.uniform(-2.0, 2.0) + voice.fault_level + FAULT_LEVELS[fault]
        sound = sound + _rms(sound) * _gain(level) * added
    surroundings = _surroundings(clip, time, rng)
    background = -60.0 if clip.split == "supplemental" else voice.background
    near = sound + _rms(sound) * _gain(background) * surroundings
    gain = _gain(_level(clip, seed)) / _rms(near)
    if channels == 1:
        return _pcm(near * gain)
    far = _far(sound, clip, seed) + _rms(sound) * _gain(background + 6.0) * surroundings
    return _pcm(np.stack((near * gain, far * gain * _gain(-8.0)), axis=1))


def _generator(*key: object) -> np.random.Generator:
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def _level(clip: Clip, seed: int) -> float:
    # Normal and anomalous clips get the same set of levels: loudness gives no label away.
    start = _generator(seed, clip.machine, clip.section, "level").uniform()
    return LEVEL_DB + 3.0 * ((start + 0.618034 * clip.index) % 1.0) - 1.5


def _attribute(machine: str, section: str, domain: str, index: int) -> tuple[str, str]:
    parameter, *values = SHIFTS[_turn(machine, section) % len(SHIFTS)]
    return parameter, values[domain == "target"][index % 2]


def _turn(machine: str, section: str) -> int:
    return int(section) + sum(machine.encode())


def _fault(clip: Clip) -> str:
    start = 2 * _turn(clip.machine, clip.section) + (3 if clip.domain == "target" else 0)
    return FAULTS[(start + clip.index) % len(FAULTS)]


def _section_voice(machine: str, section: str, seed: int) -> Voice:
    voice = VOICES.get(machine) or _unknown_voice(machine)
    rng = _generator(seed, machine, section)
    # Neighbouring sections get pitches and resonances far apart, whatever the seed.
    step = (3 * int(section)) % 7 - 3
    bumps = tuple(
        (centre * 1.25 ** (step * (-1) ** k) * rng.uniform(0.95, 1.05), width, level)
        for k, (centre, width, level) in enumerate(voice.bumps)
    )
    return replace(
        voice,
        bumps=bumps,
        tilt=voice.tilt + rng.uniform(-0.5, 0.5),
        rotation=voice.rotation * 1.12**step,
        pitch=voice.pitch * 1.18**step * rng.uniform(0.97, 1.03),
        tones=tuple(level + rng.uniform(-3, 3) for level in voice.tones),
        stroke_rate=voice.stroke_rate * 1.1**step,
        stroke_band=voice.stroke_band * 1.15**step,
        ring=voice.ring * 1.15**-step * rng.uniform(0.95, 1.05),
    )


def _unknown_voice(machine: str) -> Voice:
    rng = _generator("voice", machine)
    strokes = rng.uniform() < 0.5
    return Voice(
        bumps=tuple(
            (200 * 2 ** rng.uniform(k, k + 2), rng.uniform(0.6, 1.4), rng.uniform(3, 8))
            for k in (0, 2)
        ),
        tilt=rng.uniform(-3, -1.5),
        rotation=rng.uniform(6, 24),
        depth=rng.uniform(0.1, 0.3),
        pitch=rng.uniform(90, 450),
        tones=tuple(-8 - 4 * k + rng.uniform(-2, 2) for k in range(4)),
        stroke_rate=rng.uniform(2, 7) if strokes else 0.0,
        stroke_time=rng.uniform(0.04, 0.12),
        stroke_band=rng.uniform(1000, 4000),
        stroke_level=rng.uniform(1, 5),
        ring=rng.uniform(400, 1600),
    )


def _shifted(voice: Voice, clip: Clip) -> Voice:
    parameter = SHIFTS[_turn(clip.machine, clip.section) % len(SHIFTS)][0]
    amount = AMOUNTS[clip.domain][clip.index % 2]
    if parameter == "vel":
        return _faster(voice, 1 + 0.12 * amount)
    if parameter == "wt":
        tones = tuple(level + 3 * amount for level in voice.tones)
        return replace(
            voice,
            tones=tones,
            tilt=voice.tilt + 0.7 * amount,
            stroke_level=voice.stroke_level - 2 * amount,
        )
    return replace(voice, background=voice.background + 5 * amount)


def _faster(voice: Voice, factor: float) -> Voice:
    return replace(
        voice,
        rotation=voice.rotation * factor,
        pitch=voice.pitch * factor,
        stroke_rate=voice.stroke_rate * factor,
    )


def _varied(voice: Voice, rng: np.random.Generator) -> Voice:
    voice = _faster(voice, 1 + 0.008 * rng.standard_normal())
    return replace(
        voice,
        bumps=tuple((f, w, level + 0.6 * rng.standard_normal()) for f, w, level in voice.bumps),
        tilt=voice.tilt + 0.12 * rng.standard_normal(),
        tones=tuple(level + 0.8 * rng.standard_normal() for level in voice.tones),
        stroke_level=voice.stroke_level + 0.6 * rng.standard_normal(),
        background=voice.background + rng.uniform(-1.5, 1.5),
    )


def _machine_sound(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turning = 1 + voice.depth * _turning(voice, time, rng)
    sound = _noise(voice.bumps, voice.tilt, len(time), rng) * turning
    if voice.tones:
        sound += _tones(voice, time, rng) * turning
    if voice.stroke_rate:
        sound += _strokes(voice, time, rng)
    return sound


def _turning(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _sine(voice.rotation * time + np.float32(rng.uniform()))


def _tones(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    wander = _sine(time * np.float32(rng.uniform(0.2, 0.6)) + np.float32(rng.uniform()))
    turns = np.float32(voice.pitch) * (time + np.float32(0.003) * wander)
    carrier = np.empty(len(time), np.complex64)
    carrier.real, carrier.imag = _sine(turns + np.float32(0.25)), _sine(turns)
    harmonic = np.ones_like(carrier)
    sound = np.zeros_like(time)
    for level in voice.tones:
        harmonic *= carrier
        phase = np.exp(2j * np.pi * rng.uniform()) * math.sqrt(2) * _gain(level)
        sound += (harmonic * np.complex64(phase)).real
    return sound


def _strokes(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    since = _since_stroke(voice, time, rng)
    if voice.stroke_time < 0.15:
        envelope = np.exp(-since / np.float32(voice.stroke_time)) * np.minimum(1, since * 500)
    else:
        envelope = np.sin(np.pi * np.minimum(1, since / np.float32(voice.stroke_time))) ** 2
    glide = (voice.glide - 1) / (2 * voice.stroke_time)
    ring = _sine(voice.ring * since * (1 + np.float32(glide) * since))
    hiss = _noise(((voice.stroke_band, 0.5, 20.0),), -1.0, len(time), rng)
    return np.float32(_gain(voice.stroke_level)) * envelope * (hiss + np.float32(0.5) * ring)


def _since_stroke(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seconds since the latest stroke; the first stroke lies before the clip."""
    count = int(len(time) / SAMPLE_RATE * voice.stroke_rate) + 8
    gaps = (1 + 0.03 * rng.standard_normal(count)) / voice.stroke_rate
    starts = np.cumsum(gaps) - gaps[0] * (1 + rng.uniform())
    kept = rng.uniform(size=len(starts)) >= voice.missing
    kept[0] = True
    starts = starts[kept]
    latest = np.searchsorted(starts, time, side="right") - 1
    return (time - starts[latest]).astype(np.float32)


def _surroundings(clip: Clip, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of the factory, with something passing by now and then; of level 0 dB."""
    centre = 900 * 2 ** rng.uniform(-1, 1)
    noise = _noise(((centre, 1.0, rng.uniform(0, 4)),), rng.uniform(-3.0, -2.0), len(time), rng)
    if rng.uniform() < 0.3:
        moment, width = rng.uniform(0, time[-1]), rng.uniform(0.2, 0.6)
        noise *= 1 + rng.uniform(0.3, 1.2) * np.exp(-(((time - np.float32(moment)) / width) ** 2))
    return noise / _rms(noise)


def _noise(
    bumps: Sequence[tuple[float, float, float]], tilt: float, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Noise of level 0 dB whose spectrum falls by `tilt` dB an octave and has the given bumps."""
    import scipy.fft

    # A length of small factors: a clip of any duration is made in the same time.
    size = scipy.fft.next_fast_len(n, real=True)
    octaves = np.linspace(-5, 3, 129)
    level = tilt * octaves
    for centre, width, height in bumps:
        level += height * np.exp(-(((octaves - math.log2(centre / 1000)) / width) ** 2))
    bins = np.arange(size // 2 + 1, dtype=np.float32)
    grid = 1000 * 2**octaves * (size / SAMPLE_RATE)
    spectrum = rng.standard_normal((len(bins), 2), dtype=np.float32)
    spectrum *= np.interp(bins, grid, 10 ** (level / 20)).astype(np.float32)[:, None]
    # No microphone of these datasets hears anything below.
    spectrum[: int(25 * size / SAMPLE_RATE)] = 0
    noise = scipy.fft.irfft(spectrum.view(np.complex64)[:, 0], size)[:n]
    return noise / _rms(noise)


def _whine(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    pitch = voice.pitch * rng.uniform(6.2, 9.8)
    pitch = np.float32(min(pitch, 5500.0) * rng.uniform(0.9, 1.1))
    waver = np.float32(0.5) * _sine(voice.rotation * time)
    return _sine(pitch * time + waver) + np.float32(0.4) * _sine(2 * pitch * time)


def _knock(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    knocking = replace(
        voice,
        stroke_rate=rng.uniform(2.5, 5.0),
        stroke_time=0.02,
        stroke_band=2 * voice.ring,
        stroke_level=0.0,
        ring=voice.ring * rng.uniform(0.6, 1.8),
        glide=1.0,
        missing=0.0,
    )
    return _unit(_strokes(knocking, time, rng))


def _rub(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    band = _noise(((rng.uniform(2500, 5500), 0.35, 25.0),), 0.0, len(time), rng)
    touching = np.maximum(0, _sine(np.float32(rng.uniform(1.5, 4.0)) * time)) ** 2
    return _unit(band * touching)


def _resonance(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _noise(((rng.uniform(900, 4500), 0.12, 30.0),), 0.0, len(time), rng)


def _crackle(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hiss = _noise(((3000.0, 1.5, 10.0),), 0.0, len(time), rng)
    moments = rng.uniform(0, time[-1], max(1, round(3 * float(time[-1]))))
    envelope = np.zeros_like(time)
    for start, length in zip(moments, rng.uniform(0.02, 0.08, len(moments)), strict=True):
        first = int(start * SAMPLE_RATE)
        envelope[first : first + int(length * SAMPLE_RATE)] = 1
    return _unit(hiss * envelope)


def _deviation(voice: Voice, rng: np.random.Generator) -> Voice:
    share = rng.choice((-1, 1)) * rng.uniform(0.02, 0.045) * _gain(voice.fault_level)
    return _faster(voice, float(1 + share))


def _imbalance(voice: Voice, rng: np.random.Generator) -> Voice:
    depth = voice.depth + rng.uniform(0.2, 0.4) * _gain(voice.fault_level)
    return replace(voice, depth=depth, tones=tuple(level + 2 for level in voice.tones))


def _stall(voice: Voice, rng: np.random.Generator) -> Voice:
    slower = _faster(voice, rng.uniform(0.82, 0.9))
    return replace(slower, missing=0.25, tilt=voice.tilt + 0.5)


VOICE_FAULTS = {"deviation": _deviation, "imbalance": _imbalance, "stall": _stall}
ADDED_FAULTS = {
    "whine": _whine,
    "knock": _knock,
    "resonance": _resonance,
    "rub": _rub,
    "crackle": _crackle,
}
# dB relative to the whole machine.
FAULT_LEVELS = {"whine": -16.0, "knock": -15.0, "resonance": -18.5, "rub": -16.0, "crackle": -14.0}


def _far(sound: np.ndarray, clip: Clip, seed: int) -> np.ndarray:
    """The machine as the far microphone hears it: later, and with the room's reverberation."""
    import scipy.signal

    rng = _generator(seed, clip.machine, clip.section, "room")
    tail = rng.standard_normal(SAMPLE_RATE // 5, dtype=np.float32)
    tail *= 10 ** (-3 * np.arange(len(tail), dtype=np.float32) / len(tail))
    tail *= np.float32(0.7) / np.linalg.norm(tail)
    delay = int(SAMPLE_RATE * rng.uniform(0.006, 0.012))
    response = np.concatenate((np.zeros(delay, dtype=np.float32), [np.float32(1)], tail))
    return scipy.signal.oaconvolve(sound, response.astype(np.float32))[: len(sound)]


def _sine(turns: np.ndarray) -> np.ndarray:
    # The fraction of a turn first: single precision cannot hold many turns and the phase.
    fraction = (turns - np.floor(turns)).astype(np.float32)
    return np.sin(np.float32(2 * np.pi) * fraction)


def _gain(level: float) -> float:
    return 10 ** (level / 20)


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float32))))


def _unit(sound: np.ndarray) -> np.ndarray:
    return sound / max(_rms(sound), 1e-9)


def _pcm(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


if __name__ == "__main__":
    sys.exit(main())
