"""What several tests share: a small dataset, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.demo_data import make_dataset


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dev_data` and `eval_data` of 2022: two machine types, clips of 5 s."""
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder, 2022, ["fan", "valve"], clips=8, test_clips=8, seconds=5.0)
    return folder
