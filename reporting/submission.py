"""The package of a challenge submission: what goes into it, checked before anything is written.

In the zip each system has a folder task2/Author_Institute_task2_N with the anomaly scores and
decisions of every evaluation section and <label>.meta.yaml, the form of the challenge's own
template.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from core.errors import BadInput, ProblemCollector, nearest
from core.files import atomic_write
from core.run_settings import SystemSettings
from core.settings import Config
from core.system_settings import system_classes
from data import clips
from data.dataset import list_clips
from engine import ensemble, results
from evaluation.csv_files import compare_clips, evaluate_directory, read_decisions, read_scores
from evaluation.metrics import EvaluationError, SectionKey, arithmetic_mean, harmonic_mean
from evaluation.result_csv import read_result_csv
from models import saved

LONGEST_ABBREVIATION = 10
NEEDED = ("name", "abbreviation", "machine_learning_method", "aggregation_method")
# In the order of the template; the description of a system comes over that of all.
DESCRIPTION = (
    *("input_sampling_rate", "data_augmentation", "front_end", "acoustic_features"),
    *("embeddings", "machine_learning_method", "aggregation_method"),
    *("domain_adaptation_method", "domain_generalization_method"),
    *("ensemble_method_subsystem_count", "decision_making"),
    *("external_data_usage", "development_data_usage"),
)
AUTHOR = {"firstname": True, "lastname": True, "email": True, "corresponding": False}
AFFILIATION = {"institution": True, "department": False, "location": True}

_LABEL_PART = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def stem(config: Config) -> str:
    """Return Author_Institute_task2; raises BadInput with all problems of label and authors."""
    block = config.submission().model_dump()
    problems = []
    for key in ("author", "institute"):
        if block.get(key) is None:
            problems.append(f"submission.{key}: missing; it is part of the label")
        elif not _LABEL_PART.fullmatch(block[key]):
            problems.append(
                f"submission.{key} is {block[key]!r}; a label takes letters, digits and hyphens "
                "of the English alphabet"
            )
    problems += _author_problems(block.get("authors") or [])
    if problems:
        raise BadInput("\n".join(problems))
    return f"{block['author']}_{block['institute']}_task2"


def _author_problems(authors: Sequence[dict[str, Any]]) -> list[str]:
    if not authors:
        return ["submission.authors: missing; a list of authors, see baseline.yaml"]
    problems = []
    for number, author in enumerate(authors, start=1):
        affiliation = author.get("affiliation")
        for at, block, keys in (
            (f"submission.authors, {number}", author, {**AUTHOR, "affiliation": True}),
            (
                f"submission.authors, {number}, affiliation",
                affiliation if isinstance(affiliation, dict) else {},
                AFFILIATION,
            ),
        ):
            problems += [
                f"{at}: {key} is missing" for key in keys if keys[key] and not block.get(key)
            ]
            problems += [
                f"{at}: unknown key {key}{nearest(str(key), list(keys))}"
                for key in block
                if key not in keys
            ]
    corresponding = sum(author.get("corresponding") is True for author in authors)
    if corresponding != 1:
        problems.append(f"submission.authors: {corresponding} are corresponding; expected one")
    return problems


def collect(config: Config, names: Sequence[str]) -> tuple[str, dict[str, dict[str, bytes]]]:
    """Return the label of a submission, and its files: label of a system → file name → content.

    Raises BadInput naming every problem.
    """
    problems, label = ProblemCollector(), ""
    systems: dict[str, dict[str, bytes]] = {}
    with problems:
        label = stem(config)
    for number, name in enumerate(names, start=1):
        with problems:
            entry = f"{label}_{number}"
            systems[entry] = system_files(config, name, entry)
    problems.stop()
    return label, systems


def system_files(config: Config, name: str, label: str) -> dict[str, bytes]:
    """Return the files of one system or ensemble: name in its folder of the package → content.

    Parameters
    ----------
    config : all settings
    label : Author_Institute_task2_N

    Raises
    ------
    BadInput : with every problem of its CSV files, its models, its development results and its
        description.
    """
    own = config.for_system(name)
    directory = own.result_directory
    record = ensemble.read_record(directory)
    if name not in system_classes() and not record:
        beside = {path.parent.name for path in directory.parent.glob(f"*/{ensemble.RECORD}")}
        known = [*system_classes(), *sorted(beside)]
        raise BadInput(
            f"--system {name}: neither a system nor an ensemble with results in {directory}"
            f"{nearest(name, known)}"
        )
    problems, files, meta = ProblemCollector(), {}, {}
    machine_types = clips.select_machines(own, "eval", [])
    evaluated: list[SectionKey] = []
    for machine_type in machine_types:
        with problems:
            csv_files, sections = _csv_files(own, machine_type)
            files |= csv_files
            evaluated += sections
    members = {name: 1.0}
    with problems:
        if name not in system_classes():
            members = _members(name, record)
    with problems:
        meta = _description(config, own, name, members, label)
    with problems:
        parameters = [_parameters(config, member, machine_types) for member in members]
        meta["system"]["complexity"] = {"total_parameters": sum(parameters)}
    with problems:
        meta["results"] = {"development_dataset": development_results(own, evaluated)}
    problems.stop()
    order = ("description", "complexity", "external_datasets", "source_code")
    meta["system"] = {key: meta["system"][key] for key in order}
    text = yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)
    return {f"{label}.meta.yaml": text.encode(), **files}


def _csv_files(own: SystemSettings, machine_type: str) -> tuple[dict[str, bytes], list[SectionKey]]:
    """Return the CSV files of a machine type's evaluation clips, each scored and decided once."""
    listed, bad = list_clips(own, "eval", machine_type, clips.TEST_FOLDERS)
    problems = [f"{path}: {problem}" for path, problem in bad]
    files, sections = {}, []
    for kind, read in (
        ("anomaly_score", read_scores),
        ("decision_result", read_decisions),
    ):
        names = [(results.file_name(kind, machine_type, clip), clip) for clip in listed]
        for file, group in groupby(sorted(names, key=lambda pair: pair[0]), lambda pair: pair[0]):
            expected = [clip for _, clip in group]
            key = SectionKey(machine_type, expected[0].section)
            path = own.result_directory / file
            # Without labels, result_file cannot be of these clips: it is of the development data.
            if expected[0].path.suffix != ".csv" or expected[0].label:
                sections.append(key)
            if not path.is_file():
                problems.append(f"{path}: missing; make it with 01_test.py -e")
                continue
            try:
                values = read(path)
                files[file] = path.read_bytes()
            except EvaluationError as error:
                problems.append(str(error))
                continue
            wanted = {clip.name for clip in expected}
            problems += compare_clips(key, str(path), values, "the clips", wanted)
    if problems:
        raise BadInput("\n".join(problems))
    return files, sections


