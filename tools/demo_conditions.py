"""The conditions of the demo data's machines: a speed and a load, which change the sound much.

With `attributes` N, the source domain has N speeds, and the target domain TARGET_SPEEDS above them.
Every speed comes with every load of its domain. Where conditions change the sound, the level of the
factory noise varies much, too: what tells the conditions apart is what is left to listen to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tools.demo_sound_models import SoundModel, faster

SPEED_STEP = 0.06  # from one speed to the next, a share of the slower one
TARGET_SPEEDS = 2
LOADS = {"source": ("30", "50", "70"), "target": ("100", "130")}
FIRST_LOAD = {"source": 0, "target": 3}
NOISE_DB = 6.0  # the level of the factory noise lies so far above or below the machine type's


class Condition(NamedTuple):
    """The speed and the load of a clip, each counted from 0 over both domains."""

    domain: str
    speed: int
    load: int

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return its attributes and their values."""
        weight = LOADS[self.domain][self.load - FIRST_LOAD[self.domain]]
        return ("vel", str(6 + 2 * self.speed)), ("wt", weight)

    def change(self, model: SoundModel, rng: np.random.Generator) -> SoundModel:
        """Return the parameters of a machine in this condition; `rng` draws the level of noise."""
        model = faster(model, (1 + SPEED_STEP) ** self.speed)
        # Each load makes the housing ring at another frequency, and other harmonics loud.
        ringing = (1100.0 * 1.35**self.load, 0.15, 8.0)
        return replace(
            model,
            bumps=(*model.bumps, ringing),
            tones=tuple(
                level + (3.0 if (number + self.load) % 3 == 0 else -1.0)
                for number, level in enumerate(model.tones)
            ),
            ring=model.ring * 1.1**self.load,
            background=model.background + rng.uniform(-NOISE_DB, NOISE_DB),
        )


def condition_of(domain: str, index: int, attributes: int) -> Condition:
    """Return the condition of a clip.

    Parameters
    ----------
    domain : "source" or "target"
    index : counts the clips of a domain; those one after the other have all conditions in turn
    attributes : how many speeds the source domain has
    """
    is_target = domain == "target"
    speeds = TARGET_SPEEDS if is_target else attributes
    speed, load = index % speeds, index // speeds % len(LOADS[domain])
    return Condition(domain, speed + (attributes if is_target else 0), load + FIRST_LOAD[domain])
