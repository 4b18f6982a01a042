"""The command line and `baseline.yaml`: what a run was asked to do.

Imports nothing heavy, so that `--help` and every misspelling answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import difflib
import errno
import logging
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from schema import ANY, SCHEMA, SYSTEMS, Check

__version__ = "0.1.0"

HOME = Path(__file__).resolve().parent
LARGEST_CONFIG = 2**20  # bytes
MOST_VALUES = 10_000  # of a config
SECONDS_TO_HEED = 0.5  # a signal


class BadInput(Exception):
    """Something the person can mend; the message says what is wrong, where, and what to do."""


class Together:
    """Collects the BadInput of several steps, so that a person is told everything at once.

    `with problems: step()` goes on after a BadInput; `problems.stop()` raises them as one. With
    tell, each is a warning at once too, for steps that take long.
    """

    def __init__(self, tell: bool = False) -> None:
        self.messages: list[str] = []
        self.tell = tell

    def __enter__(self) -> Together:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, BadInput):
            return False
        self.messages.append(str(error))
        if self.tell:
            logging.getLogger("baseline").warning("%s", error)
        return True

    def stop(self, steps: int | None = None) -> None:
        """Raise BadInput where anything was collected; of so many steps, if they are counted."""
        if self.messages:
            told = (
                [f"{len(self.messages)} of {steps} failed, the others are done:"] if steps else []
            )
            raise BadInput("\n".join(dict.fromkeys([*told, *self.messages])))


def command_line_chk(
    description: str,
    argv: Sequence[str] | None = None,
    add: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """Parse the command line that `00_train.py` and `01_test.py` share; `add` gives it more.

    Returns
    -------
    Namespace with `mode` ("dev" or "eval"), `config` (Path), `system` (list of names),
    `machine` (list of names, empty: all), `set` (list of (key, value)), `seed` (list of int, empty:
    the config's), `jobs` (int or None), `cluster` (text or None), `gpus_per_job` (float or None),
    `force` (bool), `skip_bad` (bool).

    Exits with 2 and the usage on misuse.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "-d",
        "--dev",
        dest="mode",
        action="store_const",
        const="dev",
        help="work on dev_directory, the development dataset",
    )
    mode.add_argument(
        "-e",
        "--eval",
        dest="mode",
        action="store_const",
        const="eval",
        help="work on eval_directory, the evaluation dataset",
    )
    add_settings(parser)
    parser.add_argument(
        "--system",
        nargs="+",
        default=[],
        metavar="NAME",
        choices=[*SYSTEMS, "all"],
        help=f"what to run: {', '.join(SYSTEMS)}, or all (default: ae)",
    )
    parser.add_argument(
        "--machine",
        nargs="+",
        default=[],
        metavar="NAME",
        help="machine types to work on (default: every folder of the dataset)",
    )
    parser.add_argument(
        "--seed",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="seeds of this run (default: the config's)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=None,
        metavar="N",
        help="trainings or tests at once, each with its share of the cores, and processes that "
        "extract features (default: one after another; one process a core)",
    )
    parser.add_argument(
        "--cluster",
        type=cluster_address,
        metavar="ADDRESS",
        help="run on Ray: auto, ray://host:port, or local:N for a cluster made on this machine",
    )
    parser.add_argument(
        "--gpus-per-job",
        type=float,
        metavar="X",
        help="GPUs, or a fraction of one, for each training or test on the cluster (default: none)",
    )
    parser.add_argument(
        "--force", action="store_true", help="train or score again what exists already"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without unusable clips and list them in bad_clips.csv",
    )
    if add:
        add(parser)
    args = parser.parse_args(argv)
    if "all" in args.system:
        args.system = list(SYSTEMS)
    members = [name for ensemble in getattr(args, "ensemble", ()) for name in ensemble.weights]
    args.system = list(dict.fromkeys([*args.system, *members])) or ["ae"]
    args.seed = list(dict.fromkeys(args.seed))
    if args.jobs is not None and args.jobs < 1:
        parser.error("argument --jobs: expected 1 or more")
    if min(args.seed, default=0) < 0:
        parser.error("argument --seed: expected 0 or more")
    if args.gpus_per_job is not None:
        check_gpus(parser, args)
    return args