def _members(name: str, record: dict[str, Any]) -> dict[str, float]:
    if record.get("eval") != record.get("dev"):
        raise BadInput(
            f"{name}: was made of other systems, weights or norms for -d than for -e; run "
            "01_test.py again for both"
        )
    return record["eval"]["weights"]


def _parameters(config: Config, system: str, machine_types: Sequence[str]) -> int:
    """Return the number of parameters of a system's network, the largest of all machine types."""
    own, problems, counts = config.for_system(system), ProblemCollector(), [0]
    for machine_type in machine_types:
        with problems:
            model, _ = saved.usable_model(own.for_machine(machine_type), machine_type, "eval")
            counts.append(model.count_parameters())
    problems.stop()
    return max(counts)


def _description(
    config: Config,
    own: SystemSettings,
    name: str,
    members: dict[str, float],
    label: str,
) -> dict[str, Any]:
    block = config.submission().model_dump()
    systems = block.get("systems", {})
    entries = {
        "input_sampling_rate": f"{own.feature.sample_rate / 1000:g}kHz",
        "acoustic_features": _acoustic_features(config, systems, members),
        **_given(block.get("description")),
    }
    if name not in system_classes():
        entries |= {
            "name": f"Ensemble of {_joined(systems, members, 'name')}",
            "abbreviation": name,
            "machine_learning_method": _joined(systems, members, "machine_learning_method"),
            "aggregation_method": _joined(systems, members, "aggregation_method"),
            "ensemble_method_subsystem_count": len(members),
            "decision_making": "weighted average",
        }
    entries |= _given(systems.get(name))
    problems = [
        f"submission.systems.{name}.{key}: missing" for key in NEEDED if not entries.get(key)
    ]
    if len(entries.get("abbreviation") or "") > LONGEST_ABBREVIATION:
        problems.append(
            f"submission.systems.{name}.abbreviation is {entries['abbreviation']!r}; at most "
            f"{LONGEST_ABBREVIATION} characters"
        )
    if problems:
        raise BadInput("\n".join(problems))
    return {
        "submission": {
            "label": label,
            "name": entries["name"],
            "abbreviation": entries["abbreviation"],
            "authors": block["authors"],
        },
        "system": {
            "description": {key: entries.get(key) for key in DESCRIPTION},
            "external_datasets": block.get("external_datasets"),
            "source_code": block.get("source_code"),
        },
    }


