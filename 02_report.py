"""Compare systems and seeds, and look into single clips: python 02_report.py [RESULT_DIR ...]"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from core import settings
from core.script import guarded
from reporting import command_line, explanations, figures, folder, media, page, runs, tables


def main(argv: Sequence[str] | None = None) -> int:
    """Read the results, then write tables, pictures, clips and the page."""
    args = command_line.parse(__doc__, argv)
    everything = settings.yaml_load(args.config, args.set)
    folder.check(args.to)
    param = settings.shared(everything)
    pattern, max_fpr, seed = param["result_directory"], param["max_fpr"], param["seed"]
    data = runs.read_runs(args.result, pattern, args.baseline, args.ground_truth, max_fpr, seed)
    report = tables.compare(data)
    with folder.replaced(args.to) as made:
        tables.save(made, report)
        losses = explanations.histories(data, everything)
        pictures = figures.draw(made / "pictures", data, losses)
        clips = media.collect(data, param, made, args.to)
        explanations.explain(data, everything, clips, made)
        page.save(made, report, pictures, clips, param)
    for line in [*data.gaps, *data.problems, *data.not_shown]:
        print(f"warning: {line}", file=sys.stderr)
    print(tables.on_screen(report))
    print(f"report -> {args.to / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
