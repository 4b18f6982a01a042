"""A year reproduced from a server on 127.0.0.1: steps, interruptions, failures, and the page."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import shutil
import signal
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import BadInput
from core.settings import read_config
from evaluation.metrics import DOMAIN_COLUMNS, SectionResult
from evaluation.result_csv import read_result_csv, write_result_csv
from evaluation.years import NAMES, YEAR_2021
from tests import processes
from tests.conftest import ROOT
from tests.tools.failing_server import Server, serving
from tools import comparison, demo_data, download, estimate, reproduce
from tools.comparison import Line, Published
from tools.truth import SOURCES, git_tree

YEAR = 2022
OFFICIAL_SCORE = "AUC (source) + AUC (target) + pAUC"
OFFICIAL = ("threshold_scope=machine_type", "threshold_fit=official")
QUICK = ("fit.epochs=1", "fit.verbose=0", "ae.network.units=[16]", "ae.network.latent=4")


def archive(path: Path, machine_type: str, home: Path, inside: str) -> bytes:
    with zipfile.ZipFile(path, "w") as made:
        for file in sorted(home.glob(inside)):
            made.write(file, f"{machine_type}/{file.relative_to(home)}")
    return path.read_bytes()


@contextlib.contextmanager
def serve(folder: Path, year: int, dev: str, evaluation: str) -> Iterator[Server]:
    """Serve demo sounds of two machine types as a year's archives, with their truth.

    folder : gets the demo sounds
    """
    machine_types = list(dict.fromkeys((dev, evaluation)))
    demo_data.make_dataset(folder, year, machine_types, clips=6, test_clips=4, seconds=0.5)
    packed, records = folder / "packed.zip", download.RECORDS[year]
    home, other = folder / "dev_data" / dev, folder / "eval_data" / evaluation
    with serving() as server:
        server.files = {
            records["dev"]: {f"dev_{dev}.zip": archive(packed, dev, home, "*/*.wav")},
            records["additional"]: {
                f"eval_data_{evaluation}_train.zip": archive(
                    packed, evaluation, other, "train/*.wav"
                )
            },
            records["eval"]: {
                f"eval_data_{evaluation}_test.zip": archive(packed, evaluation, other, "test/*.wav")
            },
        }
        source = SOURCES[year]
        truth = folder / "ground_truth"
        shutil.copytree(truth / "ground_truth_data", truth / "ground_truth_attributes")
        server.pages[f"/{source.repository}/zip/{source.commit}"] = archive(
            packed, "repository", truth, "*/*.csv"
        )
        yield server


@pytest.fixture
def server(tmp_path):
    """A server with the demo sounds of one machine type, packed as the year's archives."""
    with serve(tmp_path / "made", YEAR, "fan", "fan") as server:
        yield server


def command(server: Server, to: Path, *more: str, year: int = YEAR) -> list[str]:
    return [
        *(str(year), "--to", str(to), "--base-url", server.url, "--seed", "0", "1"),
        *("--set", *QUICK, *more),
    ]


def add_truth(tmp_path: Path, to: Path) -> None:
    shutil.copytree(tmp_path / "made" / "ground_truth", to / str(YEAR) / "ground_truth")


