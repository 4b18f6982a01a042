"""Make a trained model of a published checkpoint, for 01_test.py to score with.

python -m tools.import_checkpoint --system ae --machine fan model_fan.hdf5 score_distr_fan.pkl
python -m tools.import_checkpoint --system aegan_ad --machine fan fan.pth

Checkpoints are those of the releases: the official baselines' .hdf5, with score_distr_*.pkl for
their threshold and section_names_*.pkl; AEGAN-AD's .pth; the .pth.tar of AE-ASD (ae, vae, idnn) and
STgram-MFN; GRLNet's three .pth; Anomaly Transformer's .pth. What they lack is taken from the
training clips of the dataset, where it is present.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import keras_model
from checkpoints import inferred_settings
from checkpoints.assign import assign_variables
from checkpoints.files import read
from checkpoints.inferred_settings import Published, Tensors
from checkpoints.tensors import gather, in_order, settle
from core import settings
from core.command_line import add_settings
from core.errors import BadInput, ProblemCollector, nearest
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from core.script import run_script
from core.system_settings import system_classes
from data import clips
from data.dataset import list_clips, read_clips, report_bad_clips
from data.frames import Frames
from data.training_scores import TrainingScores
from engine.checks import check_sections, check_trainable
from engine.training import by_machine_type
from evaluation.thresholds import fit_thresholds
from models import saved

if TYPE_CHECKING:
    from models.base import System

OFFICIAL = ("ae", "mobilenet_v2")


class Given(NamedTuple):
    """What the files hold: tensors by name, and of official pickles the gamma distribution of the
    threshold (shape, loc, scale) and the section names."""

    tensors: Tensors
    distribution: tuple[float, float, float] | None
    sections: list[str] | None


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything, then build the network, complete it, and save it."""
    args = command_line(argv)
    unit = settings.read_config(args.config, args.set).for_system(args.system)
    name = saved.network_groups(unit, args.machine)[0][0]
    stem = free_place(args, unit, name)
    files = ", ".join(path.name for path in args.checkpoint)
    held = read_files(args.system, args.checkpoint)
    try:
        before = unit.for_machine(name)
        said = inferred_settings.read(args.system, held.tensors, before)
        param = settle(before, said)
    except ValueError as error:
        raise BadInput(f"{files}: not a checkpoint of {args.system} ({error})") from None
    names = class_names(args, param, said.classes, held.sections)
    system = build(param, name, said, names, files)
    setup_log(param.result_directory)
    logger.info("%s: %d tensors of %s, all used", name, len(held.tensors), files)
    for key in (*said.settings, *said.implied):
        now, then = param.value(key), before.value(key)
        if now != then:
            logger.info("%s: %s is %s, as in the checkpoint (else %s)", name, key, now, then)
    scores, frames = train_on(system, args, param, name)
    learnt_from = frames.clips if frames else ()
    sections = [param.class_name(clip) for clip in learnt_from]
    parts = by_machine_type(scores, frames) if frames else {name: TrainingScores(scores, [], [])}
    thresholds = {
        machine_type: fit_thresholds(
            part._replace(distribution=held.distribution), param, machine_type
        )
        for machine_type, part in parts.items()
    }
    lacks = lacking(system, said, frames)
    imported = {
        "from": [path.name for path in args.checkpoint],
        "keys": [*said.settings, *said.implied],
        "distribution": held.distribution,
        "lacks": lacks,
    }
    keras_model.save_model(stem, system, param, learnt_from, scores, thresholds, imported)
    if lacks:
        logger.warning("%s: 01_test.py cannot score with it: it lacks %s", name, lacks)
    elif not any(thresholds.values()):
        logger.warning("%s: no threshold, so 01_test.py leaves its decisions out", name)
    for remark in doubts(param, said, held, scores, sections, names):
        logger.warning("%s: %s", name, remark)
    logger.info("%s: model -> %s", name, stem)
    return 0


