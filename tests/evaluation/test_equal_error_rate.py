"""The measures at the equal error threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.clips import Clip
from evaluation import equal_error_rate


def test_measures_where_both_errors_are_one_in_four() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.5, 0.8, 0.9, 1.0])
    found = equal_error_rate.measures(labels, scores)
    assert found["AUC"] == pytest.approx(15 / 16)
    assert found["equal error rate"] in (0.0, 0.25)
    decided = scores >= found["threshold"]
    assert found["accuracy"] == np.mean(decided == labels)
    # The normal clips are the positives.
    right = np.sum(~decided & (labels == 0))
    assert found["recall"] == right / 4
    assert found["precision"] == right / np.sum(~decided)


def test_only_sections_with_both_labels_are_in_the_file(tmp_path: Path) -> None:
    clips = [
        Clip(Path(f"{index}.wav"), "fan", section, "test", label=label)
        for index, (section, label) in enumerate(
            [("section_00", "normal"), ("section_00", "anomaly"), ("section_01", "normal")]
        )
    ]
    equal_error_rate.save(tmp_path, [("fan", clips, np.array([0.0, 1.0, 2.0]))])
    lines = (tmp_path / "equal_error.csv").read_text().splitlines()
    assert lines[0].startswith("machine_type,section,AUC,equal error rate,threshold,F1")
    assert [line[:17] for line in lines[1:]] == ["fan,section_00,1."]
