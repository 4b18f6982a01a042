"""Compare systems and seeds, and look into single clips: python 02_report.py [RESULT_DIR ...]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from core import settings
from core.command_line import add_settings
from core.script import guarded
from reporting import explanations, figures, folder, media, page, runs, tables
from reporting.significance import chances


def main(argv: Sequence[str] | None = None) -> int:
    """Gather what there is, then write tables, pictures, clips and the page."""
    args = command_line(argv)
    everything = settings.read_config(args.config, args.set)
    folder.check(args.to)
    param = everything.shared()
    max_fpr, seed = param.max_fpr, param.seed
    found = runs.gather(
        args.result, str(param.result_directory), args.baseline, args.ground_truth, max_fpr
    )
    baseline = runs.check_baseline(found, args.baseline)
    rows = tables.compare(found, max_fpr)
    chance = chances(found, baseline, max_fpr, seed)
    with folder.replaced(args.to) as made:
        tables.save(made, found, rows, chance, baseline, max_fpr, seed)
        losses = explanations.histories(found, everything)
        drawn, unread = figures.draw(made / "pictures", found, losses, max_fpr)
        heard, picked, gone = media.hear(found, param, made, args.to)
        unasked = explanations.explain(found, everything, picked, heard, made)
        unheard = [*unread, *gone, *unasked]
        page.save(made, found, rows, chance, drawn, heard, baseline, param, unheard)
    for line in [*found.gaps, *found.problems, *unheard]:
        print(f"warning: {line}", file=sys.stderr)
    print(tables.on_screen(found, rows, chance, baseline))
    print(f"report -> {args.to / 'report.html'}")
    return 0


def command_line(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with 2 and the usage on misuse."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "result",
        nargs="*",
        type=Path,
        metavar="RESULT_DIR",
        help="what to report, with everything below (default: result_directory of the settings)",
    )
    parser.add_argument(
        "--to", type=Path, default=Path("report"), metavar="DIR", help="where to (default: report)"
    )
    parser.add_argument(
        "--baseline",
        metavar="SYSTEM",
        help="what the others are tested against (default: ae)",
    )
    parser.add_argument(
        "--ground-truth",
        type=Path,
        metavar="DIR",
        help="holds ground_truth_data/ and ground_truth_domain/, for clips without labels",
    )
    add_settings(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(guarded(main))