def free_place(args: argparse.Namespace, unit: dict[str, Any], name: str) -> Path:
    """Where the model goes; BadInput where there is one, or an official file that would clash."""
    stem = saved.model_stem(unit, name, args.mode)
    official = stem.with_name(stem.name + ".hdf5")
    if args.mode == "dev" and official.is_file():
        raise BadInput(
            f"{official}: 01_test.py takes this official model as it is; to import one, keep it "
            "elsewhere"
        )
    if stem.with_name(stem.name + ".json").is_file() and not args.force:
        raise BadInput(
            f"{stem}: there is a model already; --force puts the checkpoint in its place"
        )
    return stem


def read_files(system: str, paths: Sequence[Path]) -> Given:
    """Read all files, telling every problem of theirs together."""
    problems, trees, distribution, sections = ProblemCollector(), [], None, None
    for path in dict.fromkeys(paths):
        with problems:
            held = read(path)
            if isinstance(held, dict):
                trees.append((path, held))
                continue
            values = np.asarray(held).tolist() if isinstance(held, (list, np.ndarray)) else []
            if system not in OFFICIAL:
                raise BadInput(f"{path}: goes with the official baselines, not with {system}")
            if values and all(isinstance(value, str) for value in values):
                sections = section_names(path, values)
            else:
                distribution = gamma(path, values)
    problems.stop()
    if not trees:
        raise BadInput(f"{', '.join(map(str, paths))}: no checkpoint with tensors among them")
    return Given(gather(system, trees), distribution, sections)


def section_names(path: Path, values: list[str]) -> list[str]:
    """Checked; BadInput for names that are no sections."""
    odd = [value for value in values if not re.fullmatch(r"(section|id)_\d\d", value)]
    if odd or len(set(values)) < len(values):
        raise BadInput(f"{path}: expected names of sections, each once, such as section_00")
    return values


