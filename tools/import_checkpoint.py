"""Make a trained model of a published checkpoint, for 01_test.py to score with.

python -m tools.import_checkpoint --system ae --machine fan model_fan.hdf5 score_distr_fan.pkl
python -m tools.import_checkpoint --system aegan_ad --machine fan fan.pth

Checkpoints are the files that a system's authors publish, which docs/checkpoints.md lists: the
official baselines' .hdf5, with score_distr_*.pkl for their threshold and section_names_*.pkl; of
other systems the .pth or .pth.tar files of their release. What a checkpoint does not have is
computed from the training clips of the dataset, where they are present.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import keras_model
from checkpoints.assign import assign_variables
from checkpoints.files import read
from checkpoints.inferred_settings import InferredSettings, Tensors
from checkpoints.official_pickles import as_list, gamma_distribution, section_names
from checkpoints.tensors import gather, in_order, matching_layout, settle
from core import settings
from core.command_line import add_settings, program_name
from core.errors import BadInput, ProblemCollector, nearest
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from core.script import run_script
from core.system_settings import system_classes
from data import clips
from data.dataset import list_clips, read_clips, report_bad_clips, warn_of_missing_clips
from data.frames import Frames
from data.training_scores import TrainingScores
from engine.checks import check_sections, check_trainable
from engine.training import by_machine_type
from evaluation.thresholds import fit_thresholds
from models import saved

if TYPE_CHECKING:
    from models.base import System


class CheckpointContents(NamedTuple):
    """What the files of a checkpoint have in them.

    tensors : by their published names
    distribution : of official pickles, the gamma distribution of the scores that the threshold is
        taken from: shape, loc, scale; None without such a file
    sections : of official pickles, the names of the sections in the order of the classes; None
        without such a file
    """

    tensors: Tensors
    distribution: tuple[float, float, float] | None
    sections: list[str] | None


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything, then build the network, complete it, and save it."""
    args = command_line(argv)
    shared = settings.read_config(args.config, args.set).for_system(args.system)
    name = saved.network_groups(shared, args.machine)[0][0]
    stem = free_place(args, shared, name)
    files = ", ".join(path.name for path in args.checkpoint)
    contents = read_files(args.system, args.checkpoint)
    try:
        before = shared.for_machine(name)
        inferred = keras_model.system_class(args.system).infer_settings(contents.tensors, before)
        run = settle(before, inferred)
    except ValueError as error:
        raise BadInput(f"{files}: not a checkpoint of {args.system} ({error})") from None
    names = class_names(args, run, inferred.classes, contents.sections)
    system = build(run, name, inferred, names, files)
    setup_log(run.result_directory)
    logger.info("%s: %d tensors of %s, all used", name, len(contents.tensors), files)
    keys = [*inferred.values, *inferred.implied]
    for key in keys:
        now, then = run.value(key), before.value(key)
        if now != then:
            logger.info("%s: %s is %s, as in the checkpoint (else %s)", name, key, now, then)
    scores, frames = complete(system, args, run, name)
    training_clips = frames.clips if frames else ()
    sections = [run.class_name(clip) for clip in training_clips]
    parts = by_machine_type(scores, frames) if frames else {name: TrainingScores(scores, [], [])}
    thresholds = {
        machine_type: fit_thresholds(
            part._replace(distribution=contents.distribution), run, machine_type
        )
        for machine_type, part in parts.items()
    }
    missing = missing_parts(system, inferred, frames)
    imported = {
        "from": [path.name for path in args.checkpoint],
        "keys": keys,
        "distribution": contents.distribution,
        "lacks": missing,
    }
    keras_model.save_system(stem, system, run, training_clips, scores, thresholds, imported)
    if missing:
        logger.warning("%s: 01_test.py cannot score with it without %s", name, missing)
    elif not any(thresholds.values()):
        logger.warning("%s: no threshold, so 01_test.py leaves its decisions out", name)
    for remark in remarks(run, inferred, contents, scores, sections, names):
        logger.warning("%s: %s", name, remark)
    logger.info("%s: model -> %s", name, stem)
    return 0


def free_place(args: argparse.Namespace, run: SystemSettings, name: str) -> Path:
    """Return where the model goes, without its endings.

    Raises BadInput where there is a model already, or an official file that would clash.
    """
    stem = saved.model_stem(run, name, args.mode)
    official = stem.with_name(stem.name + ".hdf5")
    if args.mode == "dev" and official.is_file():
        raise BadInput(
            f"{official}: 01_test.py takes this official model as it is; to import a checkpoint, "
            "move that file elsewhere"
        )
    if stem.with_name(stem.name + ".json").is_file() and not args.force:
        raise BadInput(
            f"{stem}: there is a model already; --force puts the checkpoint in its place"
        )
    return stem


