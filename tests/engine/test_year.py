"""The definition that the results of a run are evaluated by, from the names of its clips."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.errors import BadInput
from core.settings import read_config
from engine import options
from engine.year import find_evaluation
from evaluation import years

TRUTH = Path(__file__).parents[1] / "evaluation" / "years"


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def labelled(section: str, domains: tuple[str, ...] = ("source", "target")) -> list[str]:
    return [
        f"{section}_{domain}_test_{label}_0000_a_1.wav"
        for domain in domains
        for label in ("normal", "anomaly")
    ]


def found(data: Path, system: str = "ae", mode: str = "dev", assigned=None, **given):
    values = {"dev_directory": data, "eval_directory": data, **(assigned or {})}
    run = read_config().for_system(system).with_values(values)
    return find_evaluation(run, mode, options.TestOptions(**given))


@pytest.mark.parametrize(
    ("places", "title"),
    [
        ({"fan/test": ["normal_id_00_00000000.wav", "anomaly_id_00_00000000.wav"]}, "DCASE 2020"),
        (
            {
                f"fan/{domain}_test": [f"section_00_{domain}_test_normal_0000.wav"]
                for domain in ("source", "target")
            },
            "DCASE 2021",
        ),
        ({"fan/test": labelled("section_00") + labelled("section_01")}, "DCASE 2022"),
        ({"my/test": labelled("section_07")}, "DCASE 2022"),
        ({"fan/test": labelled("section_00")}, "DCASE 2023 to 2026"),
        # Whichever machine type is tested: the others of the dataset count too.
        (
            {"fan/test": labelled("section_00"), "valve/test": labelled("section_01")},
            "DCASE 2022",
        ),
        (
            {"a/test": labelled("section_00", ("source",))},
            "DCASE 2023 to 2026, no target clips",
        ),
        (
            {"a/test": labelled("section_00", ("source",)), "b/test": labelled("section_00")},
            "DCASE 2023 to 2026",
        ),
        ({"a/test": ["nonsense.wav"], "b/train": []}, "DCASE 2022"),
    ],
)
def test_names_of_all_machine_types_tell_the_year(tmp_path, places, title):
    for place, names in places.items():
        touch(tmp_path / place, *names)
    assert found(tmp_path).definition.title == title


def test_mobilenet_v2_is_evaluated_as_its_release_in_2022_only(tmp_path):
    touch(tmp_path / "2022" / "fan" / "test", *labelled("section_00"), *labelled("section_01"))
    touch(tmp_path / "2023" / "fan" / "test", *labelled("section_00"))
    common = {"evaluation": "common"}
    for year, assigned, expected in (
        ("2022", {}, years.MOBILENET_V2_2022),
        ("2022", common, years.YEAR_2022),
        ("2023", {}, years.FROM_2023),
    ):
        evaluation = found(tmp_path / year, "mobilenet_v2", assigned=assigned)
        assert evaluation.definition is expected
    assert found(tmp_path / "2022", "ae").definition is years.YEAR_2022


def test_the_year_on_the_command_line_counts(tmp_path):
    touch(tmp_path / "fan" / "test", *labelled("section_00"))
    assert found(tmp_path, year="2022").definition is years.YEAR_2022
    assert found(tmp_path, year="2021").definition is years.YEAR_2021
    assert found(tmp_path, "mobilenet_v2", year="2022").definition is years.MOBILENET_V2_2022
    touch(tmp_path / "ids" / "fan" / "test", "normal_id_00_00000000.wav")
    with pytest.raises(BadInput, match="--year 2022 needs the domain of every clip"):
        found(tmp_path / "ids", year="2022")


def test_truth_gives_the_domains_and_must_have_a_section_of_the_data(tmp_path):
    touch(tmp_path / "valve" / "test", "section_03_0003.wav", "section_03_0007.wav")
    truth = TRUTH / "2022_mobilenet_v2" / "truth"
    evaluation = found(tmp_path, mode="eval", ground_truth=truth)
    assert evaluation.definition is years.YEAR_2022
    assert len(evaluation.truth.sections) == 3
    with pytest.raises(BadInput, match=r"--ground-truth: .*as of DCASE 2020, such as fan id 01"):
        found(tmp_path, mode="eval", ground_truth=TRUTH / "2020" / "truth")
    both = shutil.copytree(TRUTH / "2020" / "truth", tmp_path / "lists")
    shutil.copy(both / "eval_data_list.csv", both / "eval_data_list_2020.csv")
    with pytest.raises(BadInput, match="several lists"):
        found(tmp_path, mode="eval", ground_truth=both)