def gamma(path: Path, values: list[Any]) -> tuple[float, float, float]:
    """Checked; BadInput for what are not the three parameters of a gamma distribution."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    if len(values) == len(numbers) == 3 and all(map(math.isfinite, numbers)):
        shape, loc, scale = map(float, numbers)
        if shape > 0 and scale > 0:
            return shape, loc, scale
    raise BadInput(
        f"{path}: expected shape, loc and scale of a gamma distribution, or section names; found "
        f"{str(values)[:60]}"
    )


def with_training_clips(param: SystemSettings, mode: str, machines: Sequence[str]) -> list[str]:
    """Those of the machine types, or for none named of all, that have training clips."""
    home = clips.dataset_directory(param, mode)
    if not machines and home.is_dir():
        machines = sorted(entry.name for entry in home.iterdir() if not entry.name.startswith("."))
    return [machine for machine in machines if (home / machine / "train").is_dir()]


def class_names(
    args: argparse.Namespace,
    param: SystemSettings,
    classes: int,
    told: list[str] | None,
) -> list[str]:
    """The sections in the order in which the checkpoint has them; numbers where none is known.

    A classifier's are those that were told, else the sections of the training clips. STgram-MFN's
    release counts those of the development set first, machine types sorted whatever their case,
    then those of the evaluation set.

    Raises BadInput where their number is another.
    """
    if not classes:
        both = [sections_of(param, mode, args.machine) for mode in modes_of(param, args.mode)]
        return sorted({section for sections in both for section in sections})
    if told is not None:
        if len(told) != classes:
            raise BadInput(
                f"the checkpoint tells {classes} sections apart, but {len(told)} are named: "
                f"{', '.join(told)}"
            )
        return told
    modes = [(args.mode,)]
    choices = [args.machine]
    if param.joint:
        modes.append(("dev", "eval"))
        choices.append([])
    found: list[list[str]] = []
    for used in modes:
        for chosen in choices:
            named = [section for mode in used for section in sections_of(param, mode, chosen)]
            found.append(list(dict.fromkeys(named)))
    fitting = [names for names in found if len(names) == classes]
    if fitting or not any(found):
        return [*fitting, [f"class_{number:05}" for number in range(classes)]][0]
    longest = max(found, key=len)
    raise BadInput(
        f"the checkpoint tells {classes} sections apart, but the training clips have "
        f"{len(longest)}: {', '.join(longest)}"
        + ("; name section_names_*.pkl too" if param.system == "mobilenet_v2" else "")
    )


def modes_of(param: SystemSettings, mode: str) -> tuple[str, ...]:
    """The datasets whose training clips a system is trained on."""
    return ("dev", "eval") if param.trains_on_both_datasets() else (mode,)


def sections_of(param: SystemSettings, mode: str, machines: Sequence[str]) -> list[str]:
    """The sections of the training clips of machine types, with these if the system is joint."""
    named = []
    for machine in sorted(with_training_clips(param, mode, machines), key=str.casefold):
        listed, _ = list_clips(param, mode, machine, ("train",))
        named += sorted({param.class_name(clip) for clip in listed})
    return named


def build(
    param: SystemSettings,
    name: str,
    said: Published,
    names: list[str],
    files: str,
) -> System:
    """The network with the weights; BadInput naming every tensor that does not fit."""
    check_sections(param, name, names, names)
    try:
        system = keras_model.get_model(param, names)
        wanted = (
            system.checkpoint_variables_ae_asd() if said.ae_asd else system.checkpoint_variables()
        )
        tensors = in_order(param.system, said, names) if said.classes else said.tensors
        assign_variables(wanted, tensors)
    except ValueError as error:
        raise BadInput(
            f"{files}: not a checkpoint of {param.system} with these settings: {error}"
        ) from None
    return system


def train_on(
    system: System, args: argparse.Namespace, param: SystemSettings, name: str
) -> tuple[np.ndarray, Frames | None]:
    """Take what the checkpoint lacks from the training clips, and score them.

    Returns
    -------
    (n_clips,) scores, and the clips; none where there are none.
    """
    machines = with_training_clips(param, args.mode, args.machine)
    if not machines:
        home = clips.dataset_directory(param, args.mode)
        logger.warning("%s: no training clips in %s%s", name, home, other_names(home, name))
        return np.empty(0), None
    frames, bad = read_clips(param, args.mode, machines, ("train",), args.jobs)
    report_bad_clips(bad, param.model_directory, args.skip_bad)
    check_trainable(param, name, frames)
    system.fit_statistics(frames)
    scores = system.score(frames)
    if not np.isfinite(scores).all():
        raise BadInput(
            f"{name}: the checkpoint gives the training clips scores that are not finite"
        )
    return scores, frames


def other_names(home: Path, name: str) -> str:
    """A hint where a dataset has other machine types than the one asked for."""
    if name == saved.ALL_MACHINES or not home.is_dir():
        return ""
    known = sorted(entry.name for entry in home.iterdir() if (entry / "train").is_dir())
    return nearest(name, known) if known else ""


def lacking(system: System, said: Published, frames: Frames | None) -> str:
    """What is missing to score a clip, in words; empty: nothing."""
    lacks = [] if frames else [system.missing_without_training_clips(system.param)]
    if any(name.startswith("class_") for name in system.section_names):
        lacks.append(f"the names of the {said.classes} sections it tells apart")
    return ", and ".join(filter(None, lacks))


def doubts(
    param: SystemSettings,
    said: Published,
    held: Given,
    scores: np.ndarray,
    sections: Sequence[str],
    names: Sequence[str],
) -> list[str]:
    """What a person should know of the thresholds and the classes of an imported classifier.

    Parameters
    ----------
    scores, sections : (n_clips,) of the training clips
    names : (classes,) of the sections, as they were taken to lie in the checkpoint
    """
    found = []
    if held.distribution and param.system == "mobilenet_v2":
        found.append(
            "the official training fits this distribution to another score, see "
            "models/mobilenet_v2.py; without it thresholds are fitted to the training clips"
        )
    if said.classes and not param.value("network.gmm"):
        # Of a network that cannot tell its classes apart.
        others = said.classes - (not param.joint)
        chance, owner = math.log(max(1, others)), np.asarray(sections)
        above = [s for s in sorted(set(sections)) if np.median(scores[owner == s]) > chance]
        if above:
            found.append(
                f"the network takes training clips of {', '.join(above)} for others; are its "
                f"classes {', '.join(names)}?"
            )
    return found


def command_line(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line. Exits with 2 and the usage on misuse."""
    parser = argparse.ArgumentParser(
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
        choices=list(system_classes()),
        help=f"one of {', '.join(system_classes())}",
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
