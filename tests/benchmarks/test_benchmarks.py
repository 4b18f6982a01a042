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
