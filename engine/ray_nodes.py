"""What a node of a cluster sees of the directories of a run.

Nodes get these functions as text, for they may not see this project: only Python's own modules.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os


def digest(directory: str) -> str:
    """What a directory holds: its Python files and its packages' with their sizes, else all names.

    directory : of this project, or of a dataset, which has no Python files
    """
    entries = [entry for entry in os.scandir(directory) if not entry.name.startswith(".")]
    packages = [entry.path for entry in entries if os.path.isfile(f"{entry.path}/__init__.py")]
    held = [
        f"{os.path.relpath(entry.path, directory)} {entry.stat().st_size}"
        for folder in (directory, *packages)
        for entry in os.scandir(folder)
        if entry.name.endswith(".py")
    ]
    held = held or [entry.name for entry in entries]
    return hashlib.sha256("\n".join(sorted(held)).encode()).hexdigest()


def missing(read: dict[str, str], tokens: list[str]) -> list[str]:
    """What a node lacks, a line each.

    Parameters
    ----------
    read : directory → its digest
    tokens : files that the driver left in the directories to write into
    """
    problems = []
    for directory, expected in read.items():
        try:
            if digest(directory) != expected:
                problems.append(f"{directory} holds something else there")
        except OSError:
            problems.append(f"does not see {directory}")
    for token in tokens:
        directory = os.path.dirname(token)
        if not os.path.exists(token):
            problems.append(f"does not see {directory}, or another one of that name")
        elif not os.access(directory, os.W_OK):
            problems.append(f"cannot write into {directory}")
    if importlib.util.find_spec("tensorflow") is None:
        problems.append("its Python has no TensorFlow")
    return problems
