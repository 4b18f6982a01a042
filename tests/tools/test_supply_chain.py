"""What the project depends on: pinned, listed with its licences, and audited."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from email.message import Message

import pytest

from tests.conftest import ROOT
from tools import audit, third_party


def test_every_package_is_pinned_and_listed() -> None:
    listed = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        loose = [line for line in lines if not re.match(r"-r |[\w.-]+==[\w.]+(;|$)", line)]
        assert not loose
    (others,) = re.findall(r"^Only .*: (.*)\.$", listed, re.M)
    for name in third_party.pinned((ROOT / "requirements.txt").read_text(encoding="utf-8")):
        assert f"| {name} |" in listed or name in others.split(", ")


def test_a_licence_is_what_the_package_says() -> None:
    about = Message()
    assert third_party.licence(about) == "see its files"
    about["License"] = "Copyright\nmuch text"
    assert third_party.licence(about) == "Copyright"
    about["Classifier"] = "License :: OSI Approved"
    about["Classifier"] = "License :: OSI Approved :: MIT License"
    assert third_party.licence(about) == "MIT License"
    about["License-Expression"] = "MIT"
    assert third_party.licence(about) == "MIT"


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 of 1 packages audited, 0 findings"),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}],
            1,
            "a 1: X-1, mended in 2",
        ),
        ([{"name": "a", "skip_reason": "no"}], 1, "error: nothing was to be learnt of any package"),
        (
            [{"name": "a", "vulns": []}, {"name": "b", "skip_reason": "no"}],
            1,
            "nothing was to be learnt of b; is pypi.org within reach?",
        ),
        (None, 1, "error: not audited; is pypi.org within reach? (no route)"),
    ],
)
def test_an_audit_that_could_not_ask_says_so(monkeypatch, capsys, said, code, told) -> None:
    tree = json.dumps({"dependencies": said}) if said else ""
    ended = subprocess.CompletedProcess([], 1, tree, "Traceback\nno route\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    monkeypatch.setattr(sys, "argv", ["audit.py", sys.executable])
    assert audit.main() == code
    heard = capsys.readouterr()
    assert told in heard.out + heard.err


def test_an_audit_without_its_program_says_what_is_missing(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["audit.py", "/nowhere/pip-audit"])
    with pytest.raises(SystemExit) as ended:
        audit.main()
    assert ended.value.code == 2
    assert "/nowhere/pip-audit: there is no such program" in capsys.readouterr().err
