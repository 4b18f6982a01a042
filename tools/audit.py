"""What is known to be wrong with the pinned packages: python -m tools.audit PIP_AUDIT

PIP_AUDIT is the program of the package pip-audit; `make audit` installs it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run pip-audit: 0 for nothing known, 1 for anything found or not to be asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("program", metavar="PIP_AUDIT", help="the program of pip-audit")
    program = parser.parse_args().program
    if shutil.which(program) is None:
        parser.error(f"{program}: there is no such program; make audit installs it")
    command = [program, "--no-deps", "--disable-pip"]
    for name in ("requirements.txt", "requirements-dev.txt"):
        command += ["--requirement", str(ROOT / name)]
    run = subprocess.run([*command, "--format", "json"], capture_output=True, text=True)
    try:
        held = json.loads(run.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"error: not audited; is pypi.org within reach? ({reason})", file=sys.stderr)
        return 1
    lines, unknown = findings(held)
    print("\n".join(lines))
    print(f"{len(held) - len(unknown)} of {len(held)} packages audited, {len(lines)} findings")
    if unknown:
        which = "any package" if len(unknown) == len(held) else ", ".join(unknown)
        print(
            f"error: nothing was to be learnt of {which}; is pypi.org within reach?",
            file=sys.stderr,
        )
    return 1 if lines or unknown else 0


def findings(held: list[dict]) -> tuple[list[str], list[str]]:
    """A line a vulnerability, and the names of the packages that could not be asked after."""
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, mended in "
        f"{', '.join(found['fix_versions']) or 'no version yet'}"
        for each in held
        for found in each.get("vulns", ())
    ]
    return lines, [each["name"] for each in held if "skip_reason" in each]


if __name__ == "__main__":
    sys.exit(main())
