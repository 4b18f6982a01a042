"""The section, domain and label in the name of a clip, for the results of any year."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_SECTION_CLIP = re.compile(
    r"(?P<section>section_\d+)(_(?P<domain>source|target))?(_(train|test))?"
    r"(_(?P<label>normal|anomaly))?_\d+(_.*)?\.wav"
)
_ID_CLIP = re.compile(r"((?P<label>normal|anomaly)_)?(?P<section>id_\d+)_\d+(_.*)?\.wav")

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
    "source". A name of no DCASE form gives a ClipName of three None.
    """
    name = Path(name).name
    words = _SECTION_CLIP.fullmatch(name) or _ID_CLIP.fullmatch(name)
    if words is None:
        return ClipName(None, None, None)
    parts = words.groupdict()
    label = {None: None, "normal": 0, "anomaly": 1}[parts["label"]]
    return ClipName(parts["section"], parts.get("domain"), label)


def clip_key(name: str) -> str:
    """Return the name by which the clips of results and ground truth are matched.

    The evaluation clips were published both as section_03_0000.wav and section_03_test_0000.wav.
    """
    return _TEST_IN_UNLABELLED_NAME.sub(r"\1", name)
