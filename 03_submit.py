"""Make the package of a challenge submission: python 03_submit.py --system ae mix"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from core.script import run_script
from core.settings import read_config
from reporting import command_line, submission


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything, then write the zip."""
    command = command_line.parse_submission(__doc__, argv)
    config = read_config(command.config, command.assignments)
    label, systems = submission.collect(config, command.systems)
    path = command.to / f"{label}.zip"
    submission.write(path, systems)
    for entry, name in zip(systems, command.systems, strict=True):
        print(f"{entry}: {name}, {len(systems[entry]) - 1} CSV files and {entry}.meta.yaml")
    print(f"package -> {path}; the technical report is not in it")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
