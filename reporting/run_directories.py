"""Where the results of each system and seed lie, and how their directories name them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

_SEED = re.compile(r"(?:seed[_-]?)?(\d+)", re.IGNORECASE)


def find_runs(
    directories: Sequence[Path], pattern: str, problems: list[str]
) -> dict[tuple[str, str], Path]:
    """Return (system, seed) → the directory of its results; the seed "" where nothing names it.

    Parameters
    ----------
    directories : searched with everything below; empty takes those that fit the pattern
    pattern : `result_directory` of the settings, with {system} and maybe {seed}
    problems : gets one line per directory that does not exist or has no scores
    """
    regex = _pattern_regex(pattern)
    if directories:
        below = _below_directories(directories, problems)
    else:
        literal = [glob.escape(part) for part in re.split(r"\{(?:system|seed)\}", pattern)]
        starts = sorted(map(Path, glob.glob("*".join(literal))))
        below = [(start, path) for start in starts for path in _with_scores(start)]
    places: dict[tuple[str, str], Path] = {}
    for start, path in below:
        match = regex.fullmatch(os.path.abspath(path))
        if match:
            words = {"system": path.resolve().name, "seed": "", **match.groupdict()}
            identity = words["system"], words["seed"]
            if words["seed"] and not words["seed"].isdecimal():
                identity = "/".join(identity), ""
        else:
            identity = _identity_from_path(start, path)
        if identity in places and places[identity].resolve() != path.resolve():
            identity = (str(path), "")
        places.setdefault(identity, path)
    return places


def _below_directories(directories: Sequence[Path], problems: list[str]) -> list[tuple[Path, Path]]:
    """(directory given, directory with scores in it or below) pairs."""
    below = []
    for directory in directories:
        if not directory.is_dir():
            problems.append(f"{directory}: no such directory (from {Path.cwd()})")
            continue
        pairs = [(directory, path) for path in _with_scores(directory)]
        if not pairs:
            problems.append(f"{directory}: no anomaly_score_*.csv in it or below")
        below += pairs
    return below


def _pattern_regex(pattern: str) -> re.Pattern:
    text, seen = "", set()
    for part in re.split(r"(\{system\}|\{seed\})", os.path.abspath(pattern)):
        name = part[1:-1]
        if part not in ("{system}", "{seed}"):
            text += re.escape(part)
        else:
            text += f"(?P={name})" if name in seen else f"(?P<{name}>[^{re.escape(os.sep)}]+)"
            seen.add(name)
    return re.compile(text)


def _identity_from_path(start: Path, path: Path) -> tuple[str, str]:
    """Return system and seed by the names of the directories from `start` to `path`."""
    parts = list(path.relative_to(start).parts)
    home = start.resolve()
    if not parts or (len(parts) == 1 and _SEED.fullmatch(parts[0])):
        parts.insert(0, home.name)
        if len(parts) == 1 and _SEED.fullmatch(home.name):
            parts.insert(0, home.parent.name)
    seeds = [part for part in parts if _SEED.fullmatch(part)]
    if not seeds or len(parts) == 1:
        return "/".join(parts), ""
    parts.remove(seeds[-1])
    return "/".join(parts), _SEED.fullmatch(seeds[-1])[1]


def _with_scores(directory: Path) -> list[Path]:
    paths = []
    for path, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if any(name.startswith("anomaly_score_") and name.endswith(".csv") for name in files):
            paths.append(Path(path))
    return paths
