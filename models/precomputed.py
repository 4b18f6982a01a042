"""Embeddings that were computed elsewhere, by BEATs, EAT or any other network, and a back end.

Nothing is trained. Everything after the embeddings is as for the other systems.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.run_settings import SystemSettings
from data.clips import Clip
from data.embedding_files import embedding_file, read_embeddings
from data.frames import Frames
from models.embedding_system import StatisticalSystem


class Precomputed(StatisticalSystem):
    """Reads the embedding of each clip from a `.npy` file in `embeddings.network.directory`.

    Score of a clip: that of the back end.
    """

    @classmethod
    def check(cls, run: SystemSettings, machine_type: str, frames: Frames) -> None:
        """Raise BadInput, with every reason, for embeddings that cannot be used, or too few."""
        cls.check_scored(run, frames)
        super().check(run, machine_type, frames)

    @classmethod
    def check_scored(cls, run: SystemSettings, frames: Frames) -> None:
        read_embeddings(Path(run.network.directory), frames.clips)

    @classmethod
    def clip_files(cls, run: SystemSettings, clips: Sequence[Clip]) -> list[Path]:
        files = (embedding_file(Path(run.network.directory), clip) for clip in clips)
        return [path for path in files if path]

    def embeddings(self, frames: Frames) -> np.ndarray:
        return read_embeddings(Path(self.settings.network.directory), frames.clips)
