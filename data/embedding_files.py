"""Embeddings that were computed elsewhere: one `.npy` file for each clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.errors import BadInput
from data.clips import Clip, shown

LARGEST_FILE = 2**26  # bytes of one embedding
MOST_SHOWN = 20  # lines of a message


def embedding_file(directory: Path, clip: Clip) -> Path | None:
    """Return the file of a clip's embedding in a folder; None where there is none.

    The folder mirrors the data, as far up as one likes, or has the names of the clips only: for
    dev_data/fan/train/a.wav it is dev_data/fan/train/a.npy, fan/train/a.npy, train/a.npy or a.npy.
    The first that exists counts.
    """
    parts = clip.path.with_suffix(".npy").absolute().parts
    # From the folder of the dataset on; one's own clips may lie in folders below `train`.
    places = [at for at, name in enumerate(parts) if name == clip.machine_type]
    first = max(1, (places[-1] if places else len(parts) - 1) - 1)
    candidates = (directory.joinpath(*parts[at:]) for at in range(first, len(parts)))
    return next((path for path in candidates if path.is_file()), None)


def read_embeddings(directory: Path, clips: Sequence[Clip]) -> np.ndarray:
    """Return the embeddings of clips: (n_clips, width) in the precision of their files.

    Raises
    ------
    BadInput : naming every clip whose embedding is missing, is no vector of finite numbers, has
        another width than the others, or has its file in common with another clip.
    """
    if not directory.is_dir():
        raise BadInput(
            f"embeddings.network.directory: there is no directory {directory} (from {Path.cwd()})"
        )
    vectors, problems, owner = [], [], {}
    for clip in clips:
        path = embedding_file(directory, clip)
        if path is None:
            problems.append(
                f"{shown(clip.path)}: no embedding, such as {_example(directory, clip)}"
            )
            continue
        if path in owner:
            problems.append(
                f"{shown(path)}: the embedding of {shown(owner[path])} and of {shown(clip.path)}; "
                f"put them into folders, as in {_example(directory, clip)}"
            )
            continue
        owner[path] = clip.path
        try:
            vectors.append((path, _read_vector(path)))
        except ValueError as error:
            problems.append(f"{shown(path)}: {error}")
    widths = [len(vector) for _, vector in vectors]
    usual = max(set(widths), key=widths.count, default=0)
    problems += [
        f"{shown(path)}: has the width {len(vector)}, and most others {usual}"
        for path, vector in vectors
        if len(vector) != usual
    ]
    if problems:
        more = len(problems) - MOST_SHOWN
        lines = problems[:MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise BadInput("\n".join(lines))
    return np.stack([vector for _, vector in vectors])


def _read_vector(path: Path) -> np.ndarray:
    """Return the vector (width,) in a file; raise ValueError, saying what is wrong with it."""
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"larger than {LARGEST_FILE} bytes")
    try:
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"cannot be read as .npy ({str(error).partition(chr(10))[0]})") from None
    if not isinstance(vector, np.ndarray) or vector.dtype.kind not in "fiu":
        raise ValueError("no array of numbers")
    if not vector.size or vector.shape[-1:] != (vector.size,):
        raise ValueError(f"has the shape {vector.shape}; expected one vector (width,)")
    vector = vector.reshape(-1)
    if not np.isfinite(vector).all():
        raise ValueError("has values that are not finite")
    return vector if vector.dtype.kind == "f" and vector.dtype.itemsize > 2 else np.float32(vector)


def _example(directory: Path, clip: Clip) -> Path:
    return directory / clip.machine_type / clip.folder / f"{clip.path.stem}.npy"
