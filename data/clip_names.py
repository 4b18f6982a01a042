"""What the name of a clip says, in every year of the challenge; the only place that parses names.

2020        normal_id_00_00000000.wav, anomaly_id_00_00000000.wav, id_01_00000000.wav
2021        section_00_source_train_normal_0000_<attributes>.wav, section_03_source_test_0000.wav
from 2022   section_00_source_test_anomaly_0000_<attributes>.wav, section_03_test_0000.wav,
            section_03_0000.wav; in the list of 2024 also section_00_source_normal_0035_a_1.wav
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_FORMS = (
    re.compile(
        r"(?P<section>section_\d+)(_(?P<domain>source|target))?(_(train|test))?"
        r"(_(?P<label>normal|anomaly))?_\d+(_(?P<attributes>.*))?\.wav",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        r"((?P<label>normal|anomaly)_)?(?P<section>id_\d+)_\d+(_(?P<attributes>.*))?\.wav",
        re.IGNORECASE | re.DOTALL,
    ),
)
_LABELS = {None: None, "normal": 0, "anomaly": 1}
_TEST_IN_UNLABELLED_NAME = re.compile(r"^(section_\d+(?:_source|_target)?)_test(?=_\d+\.wav$)")


class ClipName(NamedTuple):
    """The parts of a clip's name; None for one that it does not have.

    section : "section_00", or "id_00"
    domain : "source" or "target"
    label : 0 normal, 1 anomaly
    """

    section: str | None
    domain: str | None
    label: int | None


def parse_name(name: str | Path) -> ClipName:
    """Return section, domain and label in the name of a clip of any year.

    The words count only at their place in the name: an attribute may contain "normal" or
    "source". Capital letters count as small ones. A name of no DCASE form gives a ClipName of three
    None.
    """
    return split_name(name)[0]


def split_name(name: str | Path) -> tuple[ClipName, str | None]:
    """Return what `parse_name` returns, and the attributes: what follows the number, or None."""
    for form in _FORMS:
        if words := form.fullmatch(Path(name).name):
            parts = words.groupdict()
            section, domain, label = (
                parts.get(key) and parts[key].lower() for key in ("section", "domain", "label")
            )
            return ClipName(section, domain, _LABELS[label]), parts["attributes"]
    return ClipName(None, None, None), None


def clip_key(name: str) -> str:
    """Return the name by which the clips of results and ground truth are matched.

    The evaluation clips were published both as section_03_0000.wav and section_03_test_0000.wav.
    """
    return _TEST_IN_UNLABELLED_NAME.sub(r"\1", name)
