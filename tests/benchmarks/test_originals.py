"""The benchmark against the originals: its table, its protocol, and what it compares."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from benchmarks import original_side, originals, side
from core.system_settings import system_classes
from tests.conftest import ROOT

FAKE = """
import sys
from benchmarks import side

def make():
    print("an original prints as it likes")
    calls = []

    def step(count):
        calls.append(count)
        print("step", count)
        return 0.1, len(calls)

    def score(count):
        raise SystemExit("no clip " + "to score")

    return side.Side(step, score, "Fake 1.0", "CPU")

side.serve(make)
"""


@pytest.fixture
def fake_original():
    """A worker whose CPU seconds are the number of its measurements so far."""
    worker = originals.Worker([sys.executable, "-c", FAKE], dict(os.environ))
    yield worker
    worker.close()


def test_a_row_has_medians_and_the_rounds_own_ratios() -> None:
    theirs = [(0.010, 0.02), (0.040, 0.02), (0.012, 0.02)]
    ours = [(0.005, 0.01), (0.010, 0.04), (0.012, 0.02)]
    cells = originals.Row("ae (Original)", "training step", theirs, ours).cells()
    assert cells == [
        *("ae (Original)", "training step", "12 ms", "10 ms"),
        *("2.00 (1.00 to 4.00)", "1.00 (0.50 to 2.00)"),
    ]


def test_a_worker_answers_with_seconds_whatever_it_prints(fake_original) -> None:
    assert (fake_original.versions, fake_original.device) == ("Fake 1.0", "CPU")
    # Two calls warm up and decide how often; they are no answer.
    assert [fake_original.measure("step") for _ in range(2)] == [(0.1, 3.0), (0.1, 4.0)]


def test_a_worker_that_fails_ends_the_benchmark_with_its_message(fake_original) -> None:
    with pytest.raises(SystemExit, match="no clip to score"):
        fake_original.measure("score")
    with pytest.raises(SystemExit, match="no such original"):
        originals.Worker([sys.executable, "-c", "raise SystemExit('no such ' + 'original')"], {})


def test_both_sides_have_the_threads_that_the_table_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    env = originals.environment(3)
    assert (env["OMP_NUM_THREADS"], env["TF_NUM_INTRAOP_THREADS"]) == ("3", "3")
    assert env["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


class Recorded:
    """A worker that notes when it is asked."""

    def __init__(self, name: str, asked: list[str]):
        self.name, self.asked = name, asked

    def measure(self, kind: str) -> tuple[float, float]:
        self.asked.append(f"{kind} {self.name}")
        return 1.0, 1.0


def test_the_sides_work_in_turns_and_begin_in_turns() -> None:
    asked: list[str] = []
    workers = [Recorded("theirs", asked), Recorded("ours", asked)]
    rows = list(originals.measure(originals.COMPARISONS["vae"], workers, rounds=2))
    assert [row.work.partition(",")[0] for row in rows] == ["training step", "score"]
    turns = ["ours", "theirs", "theirs", "ours"]
    assert asked == [f"{kind} {name}" for kind in ("step", "score") for name in turns]


def test_a_loader_measures_what_is_done_with_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(10.0, 1.0), (16.0, 2.5)])
    monkeypatch.setattr(side, "clock", lambda: next(times))
    seen: list[str] = []
    loader = side.Batches(lambda: "batch")
    assert loader.measured(lambda: seen.extend(loader))(3) == (2.0, 0.5)
    assert seen == ["batch"] * 3


def test_a_function_is_left_where_its_last_batches_end() -> None:
    done: list[str] = []
    loader = side.LastBatches(lambda: "batch")

    def test_of_an_original() -> None:
        done.extend(loader)
        done.append("evaluated")

    wall, _ = loader.measured(side.until_its_loader_ends(test_of_an_original))(1)
    assert done == ["batch"]
    assert wall > 0


def test_what_an_original_imports_in_vain_is_there_only_while_it_does() -> None:
    with original_side.stand_ins("nobody_has_this", "nobody_has_this.inside", "json"):
        import nobody_has_this.inside as inside

        assert inside.anything
        assert "nobody_has_this" in sys.modules
    assert not {"nobody_has_this", "nobody_has_this.inside"} & set(sys.modules)
    assert "json" in sys.modules


def test_every_system_is_compared_with_an_original() -> None:
    from benchmarks import our_side

    comparisons = originals.COMPARISONS
    networks = {name for name, kind in system_classes().items() if kind.has_network}
    assert {comparison.system for comparison in comparisons.values()} == networks
    for names in (original_side.SIDES, side.BATCHES, our_side.SETUPS):
        assert set(names) == set(comparisons)
    for name, comparison in comparisons.items():
        assert our_side.SETUPS[name].system == comparison.system


@pytest.mark.parametrize("name", originals.COMPARISONS)
def test_our_training_clips_make_whole_batches_of_the_size(name: str) -> None:
    from benchmarks import our_side

    run, clips = our_side.published(name), our_side.SETUPS[name].train
    assert run.fit.batch_size == side.BATCHES[name]
    hop, whole_clip = run.feature.n_hop_frames, run.feature.n_frames == 1
    each = 1 if whole_clip else (clips.rows - run.feature.n_frames) // hop + 1
    assert clips.number * each % run.fit.batch_size == 0


def test_an_original_that_is_not_given_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.md"
    monkeypatch.setattr(sys, "argv", ["originals", "--system", "vae", "--to", str(table)])
    assert originals.main() == 0
    assert "vae: no checkout of AE-ASD" in capsys.readouterr().out
    assert "Left out: vae: no checkout of AE-ASD" in table.read_text(encoding="utf-8")


def test_an_original_is_named_as_its_repository_and_is_a_folder(tmp_path: Path) -> None:
    assert originals.named_folder(f"GRLNet={tmp_path}") == ("GRLNet", tmp_path.resolve())
    with pytest.raises(argparse.ArgumentTypeError, match="no such original; NAME is AE-ASD, "):
        originals.named_folder(f"GRL={tmp_path}")
    with pytest.raises(argparse.ArgumentTypeError, match="no such folder"):
        originals.named_folder(f"GRLNet={tmp_path / 'nowhere'}")


@pytest.mark.parametrize("name", ["original_side", "side", "__init__"])
def test_an_originals_interpreter_needs_nothing_of_this_project(name: str) -> None:
    text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
    imports = [line for line in text.splitlines() if line.lstrip().startswith(("from ", "import "))]
    modules = {line.split()[1].partition(".")[0] for line in imports}
    assert modules - {"numpy", "tensorflow", "torch"} <= {"benchmarks", *sys.stdlib_module_names}
    assert all("benchmarks.side" in line for line in imports if "benchmarks" in line)
