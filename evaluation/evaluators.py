"""What the published evaluators give beyond result.csv, from the same sections.

From 2021 on they pool AUC, pAUC, precision, recall and F1 score of both domains into four means,
for every machine type and over all, and give the official score; from 2022 on also the AUC of all
clips of a section and an interval. The row "source harmonic mean" of a machine type covers one of
six values in the evaluator of 2022, and "target harmonic mean" the five others (that of 2021 counts
the machine types instead of the sections); here they cover their domain, as from 2023 on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation import intervals
from evaluation.metrics import (
    MAX_FPR,
    ScoredSection,
    SectionResult,
    arithmetic_mean,
    harmonic_mean,
    official_score,
)
from evaluation.text_tables import format_values, group_by_machine_type, text_table
from evaluation.years import DOMAINS

ALL_MACHINE_TYPES = "all machine types"


def pooled_means(results: Sequence[SectionResult]) -> dict[str, np.ndarray]:
    """Return the four means of the published evaluator: name → (5,), as `Definition.pooled`.

    results : sections of a dataset with domains, at least one. Undefined values are left out.
    """
    definition = results[0].definition
    values = np.array([list(result.metrics.values()) for result in results], dtype=float)
    at = {name: number for number, name in enumerate(definition.column_names)}
    source, target = (
        values[:, [at[column.format(domain)] for _, column in definition.pooled]]
        for domain in DOMAINS
    )
    both = np.concatenate([source, target])
    return {
        "arithmetic mean": arithmetic_mean(both),
        "harmonic mean": harmonic_mean(both),
        "source harmonic mean": harmonic_mean(source),
        "target harmonic mean": harmonic_mean(target),
    }


def rows(results: Sequence[SectionResult], max_fpr: float = MAX_FPR) -> list[list[str]]:
    """Return the rows that follow the table of result.csv; none for a year without such rows."""
    if not results or not results[0].definition.pooled:
        return []
    definition, lines = results[0].definition, []
    if definition.auc_all:
        lines += [["machine type", "section", "AUC (all)"]]
        lines += [[r.machine_type, r.section, *format_values([r.auc_all], "{!r}")] for r in results]
        lines += [[]]
    lines += [["machine type", "mean", *(name for name, _ in definition.pooled)]]
    for machine_type, group in _groups(results):
        for name, values in pooled_means(group).items():
            lines.append([machine_type, name, *format_values(values, "{!r}")])
    score = format_values([official_score(results)], "{!r}")
    lines += [[], ["official score", *score]]
    if clips := _all_clips(results):
        _, low, high = intervals.jackknife([clips], max_fpr)
        lines.append(["official score, 95 % interval (jackknife)", repr(low), repr(high)])
        if definition.ci95:
            field = intervals.evaluator_field(clips, max_fpr)
            lines.append(["official score ci95", repr(field)])
    return [*lines, []]


def text(results: Sequence[SectionResult], max_fpr: float = MAX_FPR) -> str:
    """Return the same for the terminal, three decimals, without the score; "" without such rows."""
    if not results or not results[0].definition.pooled:
        return ""
    definition, lines = results[0].definition, []
    for machine_type, group in _groups(results):
        means = pooled_means(group).items()
        table = [[name, *format_values(values)] for name, values in means]
        heads = [name for name, _ in definition.pooled]
        lines.append(text_table([[machine_type, *heads], *table]))
        if definition.auc_all and machine_type != ALL_MACHINE_TYPES:
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
        and np.isfinite([result.metrics[name] for name in result.definition.score]).all()
    ]
    return known if len(known) == len(results) else []


def _groups(
    results: Sequence[SectionResult],
) -> list[tuple[str, list[SectionResult]]]:
    return [*group_by_machine_type(results), (ALL_MACHINE_TYPES, list(results))]
