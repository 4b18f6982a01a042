"""GRLNet's measures: AUC, and F1, precision, recall and accuracy where both errors are equal.

That threshold is chosen with the labels of the test clips, so these measures say what a system
could reach; no decision of a test run comes from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.clips import Clip
from evaluation.kept_rows import save_merged, table_path

# As in the release, the normal clips are the positives of the first three.
COLUMNS = ("AUC", "equal error rate", "threshold", "F1", "precision", "recall", "accuracy")


def measures(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return the measures of clips, by the names of COLUMNS.

    Parameters
    ----------
    labels : (n_clips,) 0 normal, 1 anomaly; both must be there
    scores : (n_clips,) higher is more anomalous; a clip counts as an anomaly from the threshold on
    """
    from sklearn import metrics

    fpr, tpr, thresholds = metrics.roc_curve(labels, scores)
    at = int(np.argmin(np.abs(1 - tpr - fpr)))
    decided = (scores >= thresholds[at]).astype(int)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, decided, pos_label=0, average="binary", zero_division=0
    )
    values = (
        metrics.auc(fpr, tpr),
        fpr[at],
        thresholds[at],
        f1,
        precision,
        recall,
        metrics.accuracy_score(labels, decided),
    )
    return {name: float(value) for name, value in zip(COLUMNS, values, strict=True)}


def save(
    directory: Path,
    scored: Sequence[tuple[str, Sequence[Clip], np.ndarray]],
    mode: str = "dev",
) -> None:
    """Write `equal_error.csv`: one row per section whose clips all have labels, of both kinds.

    Rows of other machine types stay. Without a row of the evaluation data nothing is written.

    scored : machine type, test clips and their scores, of each machine type
    mode : "dev", or "eval" for `equal_error_eval.csv`
    """
    rows = []
    for machine_type, clips, scores in scored:
        sections = np.array([clip.section for clip in clips])
        labels = np.array([clip.label for clip in clips])
        for section in np.unique(sections):
            inside = sections == section
            if set(labels[inside]) == {"normal", "anomaly"}:
                values = measures((labels[inside] == "anomaly").astype(int), scores[inside])
                rows.append((machine_type, section, *values.values()))
    path = table_path(directory / "equal_error.csv", mode)
    if rows or mode == "dev":
        save_merged(
            path, ("machine_type", "section", *COLUMNS), rows, [name for name, *_ in scored]
        )
