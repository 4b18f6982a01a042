"""Train a system on the normal clips of every machine type: python 00_train.py -d"""

from __future__ import annotations

import sys

from core.command_line import parse_command_line
from core.errors import ProblemCollector
from core.files import lock_directories
from core.script import run_script
from engine import jobs, training
from engine.executors import make_executor


def main() -> int:
    """Check everything, then train what is not trained yet: here, side by side or on a cluster."""
    command, _ = parse_command_line(__doc__)
    config = command.read_config()
    if command.print_config:
        print(command.configuration(config), end="")
        return 0
    runs = config.runs(command.systems, command.seeds)
    failures = ProblemCollector(log=True)
    with (
        lock_directories(*(run.model_directory for run in runs)),
        make_executor(command, runs) as executor,
    ):
        todo = training.plan(command, config, runs, executor)
        jobs.run_jobs(todo, executor, failures)
        failures.stop(len(todo))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
