"""The parameters of the machines of the demo data."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SoundModel:
    """The parameters of a machine's sound. Frequencies and rates in Hz, levels in dB, times in s.

    bumps : peaks in the spectrum of a steady noise of level 0: (centre, width in octaves, level)
    tilt : slope of that spectrum, in dB per octave
    rotation, depth : rate and depth of the modulation of noise and tones
    pitch, tones : fundamental frequency, and the level of each of its harmonics
    stroke_rate : repeated strokes, such as those of a valve; 0 for none
    stroke_time : duration of a stroke
    stroke_band, stroke_level : centre and level of the noise of a stroke
    ring, glide : frequency of the tone of a stroke, and the factor that it changes by in a stroke
    background : level of the factory around the machine, relative to the machine
    missing : share of the strokes that are left out, 0 to 1
    fault_level : makes the faults of a machine type louder or softer, so that the machine types
        are about equally difficult
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
    fault_level: float = 0.0


SOUND_MODELS = {
    "fan": SoundModel(
        bumps=((300, 1.2, 9), (1800, 0.8, 5)),
        tilt=-3.0,
        rotation=11.0,
        depth=0.25,
        pitch=92.0,
        tones=(-4, -8, -13, -17, -22),
        fault_level=-1.0,
    ),
    "gearbox": SoundModel(
        bumps=((700, 1.0, 5), (2600, 0.7, 6)),
        tilt=-2.5,
        rotation=17.0,
        depth=0.12,
        pitch=410.0,
        tones=(-6, -9, -10, -15, -19, -23),
        fault_level=-1.0,
    ),
    "valve": SoundModel(
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
    "slider": SoundModel(
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
    "bearing": SoundModel(
        bumps=((1200, 1.0, 5), (4200, 0.6, 7)),
        tilt=-2.0,
        rotation=23.0,
        pitch=137.0,
        tones=(-10, -13, -16, -20),
    ),
    "pump": SoundModel(
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
    "ToyCar": SoundModel(
        bumps=((1500, 1.0, 6), (5000, 0.7, 4)),
        tilt=-1.5,
        rotation=14.0,
        depth=0.25,
        pitch=310.0,
        tones=(-6, -7, -12, -14, -20),
    ),
    "ToyTrain": SoundModel(
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
    "ToyConveyor": SoundModel(
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


def faster(model: SoundModel, factor: float) -> SoundModel:
    """Return the parameters of a machine that runs faster by a factor."""
    return replace(
        model,
        rotation=model.rotation * factor,
        pitch=model.pitch * factor,
        stroke_rate=model.stroke_rate * factor,
    )
