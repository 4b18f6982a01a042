"""Checks of a node of a cluster: that it sees the directories of a run.

Nodes get the text of these functions, because they may not see this project: the functions import
only Python's own modules.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os


def digest(directory: str) -> str:
    """Return a hash of a directory's content.

    It covers the Python files there and in packages one level below, with their sizes; without
    Python files, the names of all entries.

    directory : this project, or a dataset, which has no Python files
    """
    entries = [entry for entry in os.scandir(directory) if not entry.name.startswith(".")]
    packages = [entry.path for entry in entries if os.path.isfile(f"{entry.path}/__init__.py")]
    lines = [
        f"{os.path.relpath(entry.path, directory)} {entry.stat().st_size}"
        for folder in (directory, *packages)
        for entry in os.scandir(folder)
        if entry.name.endswith(".py")
    ]
    lines = lines or [entry.name for entry in entries]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def check_node(read: dict[str, str], tokens: list[str]) -> list[str]:
    """Return why jobs cannot run on this node, one line per problem.

    Parameters
    ----------
    read : directory → its digest where the command was started
    tokens : files that the command has written into its output directories
    """
    problems = []
    for directory, expected in read.items():
        try:
            if digest(directory) != expected:
                problems.append(f"{directory} has other content there")
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
