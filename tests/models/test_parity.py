"""Every system against its published implementation, fixture by fixture.

PARITY_DIR names the folder of fixtures (default: tests/parity). A fixture of system NAME is
checked by the functions `check_*` of tests/models/parity_NAME.py.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import pytest

import keras_model
from tests.models.parity_fixture import PARITY_DIR, Fixture, folders


def cases() -> list:
    """(fixture folder, check) for every check of every fixture's system."""
    found = []
    for folder in folders():
        system = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["system"]
        module = f"tests.models.parity_{system}"
        if system not in keras_model.SYSTEMS and importlib.util.find_spec(module) is None:
            reason = f"the system {system} of fixture {folder.name} is not built yet"
            found.append(
                pytest.param(folder, None, id=folder.name, marks=pytest.mark.skip(reason=reason))
            )
            continue
        checks = importlib.import_module(module)
        found += [
            pytest.param(
                folder,
                getattr(checks, name),
                id=f"{folder.name}-{name[6:]}",
                marks=pytest.mark.slow if name == "check_training" else (),
            )
            for name in dir(checks)
            if name.startswith("check_")
        ]
    return found


@pytest.mark.parametrize(("folder", "check"), cases())
def test_parity(folder: Path, check) -> None:
    check(Fixture(folder))


def test_there_are_fixtures() -> None:
    assert folders(), f"no fixture in {PARITY_DIR}"