def read_files(system: str, paths: Sequence[Path]) -> CheckpointContents:
    """Return what the files of a checkpoint have in them.

    Raises BadInput, with the problems of all files at once, where one cannot be read or does not
    belong to the system, and where none has tensors.
    """
    problems, trees, distribution, sections = ProblemCollector(), [], None, None
    for path in dict.fromkeys(paths):
        with problems:
            content = read(path)
            if isinstance(content, dict):
                trees.append((path, content))
                continue
            values = as_list(content)
            if not system_classes()[system].official:
                raise BadInput(f"{path}: goes with the official baselines, not with {system}")
            if values and all(isinstance(value, str) for value in values):
                sections = section_names(path, values)
            else:
                distribution = gamma_distribution(path, values)
    problems.stop()
    if not trees:
        raise BadInput(f"{', '.join(map(str, paths))}: no checkpoint with tensors among them")
    tensors = gather(system, trees, networks(), keras_model.system_class)
    return CheckpointContents(tensors, distribution, sections)


def networks() -> list[str]:
    """Return the systems that have weights, which a checkpoint can hold."""
    return [name for name, kind in system_classes().items() if kind.has_network]


def with_training_clips(run: SystemSettings, mode: str, machines: Sequence[str]) -> list[str]:
    """Return those of the machine types that have training clips; of all if none is named."""
    home = clips.dataset_directory(run, mode)
    if not machines and home.is_dir():
        machines = sorted(entry.name for entry in home.iterdir() if not entry.name.startswith("."))
    return [machine for machine in machines if (home / machine / "train").is_dir()]


def class_names(
    args: argparse.Namespace,
    run: SystemSettings,
    classes: int,
    published: list[str] | None,
) -> list[str]:
    """Return the sections in the order of the checkpoint; numbers where no name is known.

    Those of a classifier are the published ones, else the sections of the training clips. A joint
    system's release counts those of the development set first, machine types sorted without
    regard to case, then those of the evaluation set.

    Where the scores do not depend on which class is which, a checkpoint may have more classes than
    the training clips.

    Parameters
    ----------
    classes : how many classes the checkpoint has; 0 for a system that is no classifier
    published : their names, of a file of the checkpoint

    Raises
    ------
    BadInput : where there are more or fewer names than classes.
    """
    if not classes:
        both = [
            training_sections(run, mode, args.machine) for mode in run.training_datasets(args.mode)
        ]
        return sorted({section for sections in both for section in sections})
    if published is not None:
        if len(published) != classes:
            raise BadInput(
                f"the checkpoint has {classes} sections, but {len(published)} are named: "
                f"{', '.join(published)}"
            )
        return published
    datasets = [((args.mode,), args.machine)]
    if run.joint:
        datasets += [((args.mode,), []), (("dev", "eval"), args.machine), (("dev", "eval"), [])]
    candidates: list[list[str]] = []
    for modes, machines in datasets:
        named = [section for mode in modes for section in training_sections(run, mode, machines)]
        candidates.append(list(dict.fromkeys(named)))
    fitting = [names for names in candidates if len(names) == classes]
    if fitting or not any(candidates):
        return [*fitting, [f"class_{number:05}" for number in range(classes)]][0]
    longest = max(candidates, key=len)
    if not keras_model.system_class(run.system).scores_by_class and len(longest) < classes:
        return [*longest, *(f"class_{number:05}" for number in range(len(longest), classes))]
    raise BadInput(
        f"the checkpoint has {classes} sections, but the training clips have "
        f"{len(longest)}: {', '.join(longest)}"
        + ("; name section_names_*.pkl too" if run.official else "")
    )


def training_sections(run: SystemSettings, mode: str, machines: Sequence[str]) -> list[str]:
    """Return the classes of the training clips of one dataset, as `SystemSettings.class_name`.

    Machine types are sorted without regard to case, the classes of each by name.
    """
    named, run = [], run.with_values({"fit.train_on": "same"})
    for machine in sorted(with_training_clips(run, mode, machines), key=str.casefold):
        training, _ = list_clips(run, mode, machine, ("train",))
        named += sorted({run.class_name(clip) for clip in training})
    return named


def build(
    run: SystemSettings,
    name: str,
    inferred: InferredSettings,
    names: list[str],
    files: str,
) -> System:
    """Return the network with the published weights.

    Parameters
    ----------
    name : the machine type, for messages
    names : the sections, in the order of the checkpoint
    files : the names of the files, for messages

    Raises
    ------
    BadInput : naming every tensor that does not fit.
    """
    check_sections(run, name, names, names)
    try:
        system = keras_model.build_system(run, names)
        tensors = inferred.tensors
        if inferred.classes:
            tensors = in_order(tensors, system.class_axes, names)
        layout = matching_layout(system.checkpoint_layouts(), tensors)
        assign_variables(layout, tensors)
    except ValueError as error:
        raise BadInput(
            f"{files}: not a checkpoint of {run.system} with these settings: {error}"
        ) from None
    return system


