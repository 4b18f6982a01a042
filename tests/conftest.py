"""Small demo data, and the scripts run as a user runs them."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from checkpoints import files
from core import settings
from core.run_settings import SystemSettings
from core.script import run_script
from data.clips import Clip
from tests import processes
from tests.checkpoints import torch_format
from tools import demo_data

ROOT = Path(__file__).resolve().parent.parent


# They train or start other programs for many seconds, so a test that uses one is slow.
SLOW_FIXTURES = {"trained", "handed", "demo_report", "two_nodes"}


# A file runs in one process (--dist loadfile), so those that take longest begin first.
LONGEST_FILES = {"test_kill.py", "test_contract.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a slow fixture as `slow`; put the longest files first."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in LONGEST_FILES)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dev_data and eval_data of two machine types in the 2022 layout; read only."""
    folder = tmp_path_factory.mktemp("demo")
    demo_data.make_dataset(folder, machines=["fan", "valve"], clips=10, test_clips=8, seconds=5.0)
    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of real clips and official results, named by REFERENCE_DIR."""
    folder = os.environ.get("REFERENCE_DIR")
    if not folder:
        pytest.skip("REFERENCE_DIR is not set: no real clips to check against")
    return Path(folder)


@pytest.fixture
def param(tmp_path: Path) -> SystemSettings:
    """The settings of the dense autoencoder, with a cache of the test's own."""
    return (
        settings.read_config().for_system("ae").with_values({"cache_directory": tmp_path / "cache"})
    )


@pytest.fixture
def pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch's checkpoints be read; where it is not installed, by what stands in for it."""
    if torch_format.INSTALLED:
        return
    read_torch = files.read_torch

    def read(path: Path, zipped: bool) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "torch", torch_format.stand_in())
            return read_torch(path, zipped)

    monkeypatch.setattr(files, "read_torch", read)


def run_inside(
    script: str, *arguments: str, data: Path, out: Path, assigned: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """As `call_script`, but in this process, where TensorFlow has started already."""
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    command = [script, *arguments, "--set", *assigned, *places(data, out)]
    said, wrong = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(wrong),
    ):
        patch.setattr(sys, "argv", command)
        code = run_script(module.main)
    return subprocess.CompletedProcess(command, code, said.getvalue(), wrong.getvalue())


def places(data: Path, out: Path) -> list[str]:
    """Assignments for --set: the data of a folder, outputs in another."""
    return [
        f"dev_directory={data}/dev_data",
        f"eval_directory={data}/eval_data",
        f"model_directory={out}/model/{{system}}",
        f"result_directory={out}/result/{{system}}",
        f"cache_directory={out}/cache",
    ]


def call_script(
    script: str,
    *arguments: str,
    data: Path | None = None,
    out: Path | None = None,
    assigned: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a script (or a module) as a user does, its data and its outputs in the folders given."""
    place = [str(ROOT / script)] if script.endswith(".py") else ["-m", script]
    command = [sys.executable, *place, *arguments]
    if data or assigned:
        command += ["--set", *assigned, *(places(data, out) if data else [])]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return processes.run(command, cwd=out, env=env)


def imports_of(command: list[str], names: tuple[str, ...], timeout: float) -> tuple[list[str], str]:
    """Return which packages a run of a script has imported at its end, and its output.

    Parameters
    ----------
    command : the script, which must end with 0, and its arguments
    names : the packages to look for
    timeout : seconds
    """
    code = (
        f"import runpy, sys; sys.argv = {command!r}\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        f"finally: print([name for name in {names!r} if name in sys.modules])"
    )
    run = processes.run([sys.executable, "-c", code], cwd=ROOT, timeout=timeout)
    assert run.returncode == 0, run.stderr
    *output, last = run.stdout.splitlines()
    return ast.literal_eval(last), "\n".join(output)


@pytest.fixture
def two_clips(tmp_path: Path) -> list[Clip]:
    """Files named as clips of two sections."""
    held = []
    for index in range(2):
        path = tmp_path / f"section_0{index}_source_train_normal_0000.wav"
        path.write_bytes(b"0" * 10)
        held.append(Clip(path, "fan", f"section_0{index}", "train", "source", "normal"))
    return held
