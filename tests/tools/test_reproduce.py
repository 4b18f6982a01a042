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
from tests import processes
from tests.conftest import ROOT
from tests.tools.failing_server import Server, serving
from tools import comparison, demo_data, download, estimate, reproduce
from tools.truth import SOURCES, git_tree

YEAR = 2022
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


def write(to: Path, mode: str, system: str, value: float) -> None:
    for seed in (0, 1):
        folder = to / str(YEAR) / "result" / f"{system}_seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        name = "result.csv" if mode == "dev" else "result_eval.csv"
        values = dict.fromkeys(DOMAIN_COLUMNS, value + seed / 10)
        write_result_csv(folder / name, [SectionResult("fan", "00", values)])
