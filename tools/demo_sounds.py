"""The sounds of the demo data: synthetic machines, their domain shifts and their faults.

A clip's sound is made from the parameters of its machine type (SoundModel). They are changed per
section, then per domain, then a little per clip. A fault changes them once more, or adds a sound.

Sounds are float32 arrays of shape (samples,), `time` is the time of each sample in seconds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tools.demo_conditions import condition_of
from tools.demo_sound_models import SOUND_MODELS, SoundModel, faster

SAMPLE_RATE = 16000


class DemoClip(NamedTuple):
    """One wav file of the demo data.

    index : counts the clips of one section, split, domain and label
    """

    path: str
    machine: str
    section: str
    split: str
    domain: str
    label: str
    index: int


# The domain shifts: attribute, its values in the source domain, its values in the target domain.
SHIFTS = (
    ("vel", ("6", "8"), ("12", "14")),
    ("wt", ("30", "50"), ("100", "130")),
    ("m-n", ("W", "X"), ("Y", "Z")),
)
# How far each value of a domain shifts the sound.
AMOUNTS = {"source": (0.0, 0.2), "target": (0.9, 1.1)}

# Ordered from easy to difficult and back, so that a few test clips in a row have both.
FAULTS = ("whine", "deviation", "knock", "resonance", "rub", "imbalance", "crackle", "stall")

LEVEL_DB = -32.0  # re full scale


def render(
    clip: DemoClip, seconds: float, seed: int, channels: int = 1, attributes: int = 0
) -> np.ndarray:
    """Return the samples of a clip; the same arguments give the same bytes.

    Parameters
    ----------
    clip : its path has no influence.
    seconds : length, more than 0.
    seed : of the dataset.
    channels : 1, or 2: a microphone at the machine and one far from it.
    attributes : 0: one attribute with two values per domain; N: a speed, with N values in the
        source domain, and a load

    Returns
    -------
    int16 array of shape (samples,) or (samples, channels), about -32 dB re full scale.
    """
    rng = random_generator(
        seed, clip.machine, clip.section, clip.split, clip.domain, clip.label, clip.index
    )
    time = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32) / np.float32(SAMPLE_RATE)
    fault = _fault_name(clip) if clip.label == "anomaly" else None
    model = _section_model(clip.machine, clip.section, seed)
    if attributes:
        rng_of_noise = random_generator(seed, *clip[1:], "noise")
        model = condition_of(clip.domain, clip.index, attributes).change(model, rng_of_noise)
    else:
        model = _shifted_model(model, clip)
    model = _clip_model(model, rng)
    if fault in MODEL_FAULTS:
        model = MODEL_FAULTS[fault](model, rng)
    sound = _machine_sound(model, time, rng)
    if fault in ADDED_FAULTS:
        added = ADDED_FAULTS[fault](model, time, rng)
        level = rng.uniform(-2.0, 2.0) + model.fault_level + ADDED_FAULT_LEVELS[fault]
        sound = sound + _rms(sound) * _gain(level) * added
    surroundings = _surroundings(time, rng)
    background = -60.0 if clip.split == "supplemental" else model.background
    near = sound + _rms(sound) * _gain(background) * surroundings
    gain = _gain(_level(clip, seed)) / _rms(near)
    if channels == 1:
        return _pcm(near * gain)
    far = _far_microphone(sound, clip, seed) + _rms(sound) * _gain(background + 6.0) * surroundings
    return _pcm(np.stack((near * gain, far * gain * _gain(-8.0)), axis=1))


def random_generator(*key: object) -> np.random.Generator:
    """Return the random generator of a key, the same for equal keys."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def _level(clip: DemoClip, seed: int) -> float:
    """Return the level of a clip in dB re full scale."""
    # Normal and anomalous clips get the same levels, so that loudness does not show the label.
    start = random_generator(seed, clip.machine, clip.section, "level").uniform()
    return LEVEL_DB + 3.0 * ((start + 0.618034 * clip.index) % 1.0) - 1.5


def attribute_pairs(
    machine: str, section: str, domain: str, index: int, attributes: int = 0
) -> tuple[tuple[str, str], ...]:
    """Return the attributes of a clip and their values, such as (("vel", "12"),).

    attributes : as of `render`
    """
    if attributes:
        return condition_of(domain, index, attributes).pairs()
    parameter, *values = SHIFTS[_choice(machine, section) % len(SHIFTS)]
    return ((parameter, values[domain == "target"][index % 2]),)


