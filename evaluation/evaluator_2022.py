"""What the published evaluators give beyond result.csv, from the same sections.

The evaluator of DCASE2022 (Kota-Dohi/dcase2022_evaluator, MIT) adds the AUC of all clips of a
section, and pools AUC, pAUC, precision, recall and F1 score of both domains into four means, for
every machine type and over all. Its row "source harmonic mean" of a machine type covers the first
of three sections and "target harmonic mean" all that is left; here they cover their domain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation import intervals
from evaluation.metrics import (
    DOMAIN_COLUMNS,
    MAX_FPR,
    OFFICIAL_SCORE_COLUMNS,
    ScoredSection,
    SectionResult,
    arithmetic_mean,
    harmonic_mean,
    official_score,
)
from evaluation.text_tables import format_values, group_by_machine_type, text_table

POOLED_COLUMNS = ("AUC", "pAUC", "precision", "recall", "F1 score")
ALL_MACHINE_TYPES = "all machine types"

# Where the two domains of a pooled column stand in DOMAIN_COLUMNS; pAUC counts for both.
_SOURCE, _TARGET = (0, 2, 3, 5, 7), (1, 2, 4, 6, 8)


def pooled_means(results: Sequence[SectionResult]) -> dict[str, np.ndarray]:
    """Return the four means of the published evaluator: name → (5,), as POOLED_COLUMNS.

    results : sections of a dataset with domains, at least one. Undefined values are left out.
    """
    values = np.array([list(result.metrics.values()) for result in results], dtype=float)
    source, target = values[:, _SOURCE], values[:, _TARGET]
    both = np.concatenate([source, target])
    return {
        "arithmetic mean": arithmetic_mean(both),
        "harmonic mean": harmonic_mean(both),
        "source harmonic mean": harmonic_mean(source),
        "target harmonic mean": harmonic_mean(target),
    }


def rows(results: Sequence[SectionResult], max_fpr: float = MAX_FPR) -> list[list[str]]:
    """Return the rows that follow the table of result.csv; none for a dataset without domains."""
    if not results or tuple(results[0].metrics) != DOMAIN_COLUMNS:
        return []
    lines = [["machine type", "section", "AUC (all)"]]
    lines += [[r.machine_type, r.section, *format_values([r.auc_all], "{!r}")] for r in results]
    lines += [[], ["machine type", "mean", *POOLED_COLUMNS]]
    for machine_type, group in _groups(results):
        for name, values in pooled_means(group).items():
            lines.append([machine_type, name, *format_values(values, "{!r}")])
    score = format_values([official_score(results)], "{!r}")
    lines += [[], ["official score", *score]]
    if clips := _all_clips(results):
        _, low, high = intervals.jackknife([clips], max_fpr)
        lines.append(["official score, 95 % interval (jackknife)", repr(low), repr(high)])
        lines.append(["official score ci95", repr(intervals.evaluator_field(clips, max_fpr))])
    return [*lines, []]


def text(results: Sequence[SectionResult], max_fpr: float = MAX_FPR) -> str:
    """Return the same for the terminal, three decimals, without the score; "" without domains."""
    if not results or tuple(results[0].metrics) != DOMAIN_COLUMNS:
        return ""
    lines = []
    for machine_type, group in _groups(results):
        means = pooled_means(group).items()
        table = [[name, *format_values(values)] for name, values in means]
        lines.append(text_table([[machine_type, *POOLED_COLUMNS], *table]))
        if machine_type != ALL_MACHINE_TYPES:
            aucs = [f"{r.section} {format_values([r.auc_all])[0]}".rstrip() for r in group]
            lines.append(f"AUC (all): {', '.join(aucs)}")
        lines.append("")
    if clips := _all_clips(results):
        score, low, high = intervals.jackknife([clips], max_fpr)
        lines.append(f"official score {score:.3f}, 95 % interval {low:.3f} to {high:.3f}")
    return "\n".join(lines).rstrip("\n")


def _all_clips(
    results: Sequence[SectionResult],
) -> list[ScoredSection]:
    """Return all sections with their clips; none where a section has no clips or no AUC."""
    known = [
        result.scored
        for result in results
        if result.scored is not None
        and np.isfinite([result.metrics[name] for name in OFFICIAL_SCORE_COLUMNS]).all()
    ]
    return known if len(known) == len(results) else []


def _groups(
    results: Sequence[SectionResult],
) -> list[tuple[str, list[SectionResult]]]:
    return [*group_by_machine_type(results), (ALL_MACHINE_TYPES, list(results))]
