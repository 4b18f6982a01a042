"""`feature.classes`: what a classifier's classes are made from, and by which a clip is scored."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_model
from core import settings
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.clips import NO_ATTRIBUTE, Clip, list_wavs, parse_clip
from data.frames import Frames
from engine.checks import check_classes, check_sections
from tests.conftest import run_inside
from tools import demo_data

ATTRIBUTES = ("feature.classes", "attributes")
DOMAIN = ("feature.classes", "domain")
SMALL = {
    "mobilenet_v2": [
        ("mobilenet_v2.network.alpha", 0.1),
        ("feature.n_mels", 32),
        ("feature.n_frames", 32),
    ],
    "stgram_mfn": [
        ("stgram_mfn.network.seconds", 0.5),
        ("stgram_mfn.network.bottlenecks", [[1, 4, 1, 2], [1, 4, 1, 2], [1, 4, 1, 2]]),
    ],
}


def small(system: str, *assignments: tuple[str, Any]) -> SystemSettings:
    given = [*SMALL.get(system, ()), ("fit.epochs", 1), ("fit.verbose", 0), *assignments]
    return settings.read_config(None, given).for_system(system)


def clip(text: str, machine: str = "fan", domain: str = "source", folder: str = "train") -> Clip:
    """A clip of section 00 with attributes in its name, such as "vel_6"."""
    name = f"section_00_{domain}_{folder}_normal_0000" + (f"_{text}" if text else "") + ".wav"
    return parse_clip(Path("data") / machine / folder / name, machine, folder)


HIDDEN = parse_clip(Path("section_00_0000.wav"), "fan", "test")


@pytest.mark.parametrize(
    ("system", "classes", "of", "expected"),
    [
        ("mobilenet_v2", "section", clip("vel_6"), "section_00"),
        ("mobilenet_v2", "attributes", clip("vel_6"), "section_00: vel_6"),
        ("mobilenet_v2", "attributes", clip("b_2_a_1"), "section_00: a_1_b_2"),
        ("mobilenet_v2", "attributes", clip("noAttribute"), "section_00: noAttribute"),
        ("mobilenet_v2", "attributes", HIDDEN, "section_00: hidden"),
        ("mobilenet_v2", "domain", clip("vel_6", domain="target"), "section_00: target"),
        ("mobilenet_v2", "domain", HIDDEN, "section_00: hidden"),
        ("stgram_mfn", "attributes", clip("vel_6", "pump"), "pump section_00: vel_6"),
        ("stgram_mfn", "domain", clip("vel_6", "pump"), "pump section_00: source"),
        # What tells no classes apart has sections, whatever the shared key says.
        ("ae", "attributes", clip("vel_6"), "section_00"),
    ],
)
def test_the_class_of_a_clip(system, classes, of, expected) -> None:
    run = small(system, ("feature.classes", classes))
    assert run.class_name(of) == expected
    assert run.section_of(expected) == expected.partition(":")[0]


def test_a_published_truth_gives_no_class() -> None:
    run = small("mobilenet_v2", DOMAIN)
    assert run.class_name(replace(HIDDEN, domain="target", label="anomaly")) == "section_00: hidden"


def test_listed_attributes_count_and_an_empty_row_leaves_those_of_the_name(tmp_path) -> None:
    names = [f"section_00_source_train_normal_{n:04}_vel_6.wav" for n in range(3)]
    (tmp_path / "fan" / "train").mkdir(parents=True)
    for name in names:
        (tmp_path / "fan" / "train" / name).touch()
    (tmp_path / "fan" / "attributes_00.csv").write_text(
        f"file_name,d1p,d1v\nfan/train/{names[0]},vel,8\nfan/train/{names[1]},,\n"
        f"fan/train/{names[2]},noAttribute,\n"
    )
    listed, _ = list_wavs(tmp_path / "fan", ("train",))
    assert [c.attributes for c in listed] == [(("vel", "8"),), (("vel", "6"),), NO_ATTRIBUTE]


def frames_of(*clips: Clip, values: int = 1, rows: int = 8000) -> Frames:
    array = np.random.default_rng(3).normal(0, 0.1, (len(clips) * rows, values))
    count = np.full(len(clips), rows)
    return Frames(array.astype(np.float32), clips, np.cumsum(count) - count, count)


@pytest.mark.parametrize(
    ("system", "home", "given"),
    [
        ("mobilenet_v2", "", ()),
        ("stgram_mfn", "fan ", ()),
        ("stgram_mfn", "fan ", (("stgram_mfn.network.use_arcface", False),)),
        ("stgram_mfn", "fan ", (("stgram_mfn.network.gmm", 1),)),
    ],
)
def test_an_unknown_class_is_scored_by_the_least_anomalous_of_its_section(
    system, home, given
) -> None:
    run = small(system, ATTRIBUTES, *given)
    names = [f"{home}section_00: {text}" for text in ("noAttribute", "vel_6", "vel_8")]
    other = "pump section_00: vel_6" if run.joint else "section_01: vel_6"
    made = keras_model.build_system(run, [*names, other])
    values, rows = (32, 40) if system == "mobilenet_v2" else (1, 8000)
    if system == "mobilenet_v2":  # whose features are all alike before a training
        made.network.get_layer("predictions").bias.assign([0.0, 0.3, 0.1, 0.9])
    foreign = clip("vel_6", "pump") if run.joint else replace(clip("vel_6"), section="section_01")
    training = [*(clip(text) for text in ("vel_6", "vel_8", "noAttribute")), foreign]
    made.fit_statistics(frames_of(*training, *training, values=values, rows=rows))
    scored = frames_of(clip("vel_8"), HIDDEN, clip("vel_99"), values=values, rows=rows)
    own = made.section_names.index(names[2])
    every = made.class_scores(scored)
    in_section = [made.section_names.index(name) for name in names]
    scores = made.score(scored)
    assert scores[0] == pytest.approx(every[0, own], rel=1e-4, abs=1e-6)
    for row in (1, 2):
        best = every[row, in_section].min()
        assert scores[row] == pytest.approx(best, rel=1e-4, abs=1e-6)
    # The classes of each clip differ, or the above would say nothing.
    assert np.ptp(every[:, in_section], axis=1).min() > 1e-4


def test_a_section_that_was_not_trained_on_is_still_refused() -> None:
    for system, trained, scored, said in (
        (
            "mobilenet_v2",
            "section_00: ",
            "section_05: hidden",
            "section_05 is none of the sections",
        ),
        ("stgram_mfn", "fan section_00: ", "pump section_00: a", "pump section_00 was not trained"),
    ):
        run = small(system, ATTRIBUTES)
        classes = [f"{trained}{text}" for text in ("a", "b")]
        with pytest.raises(BadInput, match=said):
            check_sections(run, "fan", classes, [scored])
        check_sections(run, "fan", classes, [f"{trained}hidden"])


def test_one_class_says_what_to_do() -> None:
    for system in SMALL:
        name = small(system, ATTRIBUTES).class_name(clip("noAttribute"))
        said = f"attribute values.* apart, and there is only {name}; train it on two or more"
        with pytest.raises(BadInput, match=said):
            check_sections(small(system, ATTRIBUTES), "fan", [name], [])
    with pytest.raises(BadInput, match=r"set feature\.classes: attributes or domain, or take"):
        check_sections(small("mobilenet_v2"), "fan", ["section_00"], [])


def test_training_clips_without_a_class_are_named() -> None:
    frames = frames_of(clip("vel_6"), clip(""), clip(""), rows=1)
    where = (
        "2 of 3 training clips have no attributes, .* in an attributes_NN.csv in data/fan, first"
    )
    with pytest.raises(BadInput, match=where):
        check_classes(small("mobilenet_v2", ATTRIBUTES), frames)
    check_classes(small("mobilenet_v2"), frames)
    check_classes(small("ae", ATTRIBUTES), frames)
    check_classes(small("mobilenet_v2", DOMAIN), frames)
    no_domain = parse_clip(Path("fan/train/normal_id_00_00000000.wav"), "fan", "train")
    with pytest.raises(BadInput, match=r"1 of 1 training clips have no domain in the name"):
        check_classes(small("mobilenet_v2", DOMAIN), frames_of(no_domain, rows=1))


@pytest.fixture(scope="module")
def year_2023(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machine types for development and one for evaluation, of one section each."""
    home = tmp_path_factory.mktemp("year_2023")
    machines = ["fan", "gearbox", "pump"]
    demo_data.make_dataset(home, 2023, machines, clips=10, test_clips=4, seconds=2.0)
    return home


