"""A test whose scores are all cached: what it imports, and that it checks what it must."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import call_script, imports_of, places

SMALL = ("fit.epochs=1", "fit.verbose=0", "feature.n_mels=16")
HEAVY = ("tensorflow", "keras", "librosa", "matplotlib", "soundfile")


def heavy_imports(*arguments: str, data: Path, out: Path) -> tuple[list[str], str]:
    """Return which of HEAVY a run of 01_test.py has imported at its end, and its output."""
    command = ["01_test.py", "-d", *arguments, "--set", *SMALL, *places(data, out)]
    return imports_of(command, HEAVY, timeout=120)


@pytest.mark.slow
def test_cached_scores_need_no_tensorflow(demo, tmp_path):
    systems = ("--system", "ae", "idnn", "--ensemble", "mix=ae:1,idnn:1")
    trained = call_script(
        *("00_train.py", "-d", *systems[:3]), data=demo, out=tmp_path, assigned=SMALL
    )
    assert trained.returncode == 0, trained.stderr
    first, _ = heavy_imports(*systems, data=demo, out=tmp_path)
    assert "tensorflow" in first and "keras" in first  # so it would be noticed
    results = {path: path.read_bytes() for path in tmp_path.glob("result/*/*.csv")}
    warm, output = heavy_imports(*systems, data=demo, out=tmp_path)
    assert warm == []
    assert "scored before, and nothing has changed since" in output
    assert {path: path.read_bytes() for path in tmp_path.glob("result/*/*.csv")} == results
    assert "tensorflow" in heavy_imports("--system", "idnn", "--force", data=demo, out=tmp_path)[0]
