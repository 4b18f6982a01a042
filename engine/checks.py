"""Checks that a system can work with its settings, clips and sections, before the long work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import keras_model
from core.errors import BadInput
from core.run_settings import SystemSettings
from core.system_settings import system_classes
from data.clips import Clip
from data.frames import Frames


def check_channel(run: SystemSettings) -> None:
    """Raise BadInput where a system cannot subtract the embedding of a far microphone."""
    if run.feature.channel != "near_minus_far" or run.takes_two_channels:
        return
    where = run.given().get("feature.channel", "its settings")
    systems = [name for name, kind in system_classes().items() if kind.takes_two_channels]
    raise BadInput(
        f"{run.system}: feature.channel is near_minus_far (from {where}), which "
        f"{', '.join(systems)} can take; set {run.system}.feature.channel: first"
    )


def check_sections(
    run: SystemSettings, machine_type: str, trained: Sequence[str], scored: Sequence[str]
) -> None:
    """Raise BadInput, with every reason, where a system cannot work with its settings or sections.

    Parameters
    ----------
    machine_type : for the message
    trained, scored : the classes of training clips and of clips to be scored
    """
    kind = keras_model.system_class(run.system)
    reasons = kind.incompatibilities(run, sorted(set(trained)), sorted(set(scored)))
    if reasons:
        raise BadInput("\n".join(f"{run.system} {machine_type}: {reason}" for reason in reasons))


def check_scored(run: SystemSettings, frames: Frames) -> None:
    """Raise BadInput where a system cannot score clips, such as those without an embedding."""
    keras_model.system_class(run.system).check_scored(run, frames)


def check_classes(run: SystemSettings, frames: Frames) -> None:
    """Raise BadInput where training clips do not say which class they are of, naming them."""
    if not run.classifier or run.feature.classes not in ("attributes", "domain"):
        return
    silent = [
        clip
        for clip in frames.clips
        if not (clip.attributes if run.feature.classes == "attributes" else clip.named_domain)
    ]
    if silent:
        what = {
            "attributes": "attributes, neither in the name (noAttribute where there are none) nor "
            f"in an attributes_NN.csv in {silent[0].path.parents[1]}",
            "domain": "domain in the name",
        }[run.feature.classes]
        raise BadInput(
            f"{run.system}: feature.classes is {run.feature.classes}, and {len(silent)} of "
            f"{len(frames.clips)} training clips have no {what}, first {silent[0].path}; add them, "
            "or set feature.classes: section"
        )


def check_trainable(run: SystemSettings, machine_type: str, frames: Frames) -> None:
    """Raise BadInput where a system cannot be trained with these settings on these clips."""
    kind, precision = keras_model.system_class(run.system), run.fit.precision
    if precision != "float32" and not kind.mixes_precision:
        raise BadInput(f"{run.system}: fit.precision is {precision}; expected float32")
    kind.check(run, machine_type, frames)


def check_finite(scores: np.ndarray, clips: Sequence[Clip], title: str) -> None:
    """Raise BadInput where an anomaly score (n_clips,) is not finite."""
    finite = np.isfinite(scores)
    wrong = [clip.name for clip, is_finite in zip(clips, finite, strict=True) if not is_finite]
    if wrong:
        raise BadInput(
            f"{title}: the anomaly scores of {len(wrong)} of {len(clips)} clips are not finite, "
            f"first {wrong[0]}; the network has values that overflow: lower fit.lr and train "
            "again with 00_train.py --force"
        )
