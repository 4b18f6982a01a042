"""The arithmetic of the benchmark's table, and what it measures of a child process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core.system_settings import system_classes
from tests import processes
from tests.conftest import ROOT


@pytest.fixture
def run():
    from benchmarks import run

    return run


def test_a_ratio_is_the_median_of_the_rounds_own(run) -> None:
    row = run.Row("step", [10.0, 40.0, 12.0], [5.0, 10.0, 12.0], "ms")
    assert row.cells() == ["step", "12 ms", "10 ms", "2.00"]


def test_peak_memory_is_that_of_the_child() -> None:
    # A child starts with the peak of the one that started it, which both of these exceed.
    code = (
        "import sys; from benchmarks import run\n"
        "held = 'b = bytes([1]) * ({} * 2**20); print([1])'\n"
        "print(*(run.child([sys.executable, '-c', held.format(n)]).mebibytes for n in (128, 512)))"
    )
    made = processes.run([sys.executable, "-c", code], cwd=ROOT)
    small, large = map(float, made.stdout.split())
    assert large - small == pytest.approx(384, abs=15)


def test_a_child_that_fails_ends_the_benchmark_with_what_it_said(run) -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        run.child([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_every_system_has_settings_for_its_step(run) -> None:
    from benchmarks import steps

    networks = [name for name, kind in system_classes().items() if kind.has_network]
    assert networks == list(steps.SETTINGS)


def test_made_up_clips_have_official_names(run, tmp_path: Path) -> None:
    from data import clips

    folder = run.make_clips(tmp_path, 2, 0.1)
    names = sorted(folder.glob("*/*.wav"))
    assert len(names) == 4
    for path in names:
        assert clips.parse_clip(path, "fan", path.parent.name).section == "section_00"


def test_a_job_takes_its_start_and_the_same_for_each_clip() -> None:
    from benchmarks import growth, run

    runs = [
        growth.Measured("ae", "training", clips, run.Child(None, 0, 0, 5 + 0.1 * clips))
        for clips in (50, 200, 800)
    ]
    assert growth.job_seconds(runs) == pytest.approx((5, 0.1))


def test_more_nodes_take_less_until_the_directory_or_the_longest_job_decides() -> None:
    from benchmarks import growth

    lines = growth.projection(growth.CASES[0], {"training": (10.0, 0.1), "testing": (5.0, 0.01)})
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| 1")]
    # 1000 jobs of 110 core seconds on 16 cores: 63 after one another; 10.7 minutes of reading.
    assert rows[0] == ["1", "33.0", "115.5", "15.8", "10.7", "cores"]
    assert rows[-1] == ["1000", "1.8", "10.7", "10.7", "10.7", "directory"]


def test_each_size_of_a_batch_is_measured_once(monkeypatch) -> None:
    from benchmarks import batches

    taken = iter([4.0, 2.0, 1.0, 3.0, 8.0])
    monkeypatch.setattr(batches, "seconds_per_window", lambda system, frames: next(taken) / 1000)
    assert batches.rows("ae", 1, 1) == [
        *("| ae | 819 | 4 ms | 4.00 |", "| ae | 1638 | 2 ms | 2.00 |"),
        *("| ae | 3276 (in use) | 1 ms | 1.00 |", "| ae | 6553 | 3 ms | 3.00 |"),
        "| ae | 13107 | 8 ms | 8.00 |",
    ]


def test_peaks_of_each_system_are_one_row_and_kept(tmp_path: Path) -> None:
    from benchmarks import memory

    makes_features = [name for name, kind in system_classes().items() if not kind.reads_files]
    assert list(memory.CASES) == makes_features
    peaks = {"start": 600.4, "features": 153, "training": 900, "few": 800, "many": 801}
    rows = {"ae": memory.table_row("ae", peaks, 1000)}
    path = tmp_path / "memory.md"
    path.write_text(memory.report(rows, 1000))
    assert memory.kept_rows(path) == rows
    assert "| ae | 600 | 153 | 900 (1000) | 800 (250) | 801 (1000) |" in path.read_text()
    assert memory.kept_rows(tmp_path / "none.md") == {}


def test_the_peak_is_that_of_the_work_only() -> None:
    from benchmarks import memory

    measured: dict[str, float] = {}
    for name, mebibytes in (("large", 300), ("small", 10)):
        memory.with_peak(measured, name, lambda n=mebibytes: bytes([1]) * (n * 2**20))
    assert measured["large"] - measured["small"] == pytest.approx(290, abs=20)


def test_the_gpu_page_has_a_row_per_precision_and_the_machine() -> None:
    from benchmarks import gpu

    page = gpu.report(
        ["| float32 | 50.0 | 800 | 0 |", "| mixed_float16 | 40.0 | 700 | 1e-4 |"], 8, 2
    )
    assert "`python -m benchmarks.gpu --clips 8 --epochs 2`" in page
    assert page.endswith("| mixed_float16 | 40.0 | 700 | 1e-4 |\n")
