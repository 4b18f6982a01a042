"""Train a system on the normal clips of every machine type: python 00_train.py -d"""

from __future__ import annotations

import sys

from core import settings
from core.command_line import command_line_chk
from core.errors import ProblemCollector
from core.files import lock_directories
from core.script import run_script
from engine import executors, jobs, training


def main() -> int:
    """Check everything, then train what is not trained yet: here, side by side or on a cluster."""
    args = command_line_chk(__doc__)
    params = settings.read_config(args.config, args.set).runs(args.system, args.seed)
    failures = ProblemCollector(tell=True)
    with (
        lock_directories(*(param.model_directory for param in params)),
        executors.make_executor(
            args.cluster, args.jobs, args.gpus_per_job, *executors.directories(params, args.mode)
        ) as executor,
    ):
        todo = training.plan(args, params, executor)
        jobs.run_jobs(todo, executor, failures)
        failures.stop(len(todo))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
