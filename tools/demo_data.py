"""Make machine-like sounds in the layout of a DCASE Challenge Task 2 dataset.

    python -m tools.demo_data --to DIR --year 2022

writes DIR/dev_data/<machine>/ and DIR/eval_data/<machine>/ as the challenge of that year
distributes them, and DIR/ground_truth/ with the labels of the evaluation clips. Every clip is
16 kHz PCM16. The sounds are synthetic: with them a system can be tried from end to end within
minutes, but they are no benchmark.

Each clip has a random generator of its own, derived from its place in the dataset. So the same
options give the same bytes, and more clips do not change the others.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.command_line import program_name
from core.errors import BadInput
from core.files import atomic_write, remove_stale_files, save_csv, save_json
from core.script import run_script
from tools.demo_layouts import LAYOUTS, Plan, make_plan
from tools.demo_sounds import SAMPLE_RATE, DemoClip, render

OPTIONS_FILE = "demo_data.json"
FOLDERS = ("dev_data", "eval_data", "ground_truth")
# Saved with the options: a dataset must not have sounds of two recipes.
RECIPE_VERSION = 1


def make_dataset(
    to: str | os.PathLike[str],
    year: int = 2022,
    machines: Sequence[str] | None = None,
    clips: int = 60,
    test_clips: int = 40,
    seconds: float = 5.0,
    seed: int = 0,
    attributes: int = 0,
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
    clips : training clips per section, 2 to 9999; a tenth of them, at least one, is in the target
        domain.
    test_clips : test clips per section, 4 to 9999, spread evenly over domains and labels.
    seconds : length of a clip, 0.1 to 60.
    seed : 0 or more; another seed gives other clips of other sections.
    attributes : 0: one attribute per section, with two values per domain. 2 to 6: two attributes
        that change the sound much, a speed and a load; the source domain has so many speeds. For
        systems that learn to tell attributes apart; from 2021 on.
    force : replace a dataset that this tool made here with other options.
    progress : show a progress bar on stderr.

    Returns
    -------
    The number of wav files written: 0 where the dataset was already complete.

    Raises
    ------
    ValueError : an option is out of its range.
    BadInput : `to` has files that this tool did not make, or a dataset with other options, or it
        cannot be written.
    """
    options = _options(year, machines, clips, test_clips, seconds, seed, attributes)
    root = Path(to)
    try:
        plan = make_plan(options)
        missing = _prepare(root, options, plan, force)
        _write_clips(root, missing, options, progress)
        for path, rows in plan.tables.items():
            if not (root / path).is_file():
                save_csv(root / path, rows)
    except OSError as error:
        where = error.filename or root
        raise BadInput(f"{where}: cannot be written ({error.strerror or error})") from None
    return len(missing)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status 0. Raises BadInput, see make_dataset."""
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
            args.attributes,
            force=args.force,
            progress=True,
        )
    except ValueError as error:
        parser.error(str(error))
    if written:
        print(f"{written} clips written below {args.to}")
    else:
        print(f"{args.to}: the dataset is complete already; nothing to do")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program_name(),
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
        "--clips",
        type=int,
        default=60,
        metavar="N",
        help="training clips per section (default: 60)",
    )
    parser.add_argument(
        "--test-clips",
        type=int,
        default=40,
        metavar="N",
        help="test clips per section (default: 40)",
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="length of a clip (default: 5)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--attributes",
        type=int,
        default=0,
        metavar="N",
        help="2 to 6: every clip has a speed, one of N in the source domain, and a load "
        "(default: 0, one attribute that changes the sound a little)",
    )
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
    attributes: int = 0,
) -> dict[str, object]:
    """Return the options as they are saved; raise ValueError for one out of its range."""
    if year not in LAYOUTS:
        raise ValueError(f"--year is {year}; expected {min(LAYOUTS)} to {max(LAYOUTS)}")
    layout = LAYOUTS[year]
    names = list(dict.fromkeys(machines)) if machines else list(layout.machines)
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name):
            raise ValueError(f"--machine has {name!r}; expected letters, digits and '-'")
    if layout.split_machines and len(names) < 2:
        raise ValueError(
            f"--machine names one machine type; in {year} dev_data and eval_data have different "
            "ones, so name two or more"
        )
    for option, value, least in (("clips", clips, 2), ("test-clips", test_clips, 4)):
        if not least <= value <= 9999:
            raise ValueError(f"--{option} is {value}; expected {least} to 9999")
    if not 0.1 <= seconds <= 60:
        raise ValueError(f"--seconds is {seconds}; expected 0.1 to 60")
    if seed < 0:
        raise ValueError(f"--seed is {seed}; expected 0 or more")
    if attributes and not 2 <= attributes <= 6:
        raise ValueError(f"--attributes is {attributes}; expected 0, or 2 to 6")
    if attributes and "target" not in layout.domains:
        raise ValueError(f"--attributes is {attributes}; the clips of {year} have no attributes")
    return {
        "recipe_version": RECIPE_VERSION,
        "year": year,
        "machines": names,
        "clips": clips,
        "test_clips": test_clips,
        "seconds": float(seconds),
        "seed": seed,
        **({"attributes": attributes} if attributes else {}),
    }


def _prepare(root: Path, options: dict[str, object], plan: Plan, force: bool) -> list[DemoClip]:
    """Save the options, remove a dataset that is replaced, and return the clips to be written.

    Raises BadInput where the folder has other files, or a dataset with other options.
    """
    before = _saved_options(root)
    missing = [clip for clip in plan.clips if not (root / clip.path).is_file()]
    if before == options and not missing:
        return []
    ours = _paths(make_plan(before)) if before else set()
    foreign = next((path for path in _files(root) if path not in ours), None)
    if foreign:
        raise BadInput(
            f"{root / foreign} was not made by this tool and is not touched; choose another folder "
            "with --to, or move that file away"
        )
    if before == options:
        return missing
    if before and not force:
        differing = ", ".join(
            f"{key} {before.get(key, 0)}"
            for key in {**options, **before}
            if before.get(key, 0) != options.get(key, 0)
        )
        raise BadInput(
            f"{root} has a dataset made with other options ({differing}); choose another folder "
            "with --to, or replace it with --force"
        )
    _remove(root, ours)
    save_json(root / OPTIONS_FILE, options)
    return plan.clips


def _saved_options(root: Path) -> dict[str, object] | None:
    """Return the options of the dataset in a folder, None where there is none."""
    path = root / OPTIONS_FILE
    if root.exists() and not root.is_dir():
        raise BadInput(f"{root} is a file; name a folder with --to")
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        version = saved.pop("recipe_version")
        return {**_options(**saved), "recipe_version": version}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BadInput(
            f"{path} was not written by this tool; choose another folder with --to, or move that "
            "file and the dataset beside it away"
        ) from None


def _paths(plan: Plan) -> set[str]:
    return {clip.path for clip in plan.clips} | set(plan.tables)


def _files(root: Path) -> Iterator[str]:
    """Yield the paths of the files of a dataset, whoever made them."""
    for top in FOLDERS:
        for folder, _, names in os.walk(root / top):
            # Hidden files are those of file managers, and our own that are not complete.
            for name in names:
                if not name.startswith("."):
                    yield (Path(folder) / name).relative_to(root).as_posix()


def _remove(root: Path, paths: set[str]) -> None:
    """Remove files, and the folders that are empty then."""
    for path in paths:
        (root / path).unlink(missing_ok=True)
    for top in FOLDERS:
        for folder, _, _ in os.walk(root / top, topdown=False):
            remove_stale_files(Path(folder))
            if not any(Path(folder).iterdir()):
                Path(folder).rmdir()


def _write_clips(
    root: Path, clips: list[DemoClip], options: dict[str, object], progress: bool
) -> None:
    """Write the wav files of clips, in as many processes as there are cores."""
    if not clips:
        return
    from joblib import Parallel, cpu_count, delayed
    from tqdm import tqdm

    for folder in {(root / clip.path).parent for clip in clips}:
        if folder.is_dir():
            remove_stale_files(folder)
    # Starting processes costs more than it saves where there are only seconds of sound to make.
    jobs = cpu_count() if len(clips) * options["seconds"] > 1000 else 1
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    done = parallel(delayed(_write_clip)(root, clip, options) for clip in clips)
    for _ in tqdm(done, total=len(clips), unit="clip", disable=not progress):
        pass


def _write_clip(root: Path, clip: DemoClip, options: dict[str, object]) -> None:
    import soundfile

    channels, attributes = LAYOUTS[options["year"]].channels, options.get("attributes", 0)
    samples = render(clip, options["seconds"], options["seed"], channels, attributes)
    # To memory first: on a full disk soundfile's own error would not name the file.
    wav = io.BytesIO()
    soundfile.write(wav, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    with atomic_write(root / clip.path) as temporary:
        temporary.write_bytes(wav.getvalue())


if __name__ == "__main__":
    sys.exit(run_script(main))
