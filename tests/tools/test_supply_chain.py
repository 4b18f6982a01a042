"""The packages that the project depends on: pinned, complete, and listed with their licences."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import processes
from tests.conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
REQUIREMENTS = sorted(ROOT.glob("requirements*.txt"))
# Optional and large: only .pth checkpoints need it (docs/checkpoints.md).
NOT_PINNED = {"torch"}


def pins(path: Path, nested: bool = True) -> Iterator[Requirement]:
    """Yield what a requirements file pins, with the files that it includes."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            if nested:
                yield from pins(path.with_name(line.removeprefix("-r ")))
        else:
            yield Requirement(line)


def versions(path: Path, python: str) -> dict[str, str]:
    """Return package → version that a requirements file pins for a version of Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    return {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in pins(path)
        if pin.marker is None or pin.marker.evaluate(environment)
    }


def declared() -> Iterator[tuple[str, Requirement]]:
    """Yield each dependency of pyproject.toml with the requirements file that pins it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = {"cluster": "requirements-cluster.txt"}
    for line in project["dependencies"]:
        yield "requirements.txt", Requirement(line)
    for extra, lines in project["optional-dependencies"].items():
        for line in lines:
            yield files.get(extra, "requirements-dev.txt"), Requirement(line)


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_one_version(path: Path) -> None:
    for pin in pins(path, nested=False):
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, pin
        assert pin.url is None and not pin.extras, pin


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_within_its_range(python: str) -> None:
    for file, dependency in declared():
        name = canonicalize_name(dependency.name)
        if name not in NOT_PINNED:
            pinned = versions(ROOT / file, python)
            assert name in pinned, f"{file} does not pin {name} for Python {python}"
            assert pinned[name] in dependency.specifier, f"{name} {pinned[name]} in {file}"


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_the_pins_are_complete_and_agree(path: Path) -> None:
    """Like `pip check`, for the pins: packages that are not installed here are left out."""
    pinned = versions(path, f"{sys.version_info.major}.{sys.version_info.minor}")
    installed = {
        canonicalize_name(package.name): package
        for package in metadata.distributions()
        if pinned.get(canonicalize_name(package.name)) == package.version
    }
    assert installed
    problems = []
    for name, package in installed.items():
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                version = pinned.get(canonicalize_name(needed.name))
                if version is None or not needed.specifier.contains(version, prereleases=True):
                    problems.append(f"{name} needs {line}; {path.name} has {version}")
    assert problems == []


def test_every_package_is_listed_with_its_licence() -> None:
    page = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) +\| (\S.*?) +\|$", page, re.M)[1:]
    names = [canonicalize_name(name) for name, _ in rows]
    assert len(set(names)) == len(names)
    assert set(names) == {canonicalize_name(pin.name) for pin in pins(ROOT / "requirements.txt")}


def test_the_programs_of_the_makefile_are_pinned() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"\bpip-audit==[\d.]+$", text, re.M)
    assert re.search(r"\bpip-licenses==[\d.]+$", text, re.M)


@pytest.mark.slow
def test_a_wheel_brings_dependencies_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "readme.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("core", "models", "reporting", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "keras_model.py", source)
    wheel = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", *wheel, "--wheel-dir", tmp_path / "made", source]
    done = processes.run(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "made").glob("*.whl")
    with zipfile.ZipFile(made) as file:
        folders = {name.partition("/")[0] for name in file.namelist()}
        metadata_file = next(name for name in file.namelist() if name.endswith("/METADATA"))
        assert "Requires-Dist: tensorflow" in file.read(metadata_file).decode()
    assert all(name.endswith(".dist-info") for name in folders)
