"""Wavs and names of every kind: each clip ends in a score, or in its own line of explanation.

FUZZ_CASES=2000 for more cases, each time other ones; `make fuzz` does that.
"""

from __future__ import annotations

import csv
import faulthandler
import io
import os
import resource
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

import keras_model
from core.errors import BadInput
from data import clips
from data.dataset import read_clips, report_bad_clips
from engine import results
from tests.models.test_base import small

CASES = int(os.environ.get("FUZZ_CASES", "200"))
RATE = 16000
MEMORY = 2**30  # bytes that a case may take
SECONDS = 60  # after which a case hangs

# In the tests the same cases every time, so that no change fails for what it did not do.
fuzz = hypothesis.settings(
    max_examples=CASES,
    derandomize="FUZZ_CASES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture(scope="module")
def system():
    """A little network, and the settings it was made with."""
    param = small(("feature.n_mels", 8), ("feature.n_fft", 64), ("feature.hop_length", 32))
    return keras_model.build_system(param, ["section_00"])


@pytest.fixture(autouse=True)
def bounds() -> Iterator[None]:
    """Memory and file sizes that a case cannot pass without an error."""
    status = Path("/proc/self/statm")
    before = {
        kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE)
    }
    if status.exists():
        taken = int(status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, before[resource.RLIMIT_AS][1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, before[resource.RLIMIT_FSIZE][1]))
    yield
    faulthandler.cancel_dump_traceback_later()
    for kind, limits in before.items():
        resource.setrlimit(kind, limits)


ODD = st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e300, 1e30, 1e9, -1.0, 0.0])


def mostly(right, *odd) -> st.SearchStrategy:
    """The right value three times of four, else an odd one."""
    return st.integers(0, 3).flatmap(lambda n: st.sampled_from(odd) if n == 3 else st.just(right))


@st.composite
def samples(draw, odd: bool) -> np.ndarray:
    """(n_samples, n_channels) noise, with some odd values."""
    n_samples, n_channels = draw(mostly(3000, 0, 1, 2, 31, 127, 128)), draw(mostly(1, 2, 7))
    made = 0.1 * np.random.default_rng(draw(st.integers(0, 9))).normal(size=(n_samples, n_channels))
    for value in draw(st.lists(ODD, max_size=2)) if odd and n_samples else ():
        made[draw(st.integers(0, n_samples - 1))] = value
    return made


