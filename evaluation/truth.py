"""The published ground truth of evaluation clips, in every form in which it was published.

2020                ground truth list: eval_data_list.csv
2021                ground_truth_data/ground_truth_<machine type>_section_<NN>_<domain>_test.csv
2022 and later      ground_truth_data/ and ground_truth_domain/, with the same names in both, and
                    from 2023 on ground_truth_attributes/
2020 to 2025        eval_data_list_<year>.csv, as the common baseline since 2023 has them

Where a folder has both forms the first counts: it made the ranking.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

from data.clip_names import ClipName, clip_key, parse_name
from evaluation import years
from evaluation.clip_values import compare_clips, read_decisions, read_folder
from evaluation.metrics import DOMAINS, EvaluationError, SectionKey, raise_if_any

LISTS = "eval_data_list*.csv"
DATA, DOMAIN, ATTRIBUTES = "ground_truth_data", "ground_truth_domain", "ground_truth_attributes"


@dataclass(frozen=True)
class Truth:
    """The ground truth of some sections.

    sections : section → `clip_key` → section, domain and label
    labelled : section → `clip_key` of the clip's name with its label → its `clip_key` in sections
    warnings : one line each
    """

    path: Path
    sections: dict[SectionKey, dict[str, ClipName]]
    labelled: dict[SectionKey, dict[str, str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __contains__(self, key: SectionKey) -> bool:
        """Return whether the truth has a section."""
        return key in self.sections

    @property
    def definition(self) -> years.Definition:
        """Return the definition of the year that the names of sections and clips tell."""
        return years.by_names(_endings(self.sections))

    def matched(self, key: SectionKey, clips: Mapping) -> dict:
        """Return values by `clip_key`, a name with its label replaced by the truth's own name."""
        own = self.labelled.get(key, {})
        if any(name in self.sections.get(key, ()) for name in clips):
            return dict(clips)
        return {own.get(name, name): value for name, value in clips.items()}


def read_ground_truth(
    path: str | Path, scored: Mapping[SectionKey, Collection[str]] | None = None
) -> Truth:
    """Return the ground truth in a file or a folder.

    Parameters
    ----------
    path : a list, a file of one section, a folder with `ground_truth_data/`, that folder itself, or
        a folder with lists; what is meant may also lie one folder deeper
    scored : section → `clip_key` of its clips; of several lists that with most of them is taken

    Raises EvaluationError with every problem.
    """
    path = Path(path)
    if path.is_file():
        if path.name.startswith("ground_truth_"):
            return _read_tables(path, path.parent, path.name)
        return _read_list(path)
    below = sorted(one for one in path.glob("*") if one.is_dir()) if path.is_dir() else []
    for folder in (path, *below):
        if (folder / DATA).is_dir():
            return _read_tables(folder, folder / DATA)
    if any(path.glob("ground_truth_*.csv")):
        return _read_tables(path, path)
    lists = sorted(one for folder in (path, *below) for one in folder.glob(LISTS))
    if lists:
        return _choose([_read_list(one) for one in lists], scored)
    raise EvaluationError(f"{path / DATA}: no such directory, and no {LISTS} in {path}")


def _choose(lists: list[Truth], scored: Mapping[SectionKey, Collection[str]] | None) -> Truth:
    def shared(truth: Truth) -> int:
        return sum(
            len(truth.matched(key, dict.fromkeys(clips)).keys() & truth.sections.get(key, {}))
            for key, clips in (scored or {}).items()
        )

    counts = sorted(((shared(one), one) for one in lists), key=lambda pair: pair[0])
    if len(lists) > 1 and counts[-1][0] == counts[-2][0]:
        names = ", ".join(str(one.path) for one in lists)
        raise EvaluationError(
            f"several lists, and the clips do not tell which; name one of {names}"
        )
    return counts[-1][1]


