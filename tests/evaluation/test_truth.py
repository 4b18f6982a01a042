"""The published truth in every form, and truth that does not fit the scores."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics import EvaluationError, SectionKey
from evaluation.truth import read_ground_truth
from tests.evaluation.test_metrics import dev_clips, fails, run, save_section, write

YEARS = Path(__file__).parent / "years"
NAMES_2021 = [
    f"section_03_{domain}_test_{n:04d}.wav" for domain in ("source", "target") for n in range(4)
]
NAMES_2022 = [f"section_03_{n:04d}.wav" for n in range(8)]
NAMES_2023 = [f"section_00_{n:04d}.wav" for n in range(8)]


def labelled(name: str, number: int) -> str:
    """The name with its label: odd numbers are anomalies, and the second half is target."""
    section = name[:10]
    label, domain = ("normal", "anomaly")[number % 2], ("source", "target")[number // 4]
    return f"{section}_{domain}_test_{label}_{number:04d}_vel_1.wav"


def write_list(path: Path, machines: dict[str, list[str]], end: str = "\n") -> Path:
    rows = []
    for machine_type, names in machines.items():
        rows += [machine_type, *(f"{name},{labelled(name, n)}" for n, name in enumerate(names))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(row + end for row in rows).encode())
    return path


def write_tables(folder: Path, machine_type: str, names: list[str], domains: bool = True) -> Path:
    tail = f"{machine_type}_{names[0][:10]}_test.csv"
    kinds = {"data": [n % 2 for n in range(8)]}
    if domains:
        kinds["domain"] = [n // 4 for n in range(8)]
    for kind, values in kinds.items():
        path = folder / f"ground_truth_{kind}" / f"ground_truth_{tail}"
        write(path, dict(zip(names, values, strict=True)))
    return folder


def scored(folder: Path, names: list[str], machine_type: str = "fan") -> Path:
    values = {name: float(n * 3 % 7) for n, name in enumerate(names)}
    for domain in ("source", "target"):
        own = {name: value for name, value in values.items() if domain in name}
        if own:
            save_section(folder, machine_type, own, f"{names[0][:10]}_{domain}_test")
    if "source" not in names[0]:
        save_section(folder, machine_type, values, f"{names[0][:10]}_test")
    return folder


def table(folder: Path) -> list[list[str]]:
    with (folder / "result.csv").open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("names", [NAMES_2021, NAMES_2022, NAMES_2023])
def test_a_list_gives_what_the_tables_give(tmp_path, names, end):
    scored(tmp_path / "result", names)
    listed = write_list(tmp_path / "eval_data_list_2025.csv", {"fan": names}, end)
    tables = write_tables(tmp_path / "truth", "fan", names, domains=names is not NAMES_2021)
    found = []
    for truth in (listed, tmp_path, tables, tables / "ground_truth_data"):
        done = run(tmp_path / "result", "--ground-truth", truth)
        assert (done.returncode, done.stderr) == (0, "")
        found.append(table(tmp_path / "result"))
    assert found == [found[0]] * 4


def test_one_table_and_a_folder_one_deeper(tmp_path):
    scored(tmp_path / "result", NAMES_2022)
    truth = write_tables(tmp_path / "clone" / "evaluator", "fan", NAMES_2022)
    path = next((truth / "ground_truth_data").iterdir())
    for place in (path, tmp_path / "clone"):
        assert set(read_ground_truth(place).sections) == {SectionKey("fan", "section_03")}
        assert run(tmp_path / "result", "--ground-truth", place).returncode == 0


def test_tables_win_over_a_list_beside_them(tmp_path):
    write_tables(tmp_path, "ToyCar", NAMES_2022)
    write_list(tmp_path / "eval_data_list_2022.csv", {"ToyCar": NAMES_2022[::-1]})
    truth = read_ground_truth(tmp_path)
    clips = truth.sections[SectionKey("ToyCar", "section_03")]
    assert [clips[name].label for name in NAMES_2022] == [0, 1] * 4
    assert truth.warnings == ()


@pytest.mark.parametrize(
    ("machines", "names", "warned"),
    [
        (["ToyCar", "fan", "ToyTrain"], NAMES_2022, "ToyCar and ToyTrain"),
        (["ToyCar"], NAMES_2022, "ToyCar"),
        (["fan"], NAMES_2022, ""),
        (["ToyCar"], NAMES_2021, ""),
        (["ToyCar"], NAMES_2023, ""),
    ],
)
def test_the_list_of_2022_contradicts_the_ranking_for_two_machine_types(
    tmp_path, machines, names, warned
):
    path = write_list(tmp_path / "list.csv", dict.fromkeys(machines, names))
    for machine_type in machines:
        scored(tmp_path / "result", names, machine_type)
    done = run(tmp_path / "result", "--ground-truth", path)
    assert done.returncode == 0
    expected = f"for {warned} the published list contradicts the labels" if warned else ""
    assert (expected in done.stderr) == (bool(warned) or done.stderr == "")


def test_of_several_lists_the_one_with_the_clips_is_taken(tmp_path):
    folder = tmp_path / "clone" / "datasets"
    shutil.copy(YEARS / "2020" / "truth" / "eval_data_list.csv", tmp_path)
    for year, names in ((2021, NAMES_2021), (2022, NAMES_2022), (2023, NAMES_2023)):
        write_list(folder / f"eval_data_list_{year}.csv", {"fan": names})
    shutil.copy(YEARS / "2020" / "truth" / "eval_data_list.csv", folder / "eval_data_list_2020.csv")
    for names in (NAMES_2021, NAMES_2022, NAMES_2023):
        result = scored(tmp_path / names[-1], names)
        done = run(result, "--ground-truth", tmp_path / "clone")
        assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(EvaluationError, match="several lists, and the clips do not tell which"):
        read_ground_truth(tmp_path / "clone")


def test_scores_under_names_with_labels(tmp_path):
    """As the common baseline writes them, and its evaluators translate them."""
    names = [labelled(name, n) for n, name in enumerate(NAMES_2023)]
    scores = {name: float(n * 3 % 7) for n, name in enumerate(names)}
    save_section(tmp_path / "labelled", "DCASE2025T2fan", scores, "section_00_test_seed1_id(0_)")
    truth = write_tables(tmp_path / "truth", "fan", NAMES_2023)
    write(
        truth / "ground_truth_attributes" / "ground_truth_fan_section_00_test.csv",
        {name: full.removesuffix(".wav") for name, full in zip(NAMES_2023, names, strict=True)},
    )
    listed = write_list(tmp_path / "eval_data_list_2025.csv", {"fan": NAMES_2023})
    scored(tmp_path / "plain", NAMES_2023)
    for folder, path in (("plain", truth), ("labelled", truth), ("labelled", listed)):
        assert run(tmp_path / folder, "--ground-truth", path).returncode == 0
        assert table(tmp_path / folder) == table(tmp_path / "plain")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("section_03_0000.wav,section_03_source_test_normal_0000.wav\n", ("line 1",)),
        ("fan\nsection_03_0000.wav\n", ("line 2",)),
        ("fan\nsection_03_0000.wav,section_04_source_test_normal_0000.wav\n", ("line 2",)),
        ("fan\nsection_03_0000.wav,section_03_0000.wav\n", ("line 2",)),
        ("fan\nid_01_00000000.wav,normal_id_01_00000000.wav,1\n", ("line 2",)),
        ("fan\nsection_03_0000.wav,1\nsection_03_0001.wav,0\n", ("line 2", "line 3")),
        ("fan\n", ("has no clip",)),
        ("", ("has no clip",)),
    ],
)  # fmt: skip
def test_a_damaged_list_is_named_by_line(tmp_path, text, words):
    scored(tmp_path / "result", NAMES_2022)
    path = tmp_path / "eval_data_list_2022.csv"
    path.write_text(text)
    done = run(tmp_path / "result", "--ground-truth", path)
    assert fails(done, "eval_data_list_2022.csv", *words)
    assert not (tmp_path / "result" / "result.csv").exists()


def test_bytes_that_are_no_text(tmp_path):
    scored(tmp_path / "result", NAMES_2022)
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00fan")
    assert fails(run(tmp_path / "result", "--ground-truth", tmp_path / "list.csv"), "UTF-8")


def test_truth_of_another_year(tmp_path):
    scored(tmp_path / "result", NAMES_2022)
    truth = write_list(tmp_path / "list.csv", {"fan": NAMES_2021})
    done = run(tmp_path / "result", "--ground-truth", truth)
    assert fails(
        done, "fan section 03: the anomaly scores and the ground truth have no clip in common"
    )
    assert len(done.stderr.splitlines()) == 1
    truth = write_list(tmp_path / "list.csv", {"bandsaw": NAMES_2023, "grinder": NAMES_2023})
    done = run(tmp_path / "result", "--ground-truth", truth)
    words = ("has no section that was scored: it has bandsaw section 00 and 1 more",)
    assert fails(done, *words, "DCASE 2023 to 2026", "of fan section 03 (names as of DCASE 2022)")
    done = run(tmp_path / "result", "--ground-truth", YEARS / "2020" / "truth")
    assert fails(done, "names as of DCASE 2020", "list.csv")
    assert not (tmp_path / "result" / "result.csv").exists()


def test_truth_of_some_sections_names_the_others(tmp_path):
    scored(tmp_path / "result", NAMES_2022)
    more = [name.replace("_03_", "_04_") for name in NAMES_2022]
    scored(tmp_path / "result", more)
    save_section(tmp_path / "result", "fan", dev_clips())  # labelled, so not a gap of the truth
    truth = write_tables(tmp_path / "truth", "fan", NAMES_2022)
    write_tables(truth, "valve", NAMES_2022)
    done = run(tmp_path / "result", "--ground-truth", truth)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "warning: valve section 03: no anomaly scores, left out",
        "warning: fan section 04: not in the ground truth, left out",
    ]
    assert [row[0] for row in table(tmp_path / "result")[2:4]] == ["03", "arithmetic mean"]


def test_decisions_as_the_published_evaluators_read_them(tmp_path):
    scored(tmp_path / "result", NAMES_2022)
    truth = write_tables(tmp_path / "truth", "fan", NAMES_2022)
    assert run(tmp_path / "result", "--ground-truth", truth).returncode == 0
    before = table(tmp_path / "result")
    path = tmp_path / "result" / "decision_result_fan_section_03_test.csv"
    path.write_text(path.read_text().replace(",1\n", ",1.0\n").replace(",0\n", ",0.0\n"))
    assert run(tmp_path / "result", "--ground-truth", truth).returncode == 0
    assert table(tmp_path / "result") == before


def test_a_table_elsewhere_leaves_result_csv(tmp_path):
    scored(tmp_path / "result", NAMES_2022)
    save_section(tmp_path / "result", "fan", dev_clips())
    truth = write_tables(tmp_path / "truth", "fan", NAMES_2022)
    assert run(tmp_path / "result").returncode == 0
    before = table(tmp_path / "result")
    elsewhere = tmp_path / "result" / "result_eval.csv"
    done = run(tmp_path / "result", "--ground-truth", truth, "--to", elsewhere)
    assert done.returncode == 0
    assert table(tmp_path / "result") == before
    assert "03," in elsewhere.read_text()
    assert np.isfinite(float(elsewhere.read_text().splitlines()[2].split(",")[1]))
