"""What classifiers share: which class a clip is scored by, also where its own is not known."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from core.run_settings import SystemSettings
from data.frames import Frames
from models.base import System, clip_means


class Classifier(System):
    """A system that tells classes apart, and takes for anomalous what it takes for another class.

    A class is a section, or with `feature.classes` what the attributes or the domain of its clips
    say. A clip is scored by its own class. Where that is not known, because its attributes are
    hidden or none of the training clips has the same, it is scored by the class of its section
    that finds it least anomalous.
    """

    def class_window_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """Return the anomaly scores of windows by every class: (batch, classes).

        windows : (batch, n_frames, n_mels)
        """
        raise NotImplementedError

    def class_scores(self, frames: Frames) -> np.ndarray:
        """Return the anomaly scores of clips by every class: (n_clips, classes) float64."""
        starts, owner = self.windows(frames, 1)
        scores = self.all_window_scores(
            frames, starts, owner, lambda windows, section: self.class_window_scores(windows)
        )
        return clip_means(scores, owner)

    def section_index(self, frames: Frames) -> np.ndarray:
        """Return the class that each clip is scored by (n_clips,); -1 for an unknown section."""
        index = super().section_index(frames)
        choices = [
            [] if known >= 0 else self.classes_of_section(self.settings.class_name(clip))
            for known, clip in zip(index, frames.clips, strict=True)
        ]
        is_open = [bool(classes) for classes in choices]
        if any(is_open):
            scores = self.class_scores(frames.select(is_open))
            for row, clip in enumerate(np.flatnonzero(is_open)):
                classes = np.array(choices[clip])
                index[clip] = classes[np.argmin(scores[row, classes])]
        return index

    def classes_of_section(self, name: str) -> list[int]:
        """Return the classes of the section that a class belongs to; none of an unknown section."""
        section_of = self.settings.section_of
        section = section_of(name)
        return [i for i, known in enumerate(self.section_names) if section_of(known) == section]


def unknown_sections(run: SystemSettings, trained: list[str], scored: list[str]) -> list[str]:
    """Return the sections of classes to be scored that no trained class is of, each once."""
    return sorted({run.section_of(s) for s in scored} - {run.section_of(t) for t in trained})


def too_few_classes(run: SystemSettings, trained: list[str]) -> str | None:
    """Return why a classifier cannot learn from one class, and what to do; None for several."""
    if len(trained) > 1:
        return None
    kinds = {
        "section": "sections",
        "attributes": "attribute values",
        "domain": "domains",
        "attributes_and_domain": "sections, attribute values, domains",
    }
    kind = kinds[run.feature.classes] + (" or machine types" if run.joint else "")
    others = [key for key in ("attributes", "domain", "section") if key != run.feature.classes]
    return (
        f"it learns to tell {kind} apart, and there is only {', '.join(trained) or 'none'}; train "
        f"it on two or more {kind}, set feature.classes: {' or '.join(others)}, or take another "
        "system"
    )
