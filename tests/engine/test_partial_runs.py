"""What a run leaves of other machine types, and of the other dataset."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.settings import read_config
from data.clips import Clip
from data.training_scores import TrainingScores
from engine import results
from engine.results import Evaluation
from engine.scoring import Scores
from evaluation import equal_error_rate
from evaluation.metrics import SectionResult, section_metrics
from evaluation.thresholds import Threshold
from evaluation.years import FROM_2023, YEAR_2022
from tests.conftest import run_inside

QUICK = ("fit.epochs=1", "ae.network.units=[16]", "ae.network.latent=4", "idnn.fit.batch_size=512")
SYSTEMS = ("--ensemble", "mix=ae:1,idnn:1")
TABLES = ("result", "thresholds")


def run(script: str, *arguments: str, demo: Path, out: Path) -> str:
    done = run_inside(script, *arguments, data=demo, out=out, assigned=QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tables(out: Path, system: str = "ae") -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in sorted((out / "result" / system).glob("*.csv"))
    }


@pytest.fixture(scope="module")
def trained(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of both datasets, and the scores in the cache, but no results."""
    out = tmp_path_factory.mktemp("partial")
    for mode in ("-d", "-e"):
        run("00_train.py", mode, "--system", "ae", "idnn", demo=demo, out=out)
        run("01_test.py", mode, *SYSTEMS, demo=demo, out=out)
    shutil.rmtree(out / "result")
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "out")


def test_one_machine_type_after_the_other_is_both_at_once(trained, out, demo, tmp_path):
    whole = shutil.copytree(trained, tmp_path / "whole")
    truth = ("--ground-truth", str(demo / "ground_truth"))
    for mode in (["-d"], ["-e", *truth]):
        run("01_test.py", *mode, *SYSTEMS, demo=demo, out=whole)
        for machine in ("valve", "fan"):
            told = run("01_test.py", *mode, *SYSTEMS, "--machine", machine, demo=demo, out=out)
    assert "result_eval.csv: valve as tested before" in told
    for system in ("ae", "mix"):
        apart = tables(out, system)
        assert {f"{name}{mode}.csv" for name in TABLES for mode in ("", "_eval")} <= set(apart)
        assert apart == tables(whole, system)
    machines = [row.split(",")[0] for row in apart["thresholds.csv"].decode().splitlines()[1:]]
    assert machines == ["fan"] * 3 + ["valve"] * 3


def test_each_dataset_keeps_its_tables(trained, out, demo, tmp_path):
    truth = ("--ground-truth", str(demo / "ground_truth"))
    alone = {}
    for mode in (["-d"], ["-e", *truth]):
        place = shutil.copytree(trained, tmp_path / mode[0])
        run("01_test.py", *mode, demo=demo, out=place)
        alone |= tables(place)
    for order in (("-d", "-e"), ("-e", "-d")):
        shutil.rmtree(out / "result", ignore_errors=True)
        for mode in order:
            run("01_test.py", mode, *(truth if mode == "-e" else ()), demo=demo, out=out)
        assert tables(out) == alone
    before = tables(out)
    run("01_test.py", "-e", demo=demo, out=out)  # without a truth there is nothing to evaluate
    assert tables(out) == before


def test_a_table_in_the_way_is_replaced_with_a_warning(out, demo):
    run("01_test.py", "-d", demo=demo, out=out)
    expected = tables(out)
    for name, content in (("result.csv", b"my,own\n"), ("thresholds.csv", b"\xff\x00,1\n")):
        (out / "result" / "ae" / name).write_bytes(content)
    told = run("01_test.py", "-d", demo=demo, out=out)
    assert "result.csv: not a table of results; replaced" in told
    assert "thresholds.csv: not a table of this kind, replaced" in told
    assert tables(out) == expected


