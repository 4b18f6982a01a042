"""The layout of the demo data per challenge year: paths of clips, attributes, ground truth."""

from __future__ import annotations

import math
from typing import NamedTuple

from tools.demo_sounds import DemoClip, attribute_pairs, random_generator


class Layout(NamedTuple):
    """The machine types, sections and properties of one year's dataset.

    machines : the machine types that are made if the user names none
    split_machines : dev_data and eval_data have different machine types, not different sections
    without_attribute : one machine type of each dataset shows no attribute in its names
    supplemental : each machine type has a folder of clips of the machine without factory noise
    """

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
# One clip of a section and split: domain, label, index (see DemoClip).
ClipKey = tuple[str, str, int]
NO_ATTRIBUTE = "noAttribute"
Rows = list[tuple[object, ...]]  # of a CSV file


class Section(NamedTuple):
    """One section of one machine type.

    root : dev_data or eval_data
    named : whether the names of its clips show the attributes
    attributes : speeds of the source domain, as of `tools.demo_sounds.render`
    """

    year: int
    root: str
    machine: str
    section: str
    named: bool
    attributes: int

    def attributes_of(self, domain: str, index: int) -> tuple[tuple[str, str], ...]:
        """Return the attributes of a clip and their values."""
        return attribute_pairs(self.machine, self.section, domain, index, self.attributes)


class Plan(NamedTuple):
    """All files of a dataset: its clips, and its CSV files as path → rows."""

    clips: list[DemoClip]
    tables: dict[str, Rows]


def make_plan(options: dict[str, object]) -> Plan:
    """Return the files of the dataset that options of tools.demo_data describe."""
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
                attributes = options.get("attributes", 0)
                at = Section(year, root, machine, section, named, attributes)
                _plan_section(plan, options, at)
    return plan


def _plan_section(plan: Plan, options: dict[str, object], at: Section) -> None:
    """Add the files of a section to a plan."""
    layout = LAYOUTS[at.year]
    train = _train_keys(options["clips"], layout.domains)
    test = _test_keys(options, at)
    folder = f"{at.root}/{at.machine}"
    clips = [
        DemoClip(f"{folder}/{_place(at, split, key, number)}", at.machine, at.section, split, *key)
        for split, keys in (("train", train), ("test", test))
        for number, key in enumerate(keys)
    ]
    plan.clips.extend(clips)
    if layout.supplemental:
        for index in range(max(2, options["clips"] // 10)):
            value = _attribute_in_name(at, "source", index)
            name = f"section_{at.section}_machine_source_{index:04d}_{value}.wav"
            key = (at.machine, at.section, "supplemental", "source", "normal", index)
            plan.clips.append(DemoClip(f"{folder}/supplemental/{name}", *key))
    if at.year >= 2022:
        listed = [c for c in clips if c.split == "train" or at.root == "dev_data"]
        plan.tables[f"{folder}/attributes_{at.section}.csv"] = _attribute_table(at, listed)
    if at.root == "eval_data":
        plan.tables.update(_ground_truth(at.year, [c for c in clips if c.split == "test"]))


def _train_keys(clips: int, domains: tuple[str, ...]) -> list[ClipKey]:
    """Return the training clips of a section: a tenth, at least one, is in the target domain."""
    target = max(1, clips // 10) if "target" in domains else 0
    source = [("source", "normal", index) for index in range(clips - target)]
    return source + [("target", "normal", index) for index in range(target)]


def _test_keys(options: dict[str, object], at: Section) -> list[ClipKey]:
    """Return the test clips of a section, in the order of their hidden numbers."""
    # Shuffled in blocks of one clip per domain and label. So the order shows no label, a list of
    # any length is as balanced as possible, and a longer list begins with the shorter one.
    kinds = [(domain, label) for domain in LAYOUTS[at.year].domains for label in LABELS]
    keys = []
    for block in range(math.ceil(options["test_clips"] / len(kinds))):
        rng = random_generator(options["seed"], at.machine, at.section, "order", block)
        keys += [(*kinds[k], block) for k in rng.permutation(len(kinds))]
    return keys[: options["test_clips"]]


def _place(at: Section, split: str, key: ClipKey, number: int) -> str:
    """Return the path of a clip below the folder of its machine type.

    number : position among the clips of its split, for names that hide the label
    """
    domain, label, index = key
    hidden = at.root == "eval_data" and split == "test"
    if at.year == 2020:
        name = f"id_{at.section}_{number if hidden else index:08d}.wav"
        return f"{split}/{name}" if hidden else f"{split}/{label}_{name}"
    if at.year == 2021 and split == "test":
        folder = f"{domain}_test"
        rest = f"{_hidden_number(key):04d}" if hidden else f"{label}_{index:04d}"
        return f"{folder}/section_{at.section}_{folder}_{rest}.wav"
    if hidden:
        # The challenge dropped the word "test" from these names in 2023.
        word = "test_" if at.year == 2022 else ""
        return f"{split}/section_{at.section}_{word}{number:04d}.wav"
    value = _attribute_in_name(at, domain, index)
    return f"{split}/section_{at.section}_{domain}_{split}_{label}_{index:04d}_{value}.wav"


def _attribute_in_name(at: Section, domain: str, index: int) -> str:
    pairs = at.attributes_of(domain, index)
    return "_".join(word for pair in pairs for word in pair) if at.named else NO_ATTRIBUTE


def _hidden_number(key: ClipKey) -> int:
    """Return the number of a clip that hides its label, within its section and domain."""
    # The normal clip comes first in every other pair, so that even or odd shows no label.
    _, label, index = key
    return 2 * index + int((label == "anomaly") != bool(index % 2))


def _attribute_table(at: Section, clips: list[DemoClip]) -> Rows:
    """Return the rows of a section's attribute CSV file."""
    columns = range(1, 1 + len(at.attributes_of("source", 0)))
    rows: Rows = [("file_name", *(f"d{number}{kind}" for number in columns for kind in "pv"))]
    for clip in clips:
        pairs = at.attributes_of(clip.domain, clip.index)
        words = [word if at.named else "" for pair in pairs for word in pair]
        rows.append((clip.path.partition("/")[2], *words))
    return rows


def _ground_truth(year: int, clips: list[DemoClip]) -> dict[str, Rows]:
    """Return the ground truth of evaluation clips, as the official evaluator reads it.

    path → rows of a CSV file, one per clip: its name, and 1 for an anomaly (or, in the files of
    domains, for the target domain)
    """
    word = "id" if year == 2020 else "section"
    tables: dict[str, Rows] = {}
    for clip in sorted(clips):
        split = f"{clip.domain}_test" if year == 2021 else "test"
        table = f"ground_truth_{clip.machine}_{word}_{clip.section}_{split}.csv"
        name = clip.path.rpartition("/")[2]
        values = {"data": clip.label == "anomaly"}
        if year >= 2022:
            values["domain"] = clip.domain == "target"
        for kind, value in values.items():
            path = f"ground_truth/ground_truth_{kind}/{table}"
            tables.setdefault(path, []).append((name, int(value)))
    return tables