def _read_tables(path: Path, label_folder: Path, only: str = "") -> Truth:
    """Return the truth in one table per section: labels, and beside them domains and names.

    only : the name of the only table to read; "" reads all
    """
    problems: list[str] = []
    labels = read_folder(
        label_folder, "ground_truth", read_decisions, problems, pattern=escape(only)
    )
    domain_folder, domains = label_folder.parent / DOMAIN, {}
    if domain_folder.is_dir():
        domains = read_folder(domain_folder, "ground_truth", read_decisions, problems, labels)
    raise_if_any(problems or ([] if labels else [f"{label_folder}: no ground_truth_*.csv in it"]))
    truth, labelled = {}, {}
    for key, (clips, files) in labels.items():
        named = {name: parse_name(name).domain for name in clips}
        if key in domains:
            known = domains[key].clips
            problems += compare_clips(key, "the labels", clips, "the domains", known)
            named = {name: DOMAINS[number] for name, number in known.items()}
        elif None in named.values() and not key.section.startswith("id_"):
            problems.append(f"{key}: no file in {domain_folder}")
        truth[key] = {name: ClipName(key.section, named.get(name), clips[name]) for name in clips}
        labelled[key] = {}
        for name in (f"ground_truth_{key.machine_type}_{file.ending}.csv" for file in files):
            labelled[key] |= _labelled_names(label_folder.parent / ATTRIBUTES / name)
    raise_if_any(problems)
    return Truth(path, truth, labelled)


def _labelled_names(path: Path) -> dict[str, str]:
    """Return the names with labels of a section's clips; {} where there is no such table."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}  # only needed for scores whose clips have such names
    return {
        clip_key(f"{name.removesuffix('.wav')}.wav"): clip_key(row[0])
        for row in rows
        for name in row[1:]
    }


def _read_list(path: Path) -> Truth:
    """Return the truth in a list of machine types, each followed by its clips.

    A row is the machine type, or a clip, its name with its label, and in 2020 the label.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path}: cannot be read as a CSV file in UTF-8: {error}") from error
    problems: list[str] = []
    machine_type, sections, labelled = "", {}, {}
    for where, row in rows:
        if len(row) == 1 and not row[0].endswith(".wav"):
            machine_type = row[0].strip()
            continue
        clip = _listed_clip(row)
        if clip is None or not machine_type:
            problems.append(
                f"{where}: {','.join(row)!r}; expected a machine type, or below one a clip and its "
                "name with its label, as in section_03_0000.wav,"
                "section_03_source_test_normal_0000.wav"
            )
            continue
        key, name = SectionKey(machine_type, clip.section), clip_key(row[0])
        if name in sections.setdefault(key, {}):
            problems.append(f"{where}: {row[0]} a second time")
        sections[key][name] = clip
        labelled.setdefault(key, {})[clip_key(row[1])] = name
    raise_if_any(problems or ([] if sections else [f"{path}: has no clip"]))
    return Truth(path, sections, labelled, _contradictions(path, sections))


def _listed_clip(row: list[str]) -> ClipName | None:
    if len(row) not in (2, 3):
        return None
    clip, known = parse_name(row[0]), parse_name(row[1])
    if known.section is None or known.section != clip.section or known.label is None:
        return None
    if len(row) == 3 and row[2].strip() != str(known.label):
        return None
    return known


def _contradictions(path: Path, sections: Mapping[SectionKey, Mapping]) -> tuple[str, ...]:
    definition = years.by_names(_endings(sections))
    concerned = [
        name
        for name in definition.list_contradicts
        if any(key.machine_type == name for key in sections)
    ]
    if not concerned:
        return ()
    return (
        f"{path}: for {' and '.join(concerned)} the published list contradicts the labels and "
        f"domains that made the ranking of {definition.title}; take {DATA}/ and {DOMAIN}/ of its "
        "evaluator",
    )


def _endings(sections: Mapping[SectionKey, Mapping[str, ClipName]]) -> set[str]:
    """Return what the names of the sections' files would end in, by the names of their clips."""
    return {
        "_".join(filter(None, (key.section, parse_name(name).domain, "test")))
        for key, clips in sections.items()
        for name in clips
    }
