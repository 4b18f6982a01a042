"""`baseline.yaml`, the config of the person and `--set`: what a run was asked to do."""

from __future__ import annotations

import argparse
import copy
import re
from pathlib import Path
from typing import Any

import yaml

from core.errors import BadInput, nearest
from core.schema import ANY, SCHEMA, SYSTEMS, Check

__version__ = "0.1.0"

HOME = Path(__file__).resolve().parents[1]  # of the scripts and `baseline.yaml`
LARGEST_CONFIG = 2**20  # bytes
MOST_VALUES = 10_000  # of a config


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