KINDS = [
    *(("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    *(("WAV", kind) for kind in ("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")),
    *(("WAVEX", "PCM_16"), ("RF64", "FLOAT"), ("W64", "PCM_24"), ("FLAC", "PCM_16")),
]


@st.composite
def recordings(draw) -> bytes:
    """What a library wrote, at times with bytes turned, cut off or added."""
    kind, subtype = draw(st.sampled_from(KINDS))
    rate = draw(mostly(RATE, 8000, 44100, 1, 192000))
    stream = io.BytesIO()
    try:  # whole numbers have none that are odd, and their encoders do not bear them
        made = draw(samples(subtype in ("FLOAT", "DOUBLE")))
        soundfile.write(stream, made, rate, subtype=subtype, format=kind)
    except (soundfile.SoundFileError, ValueError):  # a kind that takes no such rate or channels
        soundfile.write(stream, made[:, :1], RATE, subtype="FLOAT", format="WAV")
    data = bytearray(stream.getvalue())
    for _ in range(draw(mostly(0, 1, 2, 3)) if data else 0):
        data[draw(st.integers(0, min(len(data), 80) - 1))] = draw(st.integers(0, 255))
    cut = draw(mostly(None, 0, 3, 12, 21, 36, 43, 44, 45, 60, -1, -200))
    return bytes(data[:cut]) + draw(mostly(b"", b"\0", b"RIFF", b"\xff" * 999))


LENGTHS = (0, 1, 15, 16, 18, 40, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1)


@st.composite
def headers(draw) -> bytes:
    """A RIFF file of any header: wrong lengths, any number of channels and bits, any format."""
    tag, bits = draw(mostly((1, 16), *((1, n) for n in (8, 24, 32, 64)), (3, 32), (3, 64), (6, 8)))
    tag = draw(mostly(tag, 0, 2, 7, 17, 49, 80, 85, 0xFFFE, 0xFFFF))
    bits = draw(mostly(bits, 0, 1, 12, 20, 128, 65535))
    n_channels = draw(mostly(1, 0, 2, 3, 1024, 1025, 65535))
    rate = draw(mostly(RATE, 0, 1, 2**31, 2**32 - 1))
    align = draw(mostly(n_channels * bits // 8 % 65536, 0, 1, 65535))
    values = np.random.default_rng(draw(st.integers(0, 9))).bytes(draw(mostly(4000, 0, 1, 2, 100)))
    fmt = struct.pack("<HHIIHH", tag, n_channels, rate, rate * align % 2**32, align, bits)
    fmt += draw(mostly(b"", b"\0\0", b"\x16\0" + bytes(22), b"\xff\xff"))
    chunks = [
        b"fmt " + struct.pack("<I", draw(mostly(len(fmt), *LENGTHS))) + fmt,
        b"data" + struct.pack("<I", draw(mostly(len(values), *LENGTHS))) + values,
    ]
    odd = draw(mostly(b"", b"LIST", b"fact", b"fmt ", b"data", b"\0\0\0\0"))
    if odd:
        length = struct.pack("<I", draw(st.sampled_from(LENGTHS)))
        chunks.insert(draw(st.integers(0, 2)), odd + length)
    body = b"WAVE" + b"".join(chunks)
    magic = draw(mostly(b"RIFF", b"RIFX", b"RF64"))
    return magic + struct.pack("<I", draw(mostly(len(body), *LENGTHS))) + body


CONTENTS = st.one_of(recordings(), recordings(), headers(), st.binary(max_size=200))
PLACES = st.sampled_from(["file"] * 12 + ["folder", "nowhere", "loop", "link", "pipe"])
WORDS = st.one_of(
    st.text(st.characters(exclude_characters="/\0", codec="utf-8"), max_size=60),
    st.sampled_from(
        ['"', "'", ",", "\n", "\r\n", " ", "a b", "\u97f3", "\u202e", "=1+1", "\x1b[2J"]
    ),
    st.sampled_from(["x" * 250, "..", "%s%n", "$(id)", "`id`", "<b>", "\udcff", ".wav", "\u0130"]),
)
GOOD_NAMES = st.one_of(
    st.builds("section_00_source_test_normal_{:04}_{}.wav".format, st.integers(0, 9), WORDS),
    st.builds("section_0{}_{}.WAV".format, st.integers(0, 9), st.integers(0, 10**9)),
)
ODD_NAMES = st.one_of(
    st.builds("section_{}_{}_test_{}_0000.wav".format, WORDS, WORDS, WORDS),
    st.builds("{}.wav".format, WORDS),
)
NAMES = st.integers(0, 3).flatmap(lambda n: ODD_NAMES if n == 3 else GOOD_NAMES)


def put(folder: Path, name: str, place: str, content: bytes) -> bool:
    """Lay something into a folder; False where no file can have such a name."""
    path = folder / name
    try:
        if place == "folder":
            path.mkdir()
        elif place == "pipe":
            os.mkfifo(path)
        elif place == "file":
            path.write_bytes(content)
        else:
            (folder.parent / "linked").write_bytes(content)
            to = {"nowhere": folder / "nothing", "loop": path, "link": folder.parent / "linked"}
            path.symlink_to(to[place])
    except OSError:  # too long
        return False
    return path.suffix.lower() == ".wav"


@fuzz
@hypothesis.given(st.dictionaries(NAMES, st.tuples(PLACES, CONTENTS), min_size=1, max_size=4))
@pytest.mark.slow
def test_every_clip_ends_in_a_score_or_a_line(system, held) -> None:
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "dev" / "fan" / "test"
        folder.mkdir(parents=True)
        names = {name for name, (place, data) in held.items() if put(folder, name, place, data)}
        param = system.settings.with_values(
            {
                "dev_directory": f"{work}/dev",
                "cache_directory": f"{work}/cache",
                "result_directory": f"{work}/result",
            }
        )
        try:
            frames, bad = read_clips(param, "dev", "fan", ("test",), jobs=1)
        except BadInput as error:
            told = str(error).splitlines()
            for name in names:
                of = [line for line in told if line.startswith(f"{clips.shown(folder / name)}: ")]
                assert len(of) == 1
            assert len(told) == len(names) + 1
            return
        report_bad_clips(bad, Path(work), skip=True)
        scores = system.score(frames)
        assert np.isfinite(scores).all()
        results.save(param, "fan", frames.clips, scores, {})
        scored = rows(Path(work) / "result", "anomaly_score_*.csv")
        told = rows(Path(work), "bad_clips.csv")[1:]
        assert sorted(name for name, _ in scored) == sorted(clip.name for clip in frames.clips)
        ended = [clips.shown(clip.path) for clip in frames.clips] + [path for path, _ in told]
        assert sorted(ended) == sorted(clips.shown(folder / name) for name in names)
        assert all(problem and "\n" not in problem for _, problem in told)


def rows(folder: Path, pattern: str) -> list[list[str]]:
    found = []
    for path in folder.glob(pattern):
        with path.open(newline="", encoding="utf-8") as stream:
            found += list(csv.reader(stream))
    return found


@fuzz
@hypothesis.given(
    st.one_of(NAMES, ODD_NAMES, st.text(max_size=300)),
    st.sampled_from(["train", *clips.TEST_FOLDERS]),
)
def test_every_name_is_understood_or_refused(name: str, folder: str) -> None:
    try:
        clip = clips.parse_clip(Path("fan") / folder / name, "fan", folder)
    except ValueError as problem:
        assert str(problem)
        return
    assert clip.section.lower().startswith(("section_", "id_"))
    assert clip.label.lower() in ("", "normal", "anomaly")
    assert folder != "train" or clip.label.lower() == "normal"
