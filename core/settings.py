"""The settings of a command: the shipped values, the person's files, and `--set`.

One rule of precedence, from weak to strong: the shipped values (the defaults of the settings
classes); `baseline.yaml`, as it is, edited or replaced; `--config`; `--set`. Within each of them
the more specific wins: shared < system < release < machine type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import BadInput, nearest
from core.log import logger
from core.run_settings import SharedSettings, Submission, SystemSettings, Values
from core.schema import check_named, check_tree
from core.system_settings import system_classes
from core.yaml_file import read_yaml, yaml_text

__version__ = "0.2.0.dev0"

HOME = Path(__file__).resolve().parents[1]  # of the scripts and `baseline.yaml`
BASELINE = HOME / "baseline.yaml"
# What a system's block may not have, because it counts for the whole run.
NOT_IN_BLOCKS = {
    *SharedSettings.model_fields.keys() - {"feature", "fit", "back_end", "decision_threshold"},
    "system",
} - {"threshold_scope", "threshold_fit"}

Assignment = tuple[str, Any]  # the dotted key and the value of a --set


@dataclass(frozen=True)
class Layer:
    """The settings of one origin, checked.

    name : "baseline.yaml", "--config my.yaml", "--set"
    shared : settings of no system
    blocks : system → its settings, with `machines`, and `releases` that may have machines too
    submission : what a challenge package says about its makers and systems
    """

    name: str
    shared: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    submission: dict[str, Any] = field(default_factory=dict)

    def parts(
        self, system: str, release: str | None, machine_type: str | None
    ) -> Iterator[dict[str, Any]]:
        """Yield the settings that apply to a system and a machine type, the more specific later."""
        block = self.blocks.get(system, {})
        release_block = block.get("releases", {}).get(release, {})
        yield self.shared
        yield {key: value for key, value in block.items() if key not in ("releases", "machines")}
        yield {key: value for key, value in release_block.items() if key != "machines"}
        yield release_block.get("machines", {}).get(machine_type, {})
        yield block.get("machines", {}).get(machine_type, {})

    def machine_types(self, system: str, release: str | None) -> set[str]:
        """Return the machine types that have settings of their own here."""
        block = self.blocks.get(system, {})
        release_block = block.get("releases", {}).get(release, {})
        return {*release_block.get("machines", {}), *block.get("machines", {})}


@dataclass(frozen=True)
class Config:
    """All layers of settings, from which those of a run are resolved.

    layers : the person's, from weak to strong; the shipped values lie below them
    contradictions : one line per --set that a later one of the same key overrides
    """

    layers: tuple[Layer, ...]
    contradictions: tuple[str, ...] = ()

    def shared(self) -> SharedSettings:
        """Return the settings of no system; `{system}` and `{seed}` stay in the directories."""
        values = _flat(SharedSettings().model_dump())
        for layer in self.layers:
            values |= _flat(layer.shared)
        return SharedSettings.model_validate(_nested(values))

    def submission(self) -> Submission:
        """Return what a challenge package says about its makers and its systems."""
        shipped = {name: kind.description.model_dump() for name, kind in system_classes().items()}
        values = _flat({**Submission().model_dump(), "systems": shipped})
        for layer in self.layers:
            values |= _flat(layer.submission)
        return Submission.model_validate(_nested(values))

    def runs(self, systems: Sequence[str], seeds: Sequence[int]) -> list[SystemSettings]:
        """Return the settings of every system and seed; without seeds, those of the settings.

        Raises BadInput where two of them would write into one directory.
        """
        problems, shared = [], self.shared()
        for asked, mark in ((systems, "{system}"), (seeds, "{seed}")):
            for key in ("model_directory", "result_directory"):
                directory = str(getattr(shared, key))
                if len(asked) > 1 and mark not in directory:
                    problems.append(
                        f"{key}: {directory} would be shared by {len(asked)} runs; "
                        f"put {mark} into it, as in {directory}/{mark}"
                    )
        if problems:
            raise BadInput("\n".join(problems))
        return [self.for_system(system, seed) for system in systems for seed in seeds or [None]]

    def log_contradictions(self) -> None:
        """Log which of several --set of one key counts."""
        for line in self.contradictions:
            logger.info("%s", line)

    def for_system(self, system: str, seed: int | None = None) -> SystemSettings:
        """Return the settings of one run: a system, or an ensemble by its name; and one seed."""
        return self.resolve(system, None, {} if seed is None else {("seed",): seed})

    def resolve(self, system: str, machine_type: str | None, over: Values) -> SystemSettings:
        """Return the settings of a system, or of one machine type; `over` wins over everything.

        `{system}` and `{seed}` in the directories are filled in.
        """
        kind = system_classes().get(system, SystemSettings)
        values, given = self._values(system, machine_type)
        values |= {("system",): system, **over}
        for key in (("model_directory",), ("result_directory",)):
            text = str(values[key]).replace("{system}", system)
            values[key] = Path(text.replace("{seed}", str(values["seed",])))
        run = kind.model_validate(_nested(values))
        return run.resolved(self, machine_type, over, given)

    def as_yaml(self, systems: Sequence[str], seeds: Sequence[int] = ()) -> str:
        """Return what runs of these systems resolve to, as a config that can be given back."""
        tree = self.shared().model_dump(mode="json")
        if len(seeds) == 1:
            tree["seed"] = seeds[0]
        for system in systems:
            common, _ = self._values(system, None)
            common = {key: value for key, value in common.items() if key[0] not in NOT_IN_BLOCKS}
            tree[system] = _nested(common)
            machines = {}
            for name in sorted(self._machine_types(system)):
                values, _ = self._values(system, name)
                machines[name] = _nested({k: values[k] for k in common if values[k] != common[k]})
            if any(machines.values()):
                tree[system]["machines"] = {name: own for name, own in machines.items() if own}
        tree["submission"] = self.submission().model_dump(mode="json")
        return yaml_text(tree)

    def _values(self, system: str, machine_type: str | None) -> tuple[Values, Values]:
        """Return all values, and those that the person gave with the names of their layers."""
        release = self._release(system)
        values, given = Values(), Values()
        for part in self._shipped(system).parts(system, release, machine_type):
            values |= _flat(part)
        shipped = dict(values)
        for layer in self.layers:
            in_layer = Values()
            for part in layer.parts(system, release, machine_type):
                in_layer |= _flat(part)
            for key, value in in_layer.items():
                # baseline.yaml shows every shipped value: only what was changed there is given.
                if layer.name != BASELINE.name or shipped.get(key) != value:
                    given[key] = layer.name
            values |= in_layer
        return values, given

    def _shipped(self, system: str) -> Layer:
        kind = system_classes().get(system, SystemSettings)
        block = kind(system=system).model_dump(exclude={"system"})
        shared = {key: block.pop(key) for key in list(block) if key in NOT_IN_BLOCKS}
        return Layer("shipped", shared, {system: {**block, "releases": kind.releases}})

    def _release(self, system: str) -> str | None:
        layers = (self._shipped(system), *self.layers)
        named = (layer.blocks.get(system, {}).get("release") for layer in layers)
        return next((name for name in reversed(list(named)) if name), None)

    def _machine_types(self, system: str) -> set[str]:
        layers, release = (self._shipped(system), *self.layers), self._release(system)
        return set().union(*(layer.machine_types(system, release) for layer in layers))


def read_config(path: Path | None = None, assignments: Sequence[Assignment] = ()) -> Config:
    """Read and check the settings of a run.

    Parameters
    ----------
    path : the person's config; None takes `baseline.yaml` only
    assignments : dotted key and value of every --set, in their order

    Raises
    ------
    BadInput : naming every unknown key (and its nearest known one) and every value of a wrong
        kind, with its whole path and what was expected.
    """
    layers, problems = [], []
    files = [(BASELINE, BASELINE.name)] if BASELINE.is_file() else []
    if path is not None and path.resolve() != BASELINE:
        files.append((path, f"--config {path}"))
    for file, name in files:
        layer, more = _check_layer(read_yaml(file), name, file.name)
        layers.append(layer)
        problems += more
    tree, contradictions = _assigned(assignments)
    layer, more = _check_layer(tree, "--set", "--set")
    if problems := problems + more:
        raise BadInput("\n".join(dict.fromkeys(problems)))
    return Config((*layers, layer), tuple(contradictions))


def check_value(system: str, key: str, value: Any, where: str) -> None:
    """Raise BadInput where a system's block does not accept this value of a dotted key."""
    _, problems = _check_block(system, _nested({tuple(key.split(".")): value}), where)
    if problems:
        raise BadInput("\n".join(problems))