@pytest.mark.slow
def test_a_year_from_nothing_to_its_page_over_an_interruption(tmp_path):
    year, to = 2023, tmp_path / "out"
    options = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    first = to / str(year) / "model" / "ae_seed0" / "model_fan.json"  # comes last
    with serve(tmp_path / "made", year, "fan", "bandsaw") as server:
        whole = [sys.executable, "-m", "tools.reproduce", *command(server, to, year=year)]
        with processes.child(whole, **options) as process:
            processes.wait_until(first.is_file, process, seconds=240)
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 130
            assert processes.ends(process.pid)
        assert "interrupted; the same command goes on from here" in errors
        assert not (to / f"{year}.md").exists()
        trained = first.stat().st_mtime_ns
        server.requests.clear()
        run = processes.run(whole, **options)
    assert run.returncode == 0, run.stdout + run.stderr
    assert first.stat().st_mtime_ns == trained
    assert server.requests == []
    page = (to / f"{year}.md").read_text()
    assert "Seeds: 0, 1." in page
    assert f"`--set {' '.join(QUICK)}`" in page
    rows = list(csv.DictReader((to / f"{year}.csv").open()))
    ours = {
        (r["dataset"], r["machine_type"]): r for r in rows if r["metric"] == "pAUC" and r["ours"]
    }
    assert {("dev", "fan"), ("eval", "bandsaw")} <= set(ours)
    for mode, name, machine_type in (("dev", "result", "fan"), ("eval", "result_eval", "bandsaw")):
        tables = [to / str(year) / "result" / f"ae_seed{n}" / f"{name}.csv" for n in (0, 1)]
        values = [r.metrics["pAUC"] for path in tables for r in read_result_csv(path)]
        row = ours[mode, machine_type]
        assert float(row["ours"]) == pytest.approx(sum(values) / 2)
        assert float(row["deviation"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5)


def test_failure_of_one_system_leaves_the_others(server, tmp_path, monkeypatch, capsys):
    to, started = tmp_path / "out", []
    add_truth(tmp_path, to)

    def run(words: list[str]) -> int:
        at = {name: words[words.index(name) + 1] for name in ("--system",)}
        mode = next(word for word in words if word in ("--dev", "--eval"))
        script = Path(words[1]).name
        started.append((at["--system"], mode, script))
        if script == "01_test.py":
            write(to, mode.strip("-"), at["--system"], 0.7)
        return int(at["--system"] == "vae" and script == "00_train.py" and mode == "--dev")

    monkeypatch.setattr(reproduce, "_run", run)
    with pytest.raises(BadInput, match=r"^vae, dev data: 00_train.py failed \(exit status 1\)"):
        reproduce.main([*command(server, to), "--system", "vae", "ae"], pause=0.001)
    both = ["00_train.py", "01_test.py"]
    assert started == [
        ("vae", "--dev", "00_train.py"),
        *(("ae", "--dev", script) for script in both),
        *(("vae", "--eval", script) for script in both),
        *(("ae", "--eval", script) for script in both),
    ]
    page = (to / f"{YEAR}.md").read_text()
    assert "- vae, dev data: 00_train.py failed" in page
    assert page.index("## `vae`") < page.index("## `ae`")
    own = page[page.index("## `vae`") : page.index("## `ae`")]
    assert "### Evaluation data" in own and "### Development data" not in own


def test_the_truth_is_downloaded_once(server, tmp_path, monkeypatch):
    to, folder = tmp_path / "out", tmp_path / "made" / "ground_truth"
    trees = {
        name: git_tree({path.name: path.read_bytes() for path in (folder / name).iterdir()})
        for name in SOURCES[YEAR].folders
    }
    monkeypatch.setitem(SOURCES, YEAR, dataclasses.replace(SOURCES[YEAR], folders=trees))
    started: list[list[str]] = []
    monkeypatch.setattr(reproduce, "_run", lambda words: started.append(words) or 0)
    for _ in range(2):
        reproduce.main([*command(server, to), "--eval"], pause=0.001)
    assert len([path for path, _ in server.requests if "/zip/" in path]) == 1
    known = to / str(YEAR) / "ground_truth"
    assert (known / "ground_truth_domain").is_dir()
    assert [Path(words[1]).name for words in started] == ["00_train.py", "01_test.py"] * 2
    for words in started[1::2]:
        assert words[words.index("--ground-truth") + 1] == str(known)
    assert not (to / str(YEAR) / "dev_data").exists()


def test_without_truth_the_development_data_are_done(server, tmp_path, monkeypatch):
    to = tmp_path / "out"
    server.pages.clear()
    monkeypatch.setattr(
        reproduce, "_run", lambda words: write(to, "dev", "ae", 0.7) if "--dev" in words else 1 / 0
    )
    with pytest.raises(BadInput, match=r"answers 404.*\nso the evaluation data are left out"):
        reproduce.main(command(server, to), pause=0.001)
    assert "### Development data" in (to / f"{YEAR}.md").read_text()
    assert not (to / str(YEAR) / "eval_data").exists()


def test_options_and_directories_reach_the_scripts(server, tmp_path, monkeypatch):
    to, started = tmp_path / "out: here", []
    monkeypatch.setattr(reproduce, "_run", lambda words: started.append(words) or 0)
    more = ["fit.lr=1e-4", "--dev", "--machine", "fan", "--jobs", "2"]
    reproduce.main(command(server, to, *more), pause=0.001)
    train, test = started
    assert train[1] == str(ROOT / "00_train.py")
    year = ["--year", str(YEAR)]
    at = train.index("--set")
    assert test[1:] == [str(ROOT / "01_test.py"), *train[2:at], *year, *train[at:]]
    for words in ("--dev --system ae --seed 0 1 --machine fan --jobs 2 --set", "fit.lr=1e-4"):
        assert words in " ".join(train)
    config = read_config(None, [reproduce.assignment(x) for x in train[train.index("--set") + 1 :]])
    run = config.for_system("ae", 1)
    assert run.model_directory == to / str(YEAR) / "model" / "ae_seed1"
    assert run.result_directory == to / str(YEAR) / "result" / "ae_seed1"
    assert Path(run.dev_directory) == to / str(YEAR) / "dev_data"
    assert run.fit.epochs == 1


def test_only_a_machine_type_of_the_dataset_is_asked_for(server, tmp_path, monkeypatch, capsys):
    to = tmp_path / "out"
    add_truth(tmp_path, to)
    started: list[list[str]] = []
    monkeypatch.setattr(reproduce, "_run", lambda words: started.append(words) or 0)
    for part, split in (("additional", "train"), ("eval", "test")):
        (content,) = server.files[download.RECORDS[YEAR][part]].values()
        server.files[download.RECORDS[YEAR][part]] = {f"eval_data_valve_{split}.zip": content}
    reproduce.main(command(server, to, "--machine", "fan"), pause=0.001)
    assert {word for words in started for word in words} >= {"--dev"}
    assert not [words for words in started if "--eval" in words]
    assert "eval data: has none of the machine types fan" in capsys.readouterr().out


def test_nothing_starts_with_wrong_settings(server, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "_run", lambda words: 1 / 0)
    with pytest.raises(BadInput, match=r"fit\.epoch"):
        reproduce.main(command(server, tmp_path / "out", "fit.epoch=3"))
    assert server.requests == [] and not (tmp_path / "out").exists()


def test_a_script_that_was_interrupted_interrupts():
    with pytest.raises(KeyboardInterrupt):
        reproduce._run([sys.executable, "-c", "raise SystemExit(130)"])
    assert reproduce._run([sys.executable, "-c", "raise SystemExit(3)"]) == 3


@pytest.mark.parametrize(
    ("system", "modes", "parts"),
    [
        ("ae", ["dev"], ["dev"]),
        ("ae", ["eval"], ["additional", "eval"]),
        ("idnn", ["dev"], ["dev", "additional"]),
        ("idnn", ["eval"], ["dev", "additional", "eval"]),
    ],
)
def test_parts_that_are_downloaded(system, modes, parts, tmp_path):
    args = reproduce._arguments(["2022", "--system", system])
    plan = reproduce.Plan(args, read_config(), [system], [0], modes, tmp_path, tmp_path)
    assert reproduce.parts_of(plan, modes) == parts


def test_dry_run_leaves_nothing(server, tmp_path, monkeypatch, capsys):
    cost = estimate.Cost(read=0.1, epoch=0.01, score=0.02, disk=1000)
    monkeypatch.setattr(estimate, "measure", lambda run: cost)
    to = tmp_path / "out"
    assert reproduce.main([*command(server, to), "--dry-run", "--dev"], pause=0.001) == 0
    printed = capsys.readouterr().out
    assert not to.exists()
    sizes = [len(x) for x in server.files[download.RECORDS[YEAR]["dev"]].values()]
    assert f"download: {estimate.size_text(sum(sizes))} in 1 of 1 archives" in printed
    # 7 machine types of 3000 training and 600 test clips, one epoch, two seeds
    seconds = 7 * (3600 * 0.1 + 2 * (3000 * (0.01 + 0.02) + 600 * 0.02))
    assert f"ae: about {estimate.time_text(seconds)} for 2 seeds" in printed
    assert "25200 clips" in printed and "are free on the disk" in printed


def test_dry_run_without_a_server_still_measures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(estimate, "measure", lambda run: estimate.Cost(1, 1, 1, 1))
    arguments = ["2026", "--dry-run", "--to", str(tmp_path / "out")]
    assert reproduce.main([*arguments, "--base-url", "http://127.0.0.1:9"], pause=0.0) == 0
    printed = capsys.readouterr().out
    assert "download: size not known (http://127.0.0.1:9/api/records/19336329" in printed
    assert "without dev ToyCar, dev ToyCarEmu" in printed


def test_clips_on_disk_count_before_the_table(tmp_path):
    demo_data.make_dataset(tmp_path, 2021, ["fan"], clips=3, test_clips=4, seconds=0.1)
    counts = estimate.clips_on_disk(tmp_path, comparison.read_clip_counts(2021))
    known = {(c.dataset, c.machine_type): (c.train, c.test) for c in counts}
    assert known["dev", "fan"] == (9, 12)
    assert known["dev", "valve"] == (3009, 1200)


@pytest.mark.slow
def test_measurement_of_a_system():
    run = read_config(None, [("idnn.network.units", [16])]).for_system("idnn")
    cost = estimate.measure(run)
    assert all(1e-4 < value < 10 for value in cost[:3])
    assert 150_000 < cost.disk < 170_000  # 313 frames of 128 mels, float32


def sections(machine_type: str, *values: float) -> list[SectionResult]:
    return [
        SectionResult(machine_type, f"{n:02}", dict.fromkeys(DOMAIN_COLUMNS, value))
        for n, value in enumerate(values)
    ]


def write(to: Path, mode: str, system: str, value: float) -> None:
    for seed in (0, 1):
        folder = to / str(YEAR) / "result" / f"{system}_seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        name = "result.csv" if mode == "dev" else "result_eval.csv"
        write_result_csv(folder / name, sections("fan", value + seed / 10))


def line(values, published: str | None = "0.6", **more) -> Line:
    row = published and Published(2022, "ae", "", "dev", "fan", "pAUC", "harmonic", "0.6", "", "S")
    given = {"remarks": (), "comparable": True, **more}
    return Line("dev", "fan", "pAUC", "harmonic", tuple(values), row, **given)


def test_mean_and_deviation_over_seeds():
    several = line([0.5, 0.6, 0.8])
    assert several.average == pytest.approx(0.6333333)
    assert several.deviation == pytest.approx(0.1527525)  # n - 1
    assert several.difference == pytest.approx(0.1 / 3)
    assert several.in_deviations == pytest.approx(0.2182179)


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.7]])
def test_without_a_deviation_the_difference_is_not_in_deviations(values):
    one = line(values)
    assert one.difference == pytest.approx(0.1)
    assert str(one.in_deviations) == "nan"
    text = comparison.page(2022, {"ae": [one]}, ["About."], [])
    (row,) = [text for text in text.splitlines() if text.startswith("| fan")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    ours = "0.7000 ± 0.0000" if len(values) > 1 else "0.7000"
    assert cells == ["fan", "pAUC, harmonic", ours, "0.6000 [1]", "+0.1000", "", ""]


def test_figures_of_results():
    results = [*sections("fan", 0.5, 1.0), *sections("valve", 0.25)]
    assert comparison.figure(results, "fan", "pAUC", "harmonic") == pytest.approx(2 / 3)
    assert comparison.figure(results, "all", "pAUC", "arithmetic") == pytest.approx(1.75 / 3)
    over = comparison.figure(results, "all", "pAUC", "arithmetic over machine types")
    assert over == pytest.approx((0.75 + 0.25) / 2)
    mixed = [SectionResult("fan", "00", {"AUC": 0.5, "pAUC": 0.7})]
    assert comparison.figure(mixed, "fan", "AUC + pAUC", "arithmetic") == pytest.approx(0.6)
    assert str(comparison.figure(mixed, "fan", "AUC (source)", "harmonic")) == "nan"
    assert str(comparison.figure(mixed, "valve", "AUC", "arithmetic")) == "nan"


def compared(system: str, year: int, results, *assigned: str, dataset: str = "dev"):
    given = [reproduce.assignment(text) for text in assigned]
    run = read_config(None, given).for_system(system)
    lines = comparison.compare(run, year, dataset, dict(enumerate(results)), len(results))
    return {(x.machine_type, x.metric, x.mean): x for x in lines}


def test_a_mean_over_all_is_compared_only_with_all_machine_types():
    names = [c.machine_type for c in comparison.read_clip_counts(2022) if c.dataset == "dev"]
    whole = [x for name in names for x in sections(name, 0.5)]
    key = ("all", "pAUC", "harmonic")
    assert compared("ae", 2022, [whole])[key].difference == pytest.approx(0.5 - 0.538)
    part = compared("ae", 2022, [[x for x in whole if x.machine_type != "fan"]])[key]
    assert str(part.difference) == "nan" and part.average == pytest.approx(0.5)
    assert part.remarks == ("ours without fan",)


def test_a_figure_made_with_other_settings_is_not_compared():
    key, results = ("fan", "recall (source)", "harmonic"), [sections("fan", 0.5)]
    other = compared("ae", 2022, results)[key]
    assert str(other.difference) == "nan" and other.published.value == "0.534"
    assert other.other_settings and other.values == ()
    text = comparison.page(2022, {"ae": [other]}, [], [])
    assert (
        "0.5340" not in text
        and "- 1 of `--set threshold_scope=machine_type threshold_fit=official`" in text
    )
    same = compared("ae", 2022, results, *OFFICIAL)[key]
    assert same.difference == pytest.approx(0.5 - 0.534)


def test_a_figure_of_other_settings_does_not_hide_ours():
    given = dict.fromkeys(NAMES["2023"].column_names, 0.5)
    run = read_config().for_system("ae")
    lines = comparison.compare(run, 2023, "eval", {0: [SectionResult("Vacuum", "00", given)]}, 1)
    own = [x for x in lines if (x.machine_type, x.metric) == ("Vacuum", "pAUC")]
    assert [x.values for x in own] == [(0.5,), (), ()]
    assert [bool(x.other_settings) for x in own] == [False, True, True]


def test_settings_that_a_system_does_not_have_are_named_as_such():
    row = Published(2022, "ae", "ae.no_such=1", "dev", "fan", "pAUC", "harmonic", "0.6", "", "S")
    run = read_config().for_system("ae")
    assert not row.holds(run) and not row.can_hold(run)
    other = row._replace(settings="ae.fit.epochs=3 threshold_scope=machine_type")
    assert not other.holds(run) and other.can_hold(run)
    assert other.holds(run.with_values({"fit.epochs": 3, "threshold_scope": "machine_type"}))
    text = comparison.page(2022, {"ae": [comparison._beside(line([0.5], None), row, run)]}, [], [])
    assert "- 1 of `--set ae.no_such=1`, which this version does not have" in text


def test_oracle_figures_and_other_definitions_are_marked():
    lines = compared("aegan_ad", 2022, [sections("fan", 0.5)])
    (remark,) = lines["fan", OFFICIAL_SCORE, "harmonic"].remarks
    assert remark == "oracle: epoch and score (G_z_cos_min) chosen on the test clips"
    lines = compared("mobilenet_v2", 2022, [sections("fan", 0.5)], *OFFICIAL)
    remarks = lines["fan", "recall (source)", "harmonic"].remarks
    assert remarks[0].startswith("definition: ")
    assert lines["fan", "pAUC", "harmonic"].remarks == ()


def test_a_system_without_published_figures_has_its_own():
    lines = compared("grlnet", 2022, [sections("fan", 0.5), sections("fan", 0.7)])
    own = lines["fan", "pAUC", "harmonic"]
    assert (own.published, own.values) == (None, (0.5, 0.7))
    text = comparison.page(2022, {"grlnet": list(lines.values())}, [], [])
    assert "No published figures of this system" in text and "## Sources" not in text


def test_ids_of_2020_have_their_own_figures():
    results = [
        SectionResult(name, "00", {"AUC": value, "pAUC": 0.5})
        for name, value in (("fan", 0.6), ("pump", 0.8))
    ]
    lines = compared("idnn", 2020, [results])
    assert lines["fan", "AUC", "arithmetic"].difference == pytest.approx(0.6 - 0.6569)
    over = lines["all", "AUC", "arithmetic over machine types"]
    assert over.average == pytest.approx(0.7)
    assert over.remarks[0] == "ours of fan, pump only"


def test_figures_of_2021_are_within_a_domain():
    metrics = dict.fromkeys(YEAR_2021.column_names, 0.5)
    results = [SectionResult("fan", "00", {**metrics, "AUC (target)": 0.9, "pAUC (source)": 1.0})]
    lines = compared("ae", 2021, [results])
    both = lines["fan", "AUC (source) + AUC (target)", "harmonic"]
    assert both.average == pytest.approx(2 / (1 / 0.5 + 1 / 0.9))
    assert both.published.value == "0.631866714"
    score = lines["all", " + ".join(YEAR_2021.score), "harmonic"]
    assert comparison.label(score) == "official score"
    assert score.average == pytest.approx(4 / (1 / 0.5 + 1 / 0.9 + 1 / 1.0 + 1 / 0.5))


def rows() -> list[Published]:
    with comparison.PUBLISHED.open(newline="", encoding="utf-8") as stream:
        return [Published(int(year), *rest) for year, *rest in list(csv.reader(stream))[1:]]


def test_table_of_published_figures():
    seen = set()
    for row in rows():
        system = read_config().for_system(row.system)
        assert type(system).__name__ != "SystemSettings", row
        machine_types = {
            c.machine_type
            for c in comparison.read_clip_counts(row.year)
            if c.dataset == row.dataset
        }
        assert row.machine_type in {*machine_types, "all"}, row
        assert 0 <= float(row.value) <= 1 and row.source, row
        assert set(row.metric.split(" + ")) <= set(NAMES[str(row.year)].column_names), row
        kinds = (comparison.HARMONIC, comparison.ARITHMETIC, comparison.OVER_MACHINE_TYPES)
        assert row.mean in kinds, row
        for part in filter(None, row.differs.split("; ")):
            assert part.partition(": ")[0] in comparison.DIFFERENCES, row
        assert row.can_hold(system), row
        read_config(None, [reproduce.assignment(word) for word in row.settings.split()])
        key = row[:7] + (row.source,)
        assert key not in seen, f"twice: {row}"
        seen.add(key)


# Figures of the release's own tables, read again from there.
PRINTED = {
    (2020, "stgram_mfn", "dev", "all", "AUC"): "0.923614376",
    (2020, "idnn", "dev", "valve", "pAUC"): "0.6399",
    (2020, "vae", "eval", "all", "AUC"): "0.6956",
    (2022, "ae", "dev", "valve", "AUC (target)"): "0.496",
    (2022, "mobilenet_v2", "dev", "valve", "pAUC"): "0.630",
    (2022, "aegan_ad", "dev", "slider", OFFICIAL_SCORE): "0.7406",
}


@pytest.mark.parametrize("key", PRINTED)
def test_printed_figure(key):
    found = {
        row.value
        for row in rows()
        if (row.year, row.system, row.dataset, row.machine_type, row.metric) == key
    }
    assert found == {PRINTED[key]}


def test_means_of_the_evaluators_follow_from_their_machine_types():
    groups: dict[tuple, list[Published]] = {}
    for row in rows():
        if row.year >= 2023:
            groups.setdefault((row.year, row.settings), []).append(row)
    assert len(groups) == 8
    for own in groups.values():
        names = {row.machine_type for row in own} - {"all"}
        value = {(r.machine_type, r.metric): float(r.value) for r in own if r.machine_type != "all"}
        results = [
            SectionResult(name, "00", {c: value[name, c] for c in NAMES["2023"].score})
            for name in names
        ]
        for row in own:
            ours = comparison.figure(results, row.machine_type, row.metric, row.mean)
            assert ours == pytest.approx(float(row.value), abs=1e-12), row


def test_clip_counts_name_a_source_where_they_are_known():
    with comparison.CLIP_COUNTS.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            assert bool(row["train"] or row["test"]) == bool(row["source"]), row
    assert {year: bool(comparison.read_clip_counts(year)) for year in download.RECORDS} == (
        dict.fromkeys(download.RECORDS, True)
    )
