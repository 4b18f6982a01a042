"""A short form of `make kill-test`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import kill


@pytest.mark.slow
def test_a_few_kills_leave_the_results_of_an_undisturbed_run(tmp_path: Path) -> None:
    assert "18 CSV files as undisturbed" in kill.strike(tmp_path, kills=3, seed=5)


def test_a_half_written_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "result.csv").write_text("section,AUC\n00,0.")
    with pytest.raises(kill.Broken, match=r"result\.csv is half-written"):
        kill.check_whole(tmp_path)
