"""Compare systems and seeds, and look into single clips: python 02_report.py [RESULT_DIR ...]"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from core import settings
from core.script import run_script
from reporting import command_line, explanations, figures, folder, media, page, runs, tables


def main(argv: Sequence[str] | None = None) -> int:
    """Read the results, then write tables, pictures, clips and the page."""
    command = command_line.parse_report(__doc__, argv)
    config = settings.read_config(command.config, command.assignments)
    folder.check(command.to)
    shared = config.shared()
    data = runs.read_runs(
        *(command.results, str(shared.result_directory), command.baseline, command.ground_truth),
        *(shared.max_fpr, shared.seed),
    )
    report = tables.compare(data)
    with folder.replaced(command.to) as made:
        tables.save(made, report)
        losses = explanations.histories(data, config)
        pictures = figures.draw(made / "pictures", data, losses)
        clips = media.collect(data, shared, made, command.to)
        explanations.explain(data, config, clips, made)
        page.save(made, report, pictures, clips, shared)
    for line in [*data.gaps, *data.problems, *data.not_shown]:
        print(f"warning: {line}", file=sys.stderr)
    print(tables.on_screen(report))
    print(f"report -> {command.to / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