@pytest.mark.slow
@pytest.mark.parametrize(("system", "classes"), [("mobilenet_v2", 3), ("stgram_mfn", 9)])
def test_attributes_are_classes_through_both_commands(year_2023, tmp_path, system, classes) -> None:
    def asked(script: str, mode: str, *more: str):
        given = [mode, "--system", system, "--jobs", "1"]
        put = {"data": year_2023, "out": tmp_path}
        few = [f"{key}={value}" for key, value in SMALL[system]]
        assigned = ("fit.epochs=1", "fit.verbose=0", "fit.batch_size=8", *few, *more)
        return run_inside(script, *given, **put, assigned=assigned)

    if system == "mobilenet_v2":
        refused = asked("00_train.py", "-d")
        assert refused.returncode == 1
        assert "there is only section_00" in refused.stderr
    as_attributes = "feature.classes=attributes"
    for mode in ("-d", "-e"):
        for script in ("00_train.py", "01_test.py"):
            run = asked(script, mode, as_attributes)
            assert run.returncode == 0, run.stderr
    models = sorted((tmp_path / "model" / system).glob("model_*.json"))
    assert '"section_00: vel_6"' in models[0].read_text() or system == "stgram_mfn"
    assert models[0].read_text().count("section_00: ") == classes
    # The evaluation clips' attributes are hidden; their section has a threshold.
    results = tmp_path / "result" / system
    with (results / "decision_result_pump_section_00_test.csv").open() as stream:
        assert len(list(csv.reader(stream))) == 4
