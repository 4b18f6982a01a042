"""The error for what the person can correct, and a collector that reports several at once."""

from __future__ import annotations

import difflib
import logging


class BadInput(Exception):
    """An error that the person can correct; the message says what is wrong, where, what to do."""


class ProblemCollector:
    """Collects the BadInput of several steps, so that the person sees all of them at once.

    `with problems: step()` goes on after a BadInput; `problems.stop()` raises all of them as one.

    log : also log each one as a warning when it occurs, for steps that take long
    """

    def __init__(self, log: bool = False) -> None:
        self.messages: list[str] = []
        self.log = log

    def __enter__(self) -> ProblemCollector:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, BadInput):
            return False
        self.messages.append(str(error))
        if self.log:
            logging.getLogger("baseline").warning("%s", error)
        return True

    def stop(self, steps: int | None = None) -> None:
        """Raise BadInput where anything was collected; steps : their number."""
        if self.messages:
            summary = f"{len(self.messages)} of {steps} failed, the others are done:"
            lines = [summary, *self.messages] if steps else self.messages
            raise BadInput("\n".join(dict.fromkeys(lines)))


def nearest(name: str, known: list[str]) -> str:
    """Return a hint for a misspelt name: ", did you mean X?", or the known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