def _choice(machine: str, section: str) -> int:
    """Return the number that chooses the domain shift and the faults of a section."""
    return int(section) + sum(machine.encode())


def _fault_name(clip: DemoClip) -> str:
    """Return the fault of an anomalous clip; one section has all of them in turn."""
    start = 2 * _choice(clip.machine, clip.section) + (3 if clip.domain == "target" else 0)
    return FAULTS[(start + clip.index) % len(FAULTS)]


def _section_model(machine: str, section: str, seed: int) -> SoundModel:
    """Return the parameters of one section of a machine type, in its source domain."""
    model = SOUND_MODELS.get(machine) or _random_model(machine)
    rng = random_generator(seed, machine, section)
    # With every seed, neighbouring sections get pitches and resonances that differ much.
    step = (3 * int(section)) % 7 - 3
    bumps = tuple(
        (centre * 1.25 ** (step * (-1) ** k) * rng.uniform(0.95, 1.05), width, level)
        for k, (centre, width, level) in enumerate(model.bumps)
    )
    return replace(
        model,
        bumps=bumps,
        tilt=model.tilt + rng.uniform(-0.5, 0.5),
        rotation=model.rotation * 1.12**step,
        pitch=model.pitch * 1.18**step * rng.uniform(0.97, 1.03),
        tones=tuple(level + rng.uniform(-3, 3) for level in model.tones),
        stroke_rate=model.stroke_rate * 1.1**step,
        stroke_band=model.stroke_band * 1.15**step,
        ring=model.ring * 1.15**-step * rng.uniform(0.95, 1.05),
    )