def test_a_machine_type_without_scores_does_not_stay(out, demo):
    run("01_test.py", "-d", "--machine", "fan", demo=demo, out=out)
    expected = tables(out)
    run("01_test.py", "-d", "--machine", "valve", demo=demo, out=out)
    for path in (out / "result" / "ae").glob("*_valve_*.csv"):
        path.unlink()
    run("01_test.py", "-d", "--machine", "fan", demo=demo, out=out)
    assert tables(out) == expected


def clips_of(machine_type: str, section: str = "section_00") -> list[Clip]:
    return [
        Clip(Path(f"{section}_{domain}_test_{label}_{n:04}.wav"), machine_type, section, "test",
             domain, label)
        for n, (domain, label) in enumerate(
            (domain, label)
            for domain in ("source", "target")
            for label in ("normal", "anomaly")
            for _ in range(2)
        )
    ]  # fmt: skip


def settings(folder: Path):
    return read_config().for_system("aegan_ad").with_values({"result_directory": folder})


def save_everything(folder: Path, machine_types: list[str], mode: str = "dev") -> None:
    """Write all tables of machine types that are tested in one run."""
    own, evaluation = settings(folder), Evaluation(mode, YEAR_2022)
    section = "section_00" if mode == "dev" else "section_03"
    scored, sections, thresholds = {}, [], {}
    for name in machine_types:
        clips = clips_of(name, section)
        scores = np.random.default_rng(len(name)).normal(size=len(clips))
        extra = {"a": scores, "b": -scores}
        scored[name] = Scores(clips, scores, extra, TrainingScores(np.empty(0), [], []))
        thresholds[name] = {section: Threshold(0.1, "gamma", 1.0, 0.5, 2.0, None, 3)}
        sections += results.save(own, name, clips, scores, thresholds[name], YEAR_2022)
    results.save_summary(own, sections, thresholds, evaluation)
    results.save_all_scores(own, list(scored.values()), evaluation)
    equal_error_rate.save(
        folder, [(name, part.clips, part.scores) for name, part in scored.items()], mode
    )


def test_every_table_of_a_system_with_several_scores(tmp_path):
    machine_types = ["ToyCar", "fan", "valve"]
    for mode in ("dev", "eval"):
        save_everything(tmp_path / "whole", machine_types, mode)
        for name in (machine_types[2], machine_types[0], machine_types[1]):
            save_everything(tmp_path / "apart", [name], mode)
    found, expected = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for folder in ("apart", "whole")
    )
    kinds = ("all_scores", "all_scores_hmean", "equal_error", *TABLES)
    assert {f"{kind}{mode}.csv" for kind in kinds for mode in ("", "_eval")} <= set(expected)
    assert found == expected
    names = [row[0] for row in csv.reader((tmp_path / "apart" / "all_scores.csv").open())]
    assert list(dict.fromkeys(names[1:])) == machine_types


def test_other_scores_in_the_way_are_replaced_with_a_warning(tmp_path, caplog):
    save_everything(tmp_path, ["fan"])
    path = tmp_path / "all_scores.csv"
    path.write_text(path.read_text().replace("clip,a,b", "clip,a,c"))
    save_everything(tmp_path, ["valve"])
    assert {row.split(",")[0] for row in path.read_text().splitlines()[1:]} == {"valve"}


def test_rows_of_another_definition_do_not_stay(tmp_path):
    own = settings(tmp_path)
    save_everything(tmp_path, ["fan"])
    labels, domains = [0, 1] * 4, ["source"] * 4 + ["target"] * 4
    values = section_metrics(labels, range(8), domains, None, 0.1, FROM_2023)
    clips = clips_of("valve")
    (section,) = results.save(own, "valve", clips, np.arange(8.0), {}, FROM_2023)
    assert list(section.metrics) == list(values)
    results.save_summary(own, [section], {"valve": {}}, Evaluation("dev", FROM_2023))
    rows = list(csv.reader((tmp_path / "result.csv").open()))
    assert [row[0] for row in rows if len(row) == 1] == ["valve"]
    assert isinstance(section, SectionResult)