def check_gpus(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with 2 where --gpus-per-job makes no sense."""
    share = args.gpus_per_job
    if not args.cluster:
        parser.error("argument --gpus-per-job: goes with --cluster")
    if not (0 < share < 1 or (share >= 1 and share.is_integer())):
        parser.error("argument --gpus-per-job: expected a fraction of one, or a whole number")


def cluster_address(text: str) -> str:
    """Check what --cluster is given; raises argparse.ArgumentTypeError."""
    if text == "auto" or re.fullmatch(r"ray://[^/:]+:\d+|local:[1-9]\d*", text):
        return text
    raise argparse.ArgumentTypeError(
        f"'{text}' is not auto, ray://host:port or local:N with N of 1 or more"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what every script takes: --version, --config and --set."""
    parser.add_argument("-v", "--version", action="version", version=__version__)
    parser.add_argument(
        "--config",
        type=Path,
        default=HOME / "baseline.yaml",
        metavar="FILE",
        help="settings; what a file leaves out is taken from baseline.yaml",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        type=assignment,
        default=[],
        metavar="KEY=VALUE",
        help="settings for this run: --set fit.epochs=10",
    )


def assignment(text: str) -> tuple[str, Any]:
    """(dotted key, value) of "key.path=value"; raises argparse.ArgumentTypeError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form key.path=value")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"'{value}' of {key} cannot be read") from None


def yaml_load(path: Path, assignments: list[tuple[str, Any]] = ()) -> dict[str, Any]:
    """Read and check the settings of a run.

    Parameters
    ----------
    path : the config; keys that it leaves out come from the `baseline.yaml` beside this module.
    assignments : (dotted key, value) pairs of `--set`; they win over every block of the file.

    Returns
    -------
    The settings as in the file, with the assignments under "--set", and under "--given" what the
    file itself says, unless it is `baseline.yaml`. `for_system` resolves them.

    Raises
    ------
    BadInput : naming every unknown key (and its nearest known one), every value of a wrong kind
        with what was expected, and every key that is missing.
    """
    given = _read(path)
    problems = _problems(given, SCHEMA, path.name)
    param, own = given, {}
    if path.resolve() != HOME / "baseline.yaml":
        param, own = _merge(_read(HOME / "baseline.yaml"), given), given
        problems += _problems(param, SCHEMA, "baseline.yaml") if not problems else []
    for key, value in assignments:
        problems += _problems(_nested(key, value), SCHEMA, "--set")
    problems += [
        f"{path.name}: {key} is missing; expected {check.expected}"
        for key, check in _missing(param)
    ]
    if problems:
        raise BadInput("\n".join(dict.fromkeys(problems)))
    param = _converted(param, SCHEMA)
    param["--set"] = [_converted(_nested(key, value), SCHEMA) for key, value in assignments]
    param["--given"] = _converted(own, SCHEMA)
    return param


def shared(param: dict[str, Any]) -> dict[str, Any]:
    """The settings of no system: the shared keys, then `--set`; directories as they are written."""
    resolved = {key: value for key, value in param.items() if key not in (*SYSTEMS, "--set")}
    for tree in param["--set"]:
        resolved = _merge(resolved, {k: v for k, v in tree.items() if k not in SYSTEMS})
    return resolved


def for_system(param: dict[str, Any], system: str, seed: int | None = None) -> dict[str, Any]:
    """Resolve the settings of one system: shared keys, then its block, then `--set`.

    A block may hold `releases`, one of which `release` names and whose keys come over the block's,
    and in both of them `machines`, machine type → keys; see `for_machine`. `{system}` and `{seed}`
    in the directories are filled in. Under "given" stands what of it all the person gave, in a
    config of their own or by `--set`.
    """
    asked = _asked(param, system)
    release = _merge(param.get(system) or {}, asked).get("release")
    resolved = _resolved(param, system, asked, release)
    resolved["given"] = _resolved(param["--given"], system, asked, release)
    resolved["system"] = system
    if seed is not None:
        resolved["seed"] = seed
    for key in ("model_directory", "result_directory"):
        resolved[key] = resolved[key].replace("{system}", system)
        resolved[key] = resolved[key].replace("{seed}", str(resolved["seed"]))
    return resolved


def _asked(param: dict[str, Any], system: str) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for tree in param["--set"]:
        asked = _merge(asked, {k: v for k, v in tree.items() if k not in SYSTEMS})
    for tree in param["--set"]:
        asked = _merge(asked, tree.get(system) or {})
    return asked


def _resolved(
    param: dict[str, Any], system: str, asked: dict[str, Any], release_name: str | None
) -> dict[str, Any]:
    shared = {
        key: value for key, value in param.items() if key not in (*SYSTEMS, "--set", "--given")
    }
    block = param.get(system) or {}
    release = _merge(block, asked).get("releases", {}).get(release_name, {})
    resolved = copy.deepcopy(shared)
    for tree in (block, release, asked):
        resolved = _merge(resolved, _without_choices(tree))
    # What a machine type's block may hold and --set gives, comes over what the config has for it.
    over = {
        key: value
        for key, value in _without_choices(asked).items()
        if key in SCHEMA.get(system, {})
    }
    machines = _merge(release.get("machines", {}), block.get("machines", {}))
    machines = {name: _merge(tree, over) for name, tree in machines.items()}
    resolved["machines"] = _merge(machines, asked.get("machines", {}))
    return resolved


def for_machine(param: dict[str, Any], machine_type: str) -> dict[str, Any]:
    """The settings of one machine type, from those of a system; `--set` wins here too."""
    merged = {**_merge(param, param["machines"].get(machine_type, {})), "machines": {}}
    if "given" in param:
        merged["given"] = for_machine(param["given"], machine_type)
    return merged


def look_up(tree: dict[str, Any], key: str) -> Any:
    """The value of a dotted key in nested settings; None where there is none."""
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def given(param: dict[str, Any], key: str) -> bool:
    """Whether a setting of `for_system` has its value from a config of the person's, or --set."""
    value = look_up(param["given"], key)
    return value is not None and value == look_up(param, key)


def check(system: str, key: str, value: Any, where: str) -> None:
    """Raise BadInput where a system's block may not hold this value for a dotted key."""
    problems = _problems(_nested(key, value), SCHEMA[system], where)
    if problems:
        raise BadInput("\n".join(problems))


def put(param: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The settings with another value for a dotted key."""
    return _merge(param, _nested(key, value))


def units(args: argparse.Namespace, param: dict[str, Any]) -> list[dict[str, Any]]:
    """The resolved settings of every system and seed of a run.

    Raises BadInput where two of them would write into one directory.
    """
    problems = []
    for asked, mark in ((args.system, "{system}"), (args.seed, "{seed}")):
        for key in ("model_directory", "result_directory"):
            directory = shared(param)[key]
            if len(asked) > 1 and mark not in directory:
                problems.append(
                    f"{key}: {directory} would be shared by {len(asked)} runs; "
                    f"put {mark} into it, as in {directory}/{mark}"
                )
    if problems:
        raise BadInput("\n".join(problems))
    return [
        for_system(param, system, seed) for system in args.system for seed in args.seed or [None]
    ]


def guarded(main: Callable[[], int]) -> int:
    """Run a script's main, and say what went wrong in one message, without a traceback.

    Exit status: 1 for BadInput, and where a file, a disk or the memory fails; 130 for Ctrl-C; 143
    for SIGTERM.
    """
    try:
        with _signals_raised():
            return main()
    except BadInput as error:
        return _failed(str(error))
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        advice = _ADVICE.get(error.errno, "see to it, and run the same command again")
        return _failed(f"{where}{error.strerror}; {advice}")
    except Exception as error:
        # TensorFlow has a class of its own, and is not imported here.
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        said = str(error).partition("\n")[0]
        return _failed(f"out of memory ({said}); lower fit.batch_size, or train on fewer clips")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except SystemExit as error:
        if error.code == 128 + signal.SIGTERM:
            print("\nterminated; the same command goes on from here", file=sys.stderr)
        raise


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt and SystemExit, again until they are heeded.

    Python drops what is raised in a destructor or a callback, and libraries swallow it as they are
    imported. So every half second it is raised anew, unless it is on its way out already.
    """
    sent: list[int] = []

    def raised(number: int, frame: object) -> None:
        sent.append(number)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_HEED, SECONDS_TO_HEED)
        raise _of_signal(number)

    def again(number: int, frame: object) -> None:
        error = sys.exc_info()[1]  # what is handled now, such as by the clean-up of a `with`
        while error is not None:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                return
            error = error.__context__
        raise _of_signal(sent[-1])

    def notice(held: Any) -> None:
        if not isinstance(held.exc_value, (KeyboardInterrupt, SystemExit)):
            hook(held)

    wanted = {signal.SIGTERM: raised}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else nobody is to hear it
        wanted[signal.SIGINT] = raised
    if hasattr(signal, "setitimer"):
        wanted[signal.SIGALRM] = again
    hook, sys.unraisablehook = sys.unraisablehook, notice
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def _of_signal(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


_ADVICE = {
    errno.ENOSPC: "free some space and run the same command again: what is done is kept",
    errno.EDQUOT: "free some space and run the same command again: what is done is kept",
    errno.EROFS: "give directories in the config that can be written",
    errno.EACCES: "give directories in the config that can be read and written",
    errno.EEXIST: "a directory is to be there: remove it, or give another one in the config",
    errno.ENOTDIR: "a directory is to be there: remove it, or give another one in the config",
    errno.ENAMETOOLONG: "give it a shorter name, or a directory nearer to the root",
    errno.EPIPE: "what read the output has ended; the same command goes on from here",
    errno.ENOENT: "it has gone, or never was; run the same command again when it is there",
}


def _failed(message: str) -> int:
    log = logging.getLogger("baseline")
    with contextlib.suppress(OSError):  # the log may lie on the disk that is full
        if log.handlers:
            log.error("%s", message)
    print(f"error: {message}", file=sys.stderr)
    return 1


def nearest(name: str, known: list[str]) -> str:
    """A hint for a misspelt name: ", did you mean X?", or the known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_CONFIG + 1)
        if len(text) > LARGEST_CONFIG:
            raise ValueError(f"larger than {LARGEST_CONFIG} bytes")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _count_nodes(node)
        tree = loader.construct_document(node) if node else None
    except OSError as error:
        raise BadInput(f"{path}: cannot read the config ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a YAML file ({re.sub(chr(10), ' ', str(error))})") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: expected keys and values, as in baseline.yaml")
    return tree


def _count_nodes(node: yaml.Node | None, within: tuple[yaml.Node, ...] = ()) -> int:
    """How many values there are, each as often as an alias repeats it; ValueError for too many.

    A few lines of aliases of aliases would fill the memory.
    """
    if node in within:
        raise ValueError("an alias within what it stands for")
    count = 1
    for held in getattr(node, "value", ()) if isinstance(node, yaml.CollectionNode) else ():
        for inner in held if isinstance(held, tuple) else (held,):
            count += _count_nodes(inner, (*within, node))
            if count > MOST_VALUES:
                raise ValueError(f"more than {MOST_VALUES} values, counting what aliases repeat")
    return count


def _problems(tree: dict[Any, Any], schema: dict[str, Any], where: str, at: str = "") -> list[str]:
    found = []
    for name, value in tree.items():
        key = f"{at}{name}"
        known = schema.get(name, schema.get(ANY))
        if known is None:
            found.append(f"{where}: unknown key {key}{nearest(str(name), list(schema))}")
        elif isinstance(known, Check):
            try:
                known.convert(value)
            except (ValueError, TypeError, OverflowError):
                found.append(f"{where}: {key} is {value!r}; expected {known.expected}")
        elif isinstance(value, dict):
            found += _problems(value, known, where, f"{key}.")
        elif value is not None:
            found.append(f"{where}: {key} is {value!r}; expected a block of keys")
    return found


def _converted(tree: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    converted = {}
    for name, value in tree.items():
        known = schema.get(name, schema.get(ANY))
        converted[name] = (
            known.convert(value) if isinstance(known, Check) else _converted(value or {}, known)
        )
    return converted


def _missing(param: dict[str, Any]) -> list[tuple[str, Check]]:
    missing = [
        (key, check)
        for key, check in SCHEMA.items()
        if isinstance(check, Check) and key not in param
    ]
    for block in ("feature", "fit"):
        held = param.get(block)
        missing += [
            (f"{block}.{key}", check)
            for key, check in SCHEMA[block].items()
            if not isinstance(held, dict) or key not in held
        ]
    return missing


def _nested(key: str, value: Any) -> dict[str, Any]:
    tree = value
    for name in reversed(key.split(".")):
        tree = {name: tree}
    return tree


def _without_choices(block: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in block.items() if key not in ("release", "releases", "machines")
    }


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, dict) and (isinstance(value, dict) or value is None):
            merged[name] = _merge(below, value or {})
        else:
            merged[name] = value
    return merged