def _given(block: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (block or {}).items() if value is not None}


def _joined(systems: dict[str, Any], members: Sequence[str], key: str) -> str:
    """Return the entries of the members under a key, each different one once."""
    entries = [_given(systems.get(member)).get(key) for member in members]
    return ", ".join(dict.fromkeys(entry for entry in entries if entry))


def _acoustic_features(config: Config, systems: dict[str, Any], members: Sequence[str]) -> str:
    words = {"log_mel": "log-mel energies", "waveform": "raw waveform"}
    inputs = [config.for_system(member).feature.input for member in members]
    own = [_given(systems.get(member)).get("acoustic_features") for member in members]
    texts = [given or words[kind] for given, kind in zip(own, inputs, strict=True)]
    return ", ".join(dict.fromkeys(word for text in texts for word in text.split(", ")))


def development_results(
    own: SystemSettings, evaluated: Sequence[SectionKey]
) -> dict[str, dict[str, float | None]]:
    """Return the development results of each machine type, in per cent, from `result_file`.

    With domains the harmonic means over sections: of the AUC over both domains and of the pAUC,
    and of AUC (source), AUC (target) and pAUC by themselves; without, the arithmetic means. Where
    the file is of the evaluation data (`evaluated` : their sections), as after `01_test.py -e
    --ground-truth`, the results are computed again from the development data's CSV files.

    Raises BadInput where there are none.
    """
    directory = own.result_directory
    path = directory / own.result_file
    sections = read_result_csv(path)
    keys = {(result.machine_type, result.section) for result in sections}
    if keys & {(key.machine_type, key.section.partition("_")[2]) for key in evaluated}:
        try:
            sections, _ = evaluate_directory(directory, max_fpr=own.max_fpr)
        except EvaluationError as error:
            raise BadInput(
                f"{path}: is of the evaluation data, and there is no other: {error}"
            ) from None
    return {
        machine_type: {
            name: None if np.isnan(value[0]) else 100 * float(value[0])
            for name, value in _means([result.metrics for result in group]).items()
        }
        for machine_type, group in groupby(sections, key=lambda result: result.machine_type)
    }


def _means(sections: Sequence[dict[str, float]]) -> dict[str, np.ndarray]:
    """Return the means over a machine type's sections, as the template names them, each (1,)."""
    column = {name: [[metrics[name]] for metrics in sections] for name in sections[0]}
    if "pAUC" in column and "AUC" in column:
        return {
            "averaged_auc": arithmetic_mean(column["AUC"]),
            "averaged_pauc": arithmetic_mean(column["pAUC"]),
        }
    source, target = column["AUC (source)"], column["AUC (target)"]
    # In 2021 each domain has a pAUC, and there is none of both.
    pauc = column.get("pAUC") or [*column["pAUC (source)"], *column["pAUC (target)"]]
    return {
        "harmonic_mean_auc": harmonic_mean([*source, *target]),
        "harmonic_mean_pauc": harmonic_mean(pauc),
        "auc_source": harmonic_mean(source),
        "auc_target": harmonic_mean(target),
        "pauc": harmonic_mean(pauc),
    }


def write(path: Path, systems: dict[str, dict[str, bytes]]) -> None:
    """Write the zip: label → name → content; the same content gives the same bytes."""
    with atomic_write(path) as beside, zipfile.ZipFile(beside, "w") as package:
        for label, files in systems.items():
            for name, content in files.items():
                entry = zipfile.ZipInfo(f"task2/{label}/{name}")
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                package.writestr(entry, content)
