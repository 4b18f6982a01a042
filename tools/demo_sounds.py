"""The sounds of the demo data: parametric machines, their shifts and their faults."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

SAMPLE_RATE = 16000


class Clip(NamedTuple):
    """One wav file of the plan. `index` counts within its section, split, domain and label."""

    path: str
    machine: str
    section: str
    split: str
    domain: str
    label: str
    index: int


@dataclass(frozen=True)
class Voice:
    """How a machine sounds. Frequencies and rates in Hz, levels in dB, times in seconds.

    Steady noise of level 0 carries the rest. `bumps` are (centre, octaves, level) of its spectrum;
    `rotation` modulates it by `depth`. `tones` are the levels of the harmonics of `pitch`. Strokes
    come at `stroke_rate`: noise around `stroke_band` and a ring of frequency `ring` that glides by
    the factor `glide` during `stroke_time`.
    """

    bumps: tuple[tuple[float, float, float], ...]
    tilt: float
    rotation: float = 10.0
    depth: float = 0.2
    pitch: float = 200.0
    tones: tuple[float, ...] = ()
    stroke_rate: float = 0.0
    stroke_time: float = 0.03
    stroke_band: float = 3000.0
    stroke_level: float = 0.0
    ring: float = 1500.0
    glide: float = 1.0
    background: float = -8.0
    missing: float = 0.0
    # Makes the faults of a machine type louder or softer, so that all are about equally hard.
    fault_level: float = 0.0


VOICES = {
    "fan": Voice(
        bumps=((300, 1.2, 9), (1800, 0.8, 5)),
        tilt=-3.0,
        rotation=11.0,
        depth=0.25,
        pitch=92.0,
        tones=(-4, -8, -13, -17, -22),
        fault_level=-1.0,
    ),
    "gearbox": Voice(
        bumps=((700, 1.0, 5), (2600, 0.7, 6)),
        tilt=-2.5,
        rotation=17.0,
        depth=0.12,
        pitch=410.0,
        tones=(-6, -9, -10, -15, -19, -23),
        fault_level=-1.0,
    ),
    "valve": Voice(
        bumps=((500, 1.5, 4),),
        tilt=-2.0,
        rotation=5.0,
        depth=0.05,
        pitch=120.0,
        tones=(-16, -22),
        stroke_rate=3.4,
        stroke_time=0.05,
        stroke_band=3200.0,
        stroke_level=8.0,
        ring=1400.0,
        fault_level=4.0,
    ),
    "slider": Voice(
        bumps=((900, 1.5, 4),),
        tilt=-2.5,
        rotation=8.0,
        depth=0.1,
        pitch=150.0,
        tones=(-14, -20),
        stroke_rate=1.7,
        stroke_time=0.42,
        stroke_band=2300.0,
        stroke_level=5.0,
        ring=700.0,
        glide=1.5,
        fault_level=3.0,
    ),
    "bearing": Voice(
        bumps=((1200, 1.0, 5), (4200, 0.6, 7)),
        tilt=-2.0,
        rotation=23.0,
        pitch=137.0,
        tones=(-10, -13, -16, -20),
    ),
    "pump": Voice(
        bumps=((400, 1.0, 7), (1500, 0.7, 5)),
        tilt=-3.0,
        rotation=12.0,
        pitch=98.0,
        tones=(-7, -9, -14, -18),
        stroke_rate=6.1,
        stroke_time=0.11,
        stroke_band=1300.0,
        stroke_level=2.0,
        ring=420.0,
    ),
    "ToyCar": Voice(
        bumps=((1500, 1.0, 6), (5000, 0.7, 4)),
        tilt=-1.5,
        rotation=14.0,
        depth=0.25,
        pitch=310.0,
        tones=(-6, -7, -12, -14, -20),
    ),
    "ToyTrain": Voice(
        bumps=((800, 1.2, 6),),
        tilt=-2.0,
        rotation=9.0,
        pitch=180.0,
        tones=(-9, -12, -18),
        stroke_rate=4.3,
        stroke_time=0.07,
        stroke_band=2500.0,
        stroke_level=4.0,
        ring=1100.0,
    ),
    "ToyConveyor": Voice(
        bumps=((600, 1.0, 6), (3500, 0.8, 3)),
        tilt=-2.0,
        rotation=7.0,
        depth=0.15,
        pitch=240.0,
        tones=(-8, -12, -15),
        stroke_rate=2.2,
        stroke_time=0.2,
        stroke_band=1800.0,
        stroke_level=2.0,
        ring=600.0,
        glide=1.2,
    ),
}

# What distinguishes the domains of a section: a parameter, its values in the source domain and
# in the target domain.
SHIFTS = (
    ("vel", ("6", "8"), ("12", "14")),
    ("wt", ("30", "50"), ("100", "130")),
    ("m-n", ("W", "X"), ("Y", "Z")),
)
AMOUNTS = {"source": (0.0, 0.2), "target": (0.9, 1.1)}

# From easy to hard and back, so that few test clips hold some of each.
FAULTS = ("whine", "deviation", "knock", "resonance", "rub", "imbalance", "crackle", "stall")

LEVEL_DB = -32.0


def render(clip: Clip, seconds: float, seed: int, channels: int = 1) -> np.ndarray:
    """The sound of a clip.

    Parameters
    ----------
    clip : which one; its path has no influence.
    seconds : length.
    seed : of the dataset.
    channels : 1, or 2: a microphone at the machine and one far from it.

    Returns
    -------
    int16 array of shape (samples,) or (samples, channels), about -32 dB re full scale.
    """
    rng = clip_generator(
        seed, clip.machine, clip.section, clip.split, clip.domain, clip.label, clip.index
    )
    time = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / np.float32(SAMPLE_RATE)
    fault = _fault(clip) if clip.label == "anomaly" else None
    voice = _section_voice(clip.machine, clip.section, seed)
    voice = _shifted(voice, clip)
    voice = _varied(voice, rng)
    if fault in VOICE_FAULTS:
        voice = VOICE_FAULTS[fault](voice, rng)
    sound = _machine_sound(voice, time, rng)
    if fault in ADDED_FAULTS:
        added = ADDED_FAULTS[fault](voice, time, rng)
        level = rng.uniform(-2.0, 2.0) + voice.fault_level + FAULT_LEVELS[fault]
        sound = sound + _rms(sound) * _gain(level) * added
    surroundings = _surroundings(clip, time, rng)
    background = -60.0 if clip.split == "supplemental" else voice.background
    near = sound + _rms(sound) * _gain(background) * surroundings
    gain = _gain(_level(clip, seed)) / _rms(near)
    if channels == 1:
        return _pcm(near * gain)
    far = _far(sound, clip, seed) + _rms(sound) * _gain(background + 6.0) * surroundings
    return _pcm(np.stack((near * gain, far * gain * _gain(-8.0)), axis=1))


def clip_generator(*key: object) -> np.random.Generator:
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def _level(clip: Clip, seed: int) -> float:
    # Normal and anomalous clips get the same set of levels: loudness gives no label away.
    start = clip_generator(seed, clip.machine, clip.section, "level").uniform()
    return LEVEL_DB + 3.0 * ((start + 0.618034 * clip.index) % 1.0) - 1.5


def attribute_name(machine: str, section: str, domain: str, index: int) -> tuple[str, str]:
    parameter, *values = SHIFTS[_turn(machine, section) % len(SHIFTS)]
    return parameter, values[domain == "target"][index % 2]


def _turn(machine: str, section: str) -> int:
    return int(section) + sum(machine.encode())


def _fault(clip: Clip) -> str:
    start = 2 * _turn(clip.machine, clip.section) + (3 if clip.domain == "target" else 0)
    return FAULTS[(start + clip.index) % len(FAULTS)]


def _section_voice(machine: str, section: str, seed: int) -> Voice:
    voice = VOICES.get(machine) or _unknown_voice(machine)
    rng = clip_generator(seed, machine, section)
    # Neighbouring sections get pitches and resonances far apart, whatever the seed.
    step = (3 * int(section)) % 7 - 3
    bumps = tuple(
        (centre * 1.25 ** (step * (-1) ** k) * rng.uniform(0.95, 1.05), width, level)
        for k, (centre, width, level) in enumerate(voice.bumps)
    )
    return replace(
        voice,
        bumps=bumps,
        tilt=voice.tilt + rng.uniform(-0.5, 0.5),
        rotation=voice.rotation * 1.12**step,
        pitch=voice.pitch * 1.18**step * rng.uniform(0.97, 1.03),
        tones=tuple(level + rng.uniform(-3, 3) for level in voice.tones),
        stroke_rate=voice.stroke_rate * 1.1**step,
        stroke_band=voice.stroke_band * 1.15**step,
        ring=voice.ring * 1.15**-step * rng.uniform(0.95, 1.05),
    )


def _unknown_voice(machine: str) -> Voice:
    rng = clip_generator("voice", machine)
    strokes = rng.uniform() < 0.5
    return Voice(
        bumps=tuple(
            (200 * 2 ** rng.uniform(k, k + 2), rng.uniform(0.6, 1.4), rng.uniform(3, 8))
            for k in (0, 2)
        ),
        tilt=rng.uniform(-3, -1.5),
        rotation=rng.uniform(6, 24),
        depth=rng.uniform(0.1, 0.3),
        pitch=rng.uniform(90, 450),
        tones=tuple(-8 - 4 * k + rng.uniform(-2, 2) for k in range(4)),
        stroke_rate=rng.uniform(2, 7) if strokes else 0.0,
        stroke_time=rng.uniform(0.04, 0.12),
        stroke_band=rng.uniform(1000, 4000),
        stroke_level=rng.uniform(1, 5),
        ring=rng.uniform(400, 1600),
    )


def _shifted(voice: Voice, clip: Clip) -> Voice:
    parameter = SHIFTS[_turn(clip.machine, clip.section) % len(SHIFTS)][0]
    amount = AMOUNTS[clip.domain][clip.index % 2]
    if parameter == "vel":
        return _faster(voice, 1 + 0.12 * amount)
    if parameter == "wt":
        tones = tuple(level + 3 * amount for level in voice.tones)
        return replace(
            voice,
            tones=tones,
            tilt=voice.tilt + 0.7 * amount,
            stroke_level=voice.stroke_level - 2 * amount,
        )
    return replace(voice, background=voice.background + 5 * amount)


def _faster(voice: Voice, factor: float) -> Voice:
    return replace(
        voice,
        rotation=voice.rotation * factor,
        pitch=voice.pitch * factor,
        stroke_rate=voice.stroke_rate * factor,
    )


def _varied(voice: Voice, rng: np.random.Generator) -> Voice:
    voice = _faster(voice, 1 + 0.008 * rng.standard_normal())
    return replace(
        voice,
        bumps=tuple((f, w, level + 0.6 * rng.standard_normal()) for f, w, level in voice.bumps),
        tilt=voice.tilt + 0.12 * rng.standard_normal(),
        tones=tuple(level + 0.8 * rng.standard_normal() for level in voice.tones),
        stroke_level=voice.stroke_level + 0.6 * rng.standard_normal(),
        background=voice.background + rng.uniform(-1.5, 1.5),
    )


def _machine_sound(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turning = 1 + voice.depth * _turning(voice, time, rng)
    sound = _noise(voice.bumps, voice.tilt, len(time), rng) * turning
    if voice.tones:
        sound += _tones(voice, time, rng) * turning
    if voice.stroke_rate:
        sound += _strokes(voice, time, rng)
    return sound


def _turning(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _sine(voice.rotation * time + np.float32(rng.uniform()))


def _tones(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    wander = _sine(time * np.float32(rng.uniform(0.2, 0.6)) + np.float32(rng.uniform()))
    turns = np.float32(voice.pitch) * (time + np.float32(0.003) * wander)
    carrier = np.empty(len(time), np.complex64)
    carrier.real, carrier.imag = _sine(turns + np.float32(0.25)), _sine(turns)
    harmonic = np.ones_like(carrier)
    sound = np.zeros_like(time)
    for level in voice.tones:
        harmonic *= carrier
        phase = np.exp(2j * np.pi * rng.uniform()) * math.sqrt(2) * _gain(level)
        sound += (harmonic * np.complex64(phase)).real
    return sound


def _strokes(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    since = _since_stroke(voice, time, rng)
    if voice.stroke_time < 0.15:
        envelope = np.exp(-since / np.float32(voice.stroke_time)) * np.minimum(1, since * 500)
    else:
        envelope = np.sin(np.pi * np.minimum(1, since / np.float32(voice.stroke_time))) ** 2
    glide = (voice.glide - 1) / (2 * voice.stroke_time)
    ring = _sine(voice.ring * since * (1 + np.float32(glide) * since))
    hiss = _noise(((voice.stroke_band, 0.5, 20.0),), -1.0, len(time), rng)
    return np.float32(_gain(voice.stroke_level)) * envelope * (hiss + np.float32(0.5) * ring)


def _since_stroke(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seconds since the latest stroke; the first stroke lies before the clip."""
    count = int(len(time) / SAMPLE_RATE * voice.stroke_rate) + 8
    gaps = (1 + 0.03 * rng.standard_normal(count)) / voice.stroke_rate
    starts = np.cumsum(gaps) - gaps[0] * (1 + rng.uniform())
    kept = rng.uniform(size=len(starts)) >= voice.missing
    kept[0] = True
    starts = starts[kept]
    latest = np.searchsorted(starts, time, side="right") - 1
    return (time - starts[latest]).astype(np.float32)