def complete(
    system: System, args: argparse.Namespace, run: SystemSettings, name: str
) -> tuple[np.ndarray, Frames | None]:
    """Compute from the training clips what the checkpoint does not have, and score them.

    Returns
    -------
    (n_clips,) scores, empty without clips; and the frames of the clips, None without clips.
    """
    datasets = run.training_datasets(args.mode)
    machines = sorted({m for d in datasets for m in with_training_clips(run, d, args.machine)})
    if not machines:
        home = clips.dataset_directory(run, args.mode)
        logger.warning("%s: no training clips in %s%s", name, home, other_names(home, name))
        return np.empty(0), None
    frames, bad = read_clips(run, args.mode, machines, ("train",), args.jobs)
    report_bad_clips(bad, run.model_directory, args.skip_bad)
    warn_of_missing_clips([(run, machines)], args.mode)
    # A joint checkpoint may be of one dataset only.
    frames = frames.select([run.class_name(clip) in system.section_names for clip in frames.clips])
    check_trainable(run, name, frames)
    system.fit_statistics(frames)
    scores = system.training_scores(system.score(frames))
    if not np.isfinite(scores).all():
        raise BadInput(
            f"{name}: the checkpoint gives the training clips scores that are not finite"
        )
    return scores, frames


def other_names(home: Path, name: str) -> str:
    """Return a hint where a dataset has other machine types than the one asked for; else ""."""
    if name == saved.ALL_MACHINES or not home.is_dir():
        return ""
    known = sorted(entry.name for entry in home.iterdir() if (entry / "train").is_dir())
    return nearest(name, known) if known else ""


def missing_parts(system: System, inferred: InferredSettings, frames: Frames | None) -> str:
    """Return what is missing to score a clip, in words; "" where nothing is."""
    missing = [] if frames else [system.missing_without_training_clips(system.settings)]
    if any(name.startswith("class_") for name in system.section_names):
        missing.append(f"the names of its {inferred.classes} sections")
    return ", and ".join(filter(None, missing))


def remarks(
    run: SystemSettings,
    inferred: InferredSettings,
    contents: CheckpointContents,
    scores: np.ndarray,
    sections: Sequence[str],
    names: Sequence[str],
) -> list[str]:
    """Return what a person should know of the thresholds and the classes of an imported model.

    Parameters
    ----------
    scores, sections : (n_clips,) of the training clips
    names : (classes,) the sections, in the order that was taken for the checkpoint's
    """
    kind, lines = keras_model.system_class(run.system), []
    if contents.distribution and kind.distribution_remark:
        lines.append(kind.distribution_remark)
    chance = kind.chance_score(run, inferred.classes) if inferred.classes else None
    if chance is not None:
        owner = np.asarray(sections)
        above = [s for s in sorted(set(sections)) if np.median(scores[owner == s]) > chance]
        if above:
            lines.append(
                f"the network takes training clips of {', '.join(above)} for others; are its "
                f"classes {', '.join(names)}?"
            )
    return lines


def command_line(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line; on misuse exit with 2 and the usage."""
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", nargs="+", type=Path, metavar="CHECKPOINT", help="its file or files"
    )
    parser.add_argument(
        "--system",
        required=True,
        metavar="NAME",
        choices=networks(),
        help=f"one of {', '.join(networks())}",
    )
    parser.add_argument(
        "--machine",
        action="append",
        default=[],
        metavar="TYPE",
        help="the machine type it was trained on; may be left out for a system that has one "
        "network for all",
    )
    mode = parser.add_mutually_exclusive_group()
    for flag, value in (("-d", "dev"), ("-e", "eval")):
        mode.add_argument(
            flag,
            f"--{value}",
            dest="mode",
            action="store_const",
            const=value,
            default="dev",
            help=f"for {value}_directory" + (" (default)" if value == "dev" else ""),
        )
    add_settings(parser)
    parser.add_argument(
        "--jobs", type=int, default=None, metavar="N", help="processes that extract features"
    )
    parser.add_argument("--force", action="store_true", help="put it in the place of a model")
    parser.add_argument("--skip-bad", action="store_true", help="go on without unusable clips")
    args = parser.parse_args(argv)
    if args.jobs is not None and args.jobs < 1:
        parser.error("argument --jobs: expected 1 or more")
    joint = system_classes()[args.system].joint
    if len(args.machine) != 1 and not joint:
        parser.error("--machine is needed once: the machine type it was trained on")
    odd = [machine for machine in args.machine if not re.fullmatch(r"\w[\w.-]*", machine)]
    if odd:
        parser.error(f"argument --machine: {odd[0]!r} is no machine type")
    if joint and args.machine == [saved.ALL_MACHINES]:
        args.machine = []
    return args


if __name__ == "__main__":
    sys.exit(run_script(main))
