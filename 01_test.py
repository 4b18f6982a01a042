"""Score and judge the test clips of every machine type: python 01_test.py -d"""

from __future__ import annotations

import sys

from core.errors import ProblemCollector
from core.files import lock_directories
from core.script import run_script
from engine import ensemble, options, results, testing
from engine.executors import make_executor


def main() -> int:
    """Check everything, then score, decide and, where labels are known, evaluate and compare."""
    command, test_options = options.parse_test_command(__doc__)
    config = command.read_config()
    if command.print_config:
        print(command.configuration(config), end="")
        return 0
    runs = config.runs(command.systems, command.seeds)
    mixes = ensemble.runs(test_options.ensembles, config, command.seeds)
    directories = [run.result_directory for run in [*runs, *(run for _, run in mixes)]]
    failures = ProblemCollector(log=True)
    with lock_directories(*directories), make_executor(command, runs) as executor:
        planned = testing.plan(command, test_options, config, runs, executor)
        tested = testing.test(command, test_options, planned, executor, failures)
        tested += ensemble.test(mixes, tested, test_options, command.mode)
        results.compare(tested)
        failures.stop(sum(len(tasks) for _, tasks in planned))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
