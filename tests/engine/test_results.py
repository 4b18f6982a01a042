"""What a test run leaves behind: the table that compares runs."""

from __future__ import annotations

import numpy as np
import pytest

from engine import results
from evaluation.metrics import DOMAIN_COLUMNS, PLAIN_COLUMNS, SectionResult


def section(*values: float, columns: tuple[str, ...] = DOMAIN_COLUMNS):
    padded = [*values, *[0.5] * len(columns)][: len(columns)]
    return SectionResult("fan", "00", dict(zip(columns, padded, strict=True)))


def cells(table: str) -> list[list[str]]:
    return [line.rsplit(maxsplit=4) for line in table.splitlines()[1:]]


def test_a_row_a_run_with_harmonic_means_and_the_official_score() -> None:
    table = results.comparison(
        {
            "ae seed 0": [section(0.8, 0.4, 0.5), section(0.4, 0.4, 0.6)],
            "vae seed 0": [section(0.9, 0.6, 0.5)],
            "unlabelled seed 0": [],
        }
    )
    assert table.splitlines()[0].split("  ")[-1].strip() == "official score"
    score = 6 / sum(1 / np.array([0.8, 0.4, 0.5, 0.4, 0.4, 0.6]))
    assert cells(table) == [
        ["ae seed 0", "0.533", "0.400", "0.545", f"{score:.3f}"],
        ["vae seed 0", "0.900", "0.600", "0.500", f"{3 / (1 / 0.9 + 1 / 0.6 + 2):.3f}"],
    ]


def test_without_domains_arithmetic_means_and_no_official_score() -> None:
    plain = [section(auc, 0.5, columns=PLAIN_COLUMNS) for auc in (0.6, 0.9)]
    table = results.comparison({"ae seed 0": plain}).splitlines()
    assert table[0].split() == ["AUC", "pAUC"]
    assert table[1].split() == ["ae", "seed", "0", "0.750", "0.500"]


@pytest.mark.parametrize("judged", [{}, {"ae seed 0": []}])
def test_nothing_to_compare(judged) -> None:
    assert "nothing to compare" in results.comparison(judged)
