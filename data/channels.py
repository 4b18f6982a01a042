"""The frames that a system needs of clips: of one channel, of two, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from core.run_settings import SystemSettings
from data.clips import Clip
from data.frame_cache import RemoteWorkers, load_frames
from data.frames import Frames


def load_channels(
    clips: Sequence[Clip],
    run: SystemSettings,
    jobs: int | None = None,
    title: str = "",
    remote: RemoteWorkers | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> tuple[Frames, list[tuple[Path, str]]]:
    """Return the frames of clips, and (path, problem) of the clips that cannot be used.

    Parameters and results are those of `data.frame_cache.load_frames`. With `feature.channel:
    near_minus_far` the frames are those of the first channel, with those of the second as `far`.
    A system that reads files of its own in place of the clips gets no frames.
    """
    if run.reads_files:
        return Frames.without_frames(clips), []
    if run.feature.channel != "near_minus_far":
        return load_frames(clips, run, jobs, title, remote, meanwhile)
    second, first = (run.with_values({"feature.channel": name}) for name in ("second", "first"))
    # The second channel comes first: a clip without one shows before the long work.
    far, bad = load_frames(clips, second, jobs, f"{title} far", remote, meanwhile)
    if not far.clips:
        return far, bad
    # It has the same place in the cache as for the other systems, which read the first only.
    near, more = load_frames(far.clips, first, jobs, f"{title} near", remote, meanwhile)
    usable = set(near.clips)
    far = far.select([clip in usable for clip in far.clips])
    return replace(near, far=far), bad + more
