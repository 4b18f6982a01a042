"""Evaluate the CSV files of a result directory, whichever program scored the clips.

python -m evaluation DIR [--ground-truth PATH] [--year YEAR] [--max-fpr 0.1] [--to FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from core.command_line import program_name
from evaluation.csv_files import evaluate_directory
from evaluation.metrics import MAX_FPR, EvaluationError
from evaluation.result_csv import format_table, write_result_csv
from evaluation.years import NAMES


def _parse_max_fpr(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate a directory of saved CSV files: print the table and write it."""
    parser = argparse.ArgumentParser(prog=program_name(), description=main.__doc__)
    parser.add_argument("directory", metavar="DIR", type=Path, help="has anomaly_score_*.csv")
    truth_help = "published truth of clips without labels: ground_truth_data/, or a list"
    parser.add_argument("--ground-truth", metavar="PATH", type=Path, help=truth_help)
    year_help = "evaluate as in this year (default: the year that the file names tell)"
    parser.add_argument("--year", choices=NAMES, help=year_help)
    table_help = "the table to write (default: DIR/result.csv)"
    parser.add_argument("--to", metavar="FILE", type=Path, help=table_help)
    rate_help = f"pAUC is taken up to this false positive rate (default: {MAX_FPR})"
    parser.add_argument("--max-fpr", type=_parse_max_fpr, default=MAX_FPR, help=rate_help)
    given = parser.parse_args(arguments)
    try:
        results, warnings = evaluate_directory(
            given.directory, given.ground_truth, given.max_fpr, given.year
        )
        rows, means = [], ""
        if given.ground_truth:
            from evaluation import evaluators

            rows = evaluators.rows(results, given.max_fpr)
            means = evaluators.text(results, given.max_fpr)
        write_result_csv(given.to or given.directory / "result.csv", results, rows)
    except (EvaluationError, OSError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 1
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if means:
        print(means, end="\n\n")
    print(format_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