def _surroundings(clip: Clip, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of the factory, with something passing by now and then; of level 0 dB."""
    centre = 900 * 2 ** rng.uniform(-1, 1)
    noise = _noise(((centre, 1.0, rng.uniform(0, 4)),), rng.uniform(-3.0, -2.0), len(time), rng)
    if rng.uniform() < 0.3:
        moment, width = rng.uniform(0, time[-1]), rng.uniform(0.2, 0.6)
        noise *= 1 + rng.uniform(0.3, 1.2) * np.exp(-(((time - np.float32(moment)) / width) ** 2))
    return noise / _rms(noise)


def _noise(
    bumps: Sequence[tuple[float, float, float]], tilt: float, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Noise of level 0 dB whose spectrum falls by `tilt` dB an octave and has the given bumps."""
    import scipy.fft

    # A length of small factors: a clip of any duration is made in the same time.
    size = scipy.fft.next_fast_len(n, real=True)
    octaves = np.linspace(-5, 3, 129)
    level = tilt * octaves
    for centre, width, height in bumps:
        level += height * np.exp(-(((octaves - math.log2(centre / 1000)) / width) ** 2))
    bins = np.arange(size // 2 + 1, dtype=np.float32)
    grid = 1000 * 2**octaves * (size / SAMPLE_RATE)
    spectrum = rng.standard_normal((len(bins), 2), dtype=np.float32)
    spectrum *= np.interp(bins, grid, 10 ** (level / 20)).astype(np.float32)[:, None]
    # No microphone of these datasets hears anything below.
    spectrum[: int(25 * size / SAMPLE_RATE)] = 0
    noise = scipy.fft.irfft(spectrum.view(np.complex64)[:, 0], size)[:n]
    return noise / _rms(noise)


def _whine(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    pitch = voice.pitch * rng.uniform(6.2, 9.8)
    pitch = np.float32(min(pitch, 5500.0) * rng.uniform(0.9, 1.1))
    waver = np.float32(0.5) * _sine(voice.rotation * time)
    return _sine(pitch * time + waver) + np.float32(0.4) * _sine(2 * pitch * time)


def _knock(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    knocking = replace(
        voice,
        stroke_rate=rng.uniform(2.5, 5.0),
        stroke_time=0.02,
        stroke_band=2 * voice.ring,
        stroke_level=0.0,
        ring=voice.ring * rng.uniform(0.6, 1.8),
        glide=1.0,
        missing=0.0,
    )
    return _unit(_strokes(knocking, time, rng))


def _rub(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    band = _noise(((rng.uniform(2500, 5500), 0.35, 25.0),), 0.0, len(time), rng)
    touching = np.maximum(0, _sine(np.float32(rng.uniform(1.5, 4.0)) * time)) ** 2
    return _unit(band * touching)


def _resonance(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _noise(((rng.uniform(900, 4500), 0.12, 30.0),), 0.0, len(time), rng)


def _crackle(voice: Voice, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hiss = _noise(((3000.0, 1.5, 10.0),), 0.0, len(time), rng)
    moments = rng.uniform(0, time[-1], max(1, round(3 * float(time[-1]))))
    envelope = np.zeros_like(time)
    for start, length in zip(moments, rng.uniform(0.02, 0.08, len(moments)), strict=True):
        first = int(start * SAMPLE_RATE)
        envelope[first : first + int(length * SAMPLE_RATE)] = 1
    return _unit(hiss * envelope)


def _deviation(voice: Voice, rng: np.random.Generator) -> Voice:
    share = rng.choice((-1, 1)) * rng.uniform(0.02, 0.045) * _gain(voice.fault_level)
    return _faster(voice, float(1 + share))


def _imbalance(voice: Voice, rng: np.random.Generator) -> Voice:
    depth = voice.depth + rng.uniform(0.2, 0.4) * _gain(voice.fault_level)
    return replace(voice, depth=depth, tones=tuple(level + 2 for level in voice.tones))


def _stall(voice: Voice, rng: np.random.Generator) -> Voice:
    slower = _faster(voice, rng.uniform(0.82, 0.9))
    return replace(slower, missing=0.25, tilt=voice.tilt + 0.5)


VOICE_FAULTS = {"deviation": _deviation, "imbalance": _imbalance, "stall": _stall}
ADDED_FAULTS = {
    "whine": _whine,
    "knock": _knock,
    "resonance": _resonance,
    "rub": _rub,
    "crackle": _crackle,
}
# dB relative to the whole machine.
FAULT_LEVELS = {"whine": -16.0, "knock": -15.0, "resonance": -18.5, "rub": -16.0, "crackle": -14.0}


def _far(sound: np.ndarray, clip: Clip, seed: int) -> np.ndarray:
    """The machine as the far microphone hears it: later, and with the room's reverberation."""
    import scipy.signal

    rng = clip_generator(seed, clip.machine, clip.section, "room")
    tail = rng.standard_normal(SAMPLE_RATE // 5, dtype=np.float32)
    tail *= 10 ** (-3 * np.arange(len(tail), dtype=np.float32) / len(tail))
    tail *= np.float32(0.7) / np.linalg.norm(tail)
    delay = int(SAMPLE_RATE * rng.uniform(0.006, 0.012))
    response = np.concatenate((np.zeros(delay, dtype=np.float32), [np.float32(1)], tail))
    return scipy.signal.oaconvolve(sound, response.astype(np.float32))[: len(sound)]


def _sine(turns: np.ndarray) -> np.ndarray:
    # The fraction of a turn first: single precision cannot hold many turns and the phase.
    fraction = (turns - np.floor(turns)).astype(np.float32)
    return np.sin(np.float32(2 * np.pi) * fraction)


def _gain(level: float) -> float:
    return 10 ** (level / 20)


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float32))))


def _unit(sound: np.ndarray) -> np.ndarray:
    return sound / max(_rms(sound), 1e-9)


def _pcm(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)
