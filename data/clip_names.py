"""What the name of a clip says, for the results of any year."""

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


class Clip(NamedTuple):
    """What a clip's name says: section ("section_00", "id_00"), domain, label; None: unsaid."""

    section: str | None
    domain: str | None
    label: int | None


def parse_clip(name: str | Path) -> Clip:
    """Read section, domain and label (0 normal, 1 anomaly) from the name of a clip of any year.

    The words count only at their place in the name: an attribute may hold "normal" or "source".
    A name of no DCASE form says nothing, which is a Clip of three None.
    """
    name = Path(name).name
    words = _SECTION_CLIP.fullmatch(name) or _ID_CLIP.fullmatch(name)
    if words is None:
        return Clip(None, None, None)
    said = words.groupdict()
    label = {None: None, "normal": 0, "anomaly": 1}[said["label"]]
    return Clip(said["section"], said.get("domain"), label)


def clip_key(name: str) -> str:
    """Return the name under which results and ground truth find each other.

    The evaluation clips were published both as section_03_0000.wav and section_03_test_0000.wav.
    """
    return _TEST_IN_UNLABELLED_NAME.sub(r"\1", name)