def _assigned(assignments: Sequence[Assignment]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    contradictions = []
    for key, value in assignments:
        if key in values and values[key] != value:
            contradictions.append(f"--set {key}: {value}, not {values[key]}; the last one counts")
        values.pop(key, None)
        values[key] = value
    return _nested({tuple(key.split(".")): value for key, value in values.items()}), contradictions


def _check_layer(tree: Mapping[Any, Any], name: str, where: str) -> tuple[Layer, list[str]]:
    systems = system_classes()
    blocks, problems = {}, []
    for system in systems:
        if system in tree:
            blocks[system], more = _check_block(system, tree[system], where)
            problems += more
    submission, more = check_tree(tree.get("submission"), Submission, where, "submission")
    problems += more
    rest = {key: value for key, value in tree.items() if key not in (*systems, "submission")}
    shared, more = check_tree(rest, SharedSettings, where, also=(*systems, "submission"))
    return Layer(name, shared, blocks, submission), problems + more


def _check_block(system: str, tree: Any, where: str) -> tuple[dict[str, Any], list[str]]:
    kind = system_classes()[system]
    own, releases = _split_off("releases", tree) if kind.releases else (tree, None)
    also = ("releases",) if kind.releases else ()
    checked, problems = _check_with_machines(own, kind, where, system, NOT_IN_BLOCKS, also)
    if not isinstance(releases or {}, dict):
        return checked, [*problems, f"{where}: {system}.releases is no block of keys"]
    for name, block in (releases or {}).items():
        at = f"{system}.releases.{name}"
        if name not in kind.releases:
            problems.append(f"{where}: unknown key {at}{nearest(str(name), list(kind.releases))}")
            continue
        leave_out = {*NOT_IN_BLOCKS, "release"}
        values, more = _check_with_machines(block, kind, where, at, leave_out)
        checked.setdefault("releases", {})[name] = values
        problems += more
    return checked, problems


def _check_with_machines(
    tree: Any,
    kind: type[SystemSettings],
    where: str,
    at: str,
    leave_out: Collection[str],
    also: Collection[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """Check a block of settings that may have blocks of machine types, as `check_tree`."""
    own, machines = _split_off("machines", tree)
    checked, problems = check_tree(own, kind, where, at, leave_out, ("machines", *also))
    inner = {*leave_out, "release"}
    checked["machines"], more = check_named(machines, kind, where, f"{at}.machines", inner)
    return checked, problems + more


def _split_off(key: str, tree: Any) -> tuple[Any, Any]:
    """Return a block without a key, and the value of the key; None where there is none."""
    if not isinstance(tree, dict):
        return tree, None
    return {name: value for name, value in tree.items() if name != key}, tree.get(key)


def _flat(tree: Mapping[str, Any], at: tuple[str, ...] = ()) -> Values:
    values: Values = {}
    for name, value in tree.items():
        inner = isinstance(value, dict)
        values |= _flat(value, (*at, name)) if inner else {(*at, name): value}
    return values


def _nested(values: Values) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*blocks, name), value in values.items():
        inner = tree
        for block in blocks:
            # A copy: the block may be a value that the caller keeps. What is no block gives way.
            existing = inner.get(block)
            inner[block] = inner = dict(existing) if isinstance(existing, dict) else {}
        inner[name] = value
    return tree