def _random_model(machine: str) -> SoundModel:
    """Return parameters for a machine type that has none, the same for the same name."""
    rng = random_generator("voice", machine)  # the word is part of the recipe: it sets the sounds
    strokes = rng.uniform() < 0.5
    return SoundModel(
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


def _shifted_model(model: SoundModel, clip: DemoClip) -> SoundModel:
    """Return the parameters after the domain shift of a clip."""
    parameter = SHIFTS[_choice(clip.machine, clip.section) % len(SHIFTS)][0]
    amount = AMOUNTS[clip.domain][clip.index % 2]
    if parameter == "vel":
        return faster(model, 1 + 0.12 * amount)
    if parameter == "wt":
        tones = tuple(level + 3 * amount for level in model.tones)
        return replace(
            model,
            tones=tones,
            tilt=model.tilt + 0.7 * amount,
            stroke_level=model.stroke_level - 2 * amount,
        )
    return replace(model, background=model.background + 5 * amount)


def _clip_model(model: SoundModel, rng: np.random.Generator) -> SoundModel:
    """Return the parameters of one clip, which vary a little around those of its domain."""
    model = faster(model, 1 + 0.008 * rng.standard_normal())
    return replace(
        model,
        bumps=tuple((f, w, level + 0.6 * rng.standard_normal()) for f, w, level in model.bumps),
        tilt=model.tilt + 0.12 * rng.standard_normal(),
        tones=tuple(level + 0.8 * rng.standard_normal() for level in model.tones),
        stroke_level=model.stroke_level + 0.6 * rng.standard_normal(),
        background=model.background + rng.uniform(-1.5, 1.5),
    )


def _machine_sound(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the sound of a machine without faults that are added to it."""
    turning = 1 + model.depth * _rotation_wave(model, time, rng)
    sound = _noise(model.bumps, model.tilt, len(time), rng) * turning
    if model.tones:
        sound += _tones(model, time, rng) * turning
    if model.stroke_rate:
        sound += _strokes(model, time, rng)
    return sound


def _rotation_wave(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the modulation by the rotation, -1 to 1."""
    return _sine(model.rotation * time + np.float32(rng.uniform()))


def _tones(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the harmonics of the machine's pitch, which wanders a little."""
    wander = _sine(time * np.float32(rng.uniform(0.2, 0.6)) + np.float32(rng.uniform()))
    turns = np.float32(model.pitch) * (time + np.float32(0.003) * wander)
    carrier = np.empty(len(time), np.complex64)
    carrier.real, carrier.imag = _sine(turns + np.float32(0.25)), _sine(turns)
    harmonic = np.ones_like(carrier)
    sound = np.zeros_like(time)
    for level in model.tones:
        harmonic *= carrier
        phase = np.exp(2j * np.pi * rng.uniform()) * math.sqrt(2) * _gain(level)
        sound += (harmonic * np.complex64(phase)).real
    return sound


def _strokes(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the repeated strokes: noise, and a tone whose frequency glides."""
    since = _seconds_since_stroke(model, time, rng)
    if model.stroke_time < 0.15:
        envelope = np.exp(-since / np.float32(model.stroke_time)) * np.minimum(1, since * 500)
    else:
        envelope = np.sin(np.pi * np.minimum(1, since / np.float32(model.stroke_time))) ** 2
    glide = (model.glide - 1) / (2 * model.stroke_time)
    ring = _sine(model.ring * since * (1 + np.float32(glide) * since))
    hiss = _noise(((model.stroke_band, 0.5, 20.0),), -1.0, len(time), rng)
    return np.float32(_gain(model.stroke_level)) * envelope * (hiss + np.float32(0.5) * ring)


def _seconds_since_stroke(
    model: SoundModel, time: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the seconds since the latest stroke; the first stroke is before the clip."""
    count = int(len(time) / SAMPLE_RATE * model.stroke_rate) + 8
    gaps = (1 + 0.03 * rng.standard_normal(count)) / model.stroke_rate
    starts = np.cumsum(gaps) - gaps[0] * (1 + rng.uniform())
    present = rng.uniform(size=len(starts)) >= model.missing
    present[0] = True
    starts = starts[present]
    latest = np.searchsorted(starts, time, side="right") - 1
    return (time - starts[latest]).astype(np.float32)


def _surroundings(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return noise of the factory, of level 0 dB; in some clips a vehicle passes by."""
    centre = 900 * 2 ** rng.uniform(-1, 1)
    noise = _noise(((centre, 1.0, rng.uniform(0, 4)),), rng.uniform(-3.0, -2.0), len(time), rng)
    if rng.uniform() < 0.3:
        moment, width = rng.uniform(0, time[-1]), rng.uniform(0.2, 0.6)
        noise *= 1 + rng.uniform(0.3, 1.2) * np.exp(-(((time - np.float32(moment)) / width) ** 2))
    return noise / _rms(noise)


def _noise(
    bumps: Sequence[tuple[float, float, float]], tilt: float, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Return n samples of noise of level 0 dB, whose spectrum has a tilt and bumps (SoundModel)."""
    import scipy.fft

    # An FFT is slow for sizes with large prime factors.
    size = scipy.fft.next_fast_len(n, real=True)
    octaves = np.linspace(-5, 3, 129)
    level = tilt * octaves
    for centre, width, height in bumps:
        level += height * np.exp(-(((octaves - math.log2(centre / 1000)) / width) ** 2))
    bins = np.arange(size // 2 + 1, dtype=np.float32)
    grid = 1000 * 2**octaves * (size / SAMPLE_RATE)
    spectrum = rng.standard_normal((len(bins), 2), dtype=np.float32)
    spectrum *= np.interp(bins, grid, 10 ** (level / 20)).astype(np.float32)[:, None]
    # The microphones of these datasets record nothing below 25 Hz.
    spectrum[: int(25 * size / SAMPLE_RATE)] = 0
    noise = scipy.fft.irfft(spectrum.view(np.complex64)[:, 0], size)[:n]
    return noise / _rms(noise)


def _whine(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a fault: a high tone and its octave."""
    pitch = model.pitch * rng.uniform(6.2, 9.8)
    pitch = np.float32(min(pitch, 5500.0) * rng.uniform(0.9, 1.1))
    waver = np.float32(0.5) * _sine(model.rotation * time)
    return _sine(pitch * time + waver) + np.float32(0.4) * _sine(2 * pitch * time)


def _knock(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a fault: knocks at a rate of their own."""
    knocking = replace(
        model,
        stroke_rate=rng.uniform(2.5, 5.0),
        stroke_time=0.02,
        stroke_band=2 * model.ring,
        stroke_level=0.0,
        ring=model.ring * rng.uniform(0.6, 1.8),
        glide=1.0,
        missing=0.0,
    )
    return _normalized(_strokes(knocking, time, rng))


def _rub(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a fault: noise of a high band that swells a few times per second."""
    band = _noise(((rng.uniform(2500, 5500), 0.35, 25.0),), 0.0, len(time), rng)
    touching = np.maximum(0, _sine(np.float32(rng.uniform(1.5, 4.0)) * time)) ** 2
    return _normalized(band * touching)


def _resonance(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a fault: noise of one narrow band."""
    return _noise(((rng.uniform(900, 4500), 0.12, 30.0),), 0.0, len(time), rng)


def _crackle(model: SoundModel, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a fault: short bursts of noise at random moments."""
    hiss = _noise(((3000.0, 1.5, 10.0),), 0.0, len(time), rng)
    moments = rng.uniform(0, time[-1], max(1, round(3 * float(time[-1]))))
    envelope = np.zeros_like(time)
    for start, length in zip(moments, rng.uniform(0.02, 0.08, len(moments)), strict=True):
        first = int(start * SAMPLE_RATE)
        envelope[first : first + int(length * SAMPLE_RATE)] = 1
    return _normalized(hiss * envelope)


def _deviation(model: SoundModel, rng: np.random.Generator) -> SoundModel:
    """Return the parameters of a machine that runs a little too fast or too slow."""
    share = rng.choice((-1, 1)) * rng.uniform(0.02, 0.045) * _gain(model.fault_level)
    return faster(model, float(1 + share))


def _imbalance(model: SoundModel, rng: np.random.Generator) -> SoundModel:
    """Return the parameters of a machine with a stronger modulation and louder tones."""
    depth = model.depth + rng.uniform(0.2, 0.4) * _gain(model.fault_level)
    return replace(model, depth=depth, tones=tuple(level + 2 for level in model.tones))


def _stall(model: SoundModel, rng: np.random.Generator) -> SoundModel:
    """Return the parameters of a machine that runs too slow and leaves out strokes."""
    slower = faster(model, rng.uniform(0.82, 0.9))
    return replace(slower, missing=0.25, tilt=model.tilt + 0.5)


MODEL_FAULTS = {"deviation": _deviation, "imbalance": _imbalance, "stall": _stall}
ADDED_FAULTS = {
    "whine": _whine,
    "knock": _knock,
    "resonance": _resonance,
    "rub": _rub,
    "crackle": _crackle,
}
# In dB, relative to the sound of the machine.
ADDED_FAULT_LEVELS = {
    "whine": -16.0,
    "knock": -15.0,
    "resonance": -18.5,
    "rub": -16.0,
    "crackle": -14.0,
}


def _far_microphone(sound: np.ndarray, clip: DemoClip, seed: int) -> np.ndarray:
    """Return a sound as the far microphone records it: later, and with the room's reverberation."""
    import scipy.signal

    rng = random_generator(seed, clip.machine, clip.section, "room")
    tail = rng.standard_normal(SAMPLE_RATE // 5, dtype=np.float32)
    tail *= 10 ** (-3 * np.arange(len(tail), dtype=np.float32) / len(tail))
    tail *= np.float32(0.7) / np.linalg.norm(tail)
    delay = int(SAMPLE_RATE * rng.uniform(0.006, 0.012))
    response = np.concatenate((np.zeros(delay, dtype=np.float32), [np.float32(1)], tail))
    return scipy.signal.oaconvolve(sound, response.astype(np.float32))[: len(sound)]


def _sine(turns: np.ndarray) -> np.ndarray:
    """Return the sine of a phase that is given in turns."""
    # The fraction first: in single precision many turns leave too few digits for the phase.
    fraction = (turns - np.floor(turns)).astype(np.float32)
    return np.sin(np.float32(2 * np.pi) * fraction)


def _gain(level: float) -> float:
    """Return the factor of an amplitude for a level in dB."""
    return 10 ** (level / 20)


def _rms(sound: np.ndarray) -> float:
    """Return the root mean square of a sound."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float32))))


def _normalized(sound: np.ndarray) -> np.ndarray:
    """Return a sound at level 0 dB; silence stays silence."""
    return sound / max(_rms(sound), 1e-9)


def _pcm(sound: np.ndarray) -> np.ndarray:
    """Return a sound of -1 to 1 as int16, clipped."""
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)
