"""The packages that requirements.txt pins, with their licences: python -m tools.third_party"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"


def main() -> int:
    """Print the table, and what is pinned for other versions of Python."""
    print("# Third-party packages\n")
    print("What `requirements.txt` pins, and its licence in each package's own words. None of it")
    print("is part of this repository. `make licences` writes this file.\n")
    print("| package | licence |\n|---|---|")
    missing = []
    for name in pinned(REQUIREMENTS.read_text(encoding="utf-8")):
        try:
            print(f"| {name} | {licence(metadata.metadata(name))} |")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        print(f"\nOnly other versions of Python take: {', '.join(missing)}.")
    return 0


def pinned(text: str) -> list[str]:
    """The names that a requirements file pins, each once, in order."""
    return list(dict.fromkeys(re.findall(r"^([A-Za-z0-9._-]+)==", text, re.M)))


def licence(about: metadata.PackageMetadata) -> str:
    """What a package says of its licence: its SPDX expression, its classifiers, or its text."""
    if about.get("License-Expression"):
        return about["License-Expression"]
    kinds = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or []
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    lines = [line.strip() for line in (about.get("License") or "").splitlines() if line.strip()]
    return ", ".join(kinds) or (lines[0] if lines else "see its files")


if __name__ == "__main__":
    sys.exit(main())
