"""Train a system on the normal clips of every machine type: python 00_train.py -d"""

from __future__ import annotations

import sys
from pathlib import Path

import output
import settings
import training
import units


def main() -> int:
    """Check everything, then train what is not trained yet: here, side by side or on a cluster."""
    args = settings.command_line_chk(__doc__)
    params = settings.units(args, settings.yaml_load(args.config, args.set))
    failures = settings.Together(tell=True)
    with (
        output.alone(*(Path(param["model_directory"]) for param in params)),
        units.engine(args, params) as engine,
    ):
        todo = training.plan(args, params)
        units.run(todo, engine, failures)
        failures.stop(len(todo))
    return 0


if __name__ == "__main__":
    sys.exit(settings.guarded(main))
