"""Combining scores, in numbers small enough to work out by hand."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from core import settings
from core.errors import BadInput
from data.clips import Clip
from data.training_scores import TrainingScores
from engine import ensemble, options
from engine.scoring import Scores

RNG = np.random.default_rng(0)


def scored(scores, training, section="section_00", names=None, test_names=None) -> Scores:
    test_names = test_names or [f"t{number}.wav" for number in range(len(scores))]
    clips = [Clip(Path(name), "fan", section, "test") for name in test_names]
    names = names or [f"{number}.wav" for number in range(len(training))]
    of_training = TrainingScores(np.array(training, float), [section] * len(names), names)
    return Scores(clips, np.array(scores, float), {}, of_training)


def test_an_ensemble_is_read_and_its_weights_add_up_to_one():
    assert options.parse_ensemble("mix=ae:1,idnn:3") == ("mix", {"ae": 0.25, "idnn": 0.75})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *[(text, "not of the form") for text in ("mix", "mix=", "=ae:1,vae:1", "a/b=ae:1,vae:1")],
        *[(f"{name}=ae:1,vae:1", "is a system's name") for name in ("idnn", "AE", "all")],
        ("mix=ae:1,idn:1", "no system 'idn'; did you mean idnn?"),
        ("mix=ae:1,ae:1", "ae is in it twice"),
        *[(f"mix=ae:{w},vae:1", "weight of ae is") for w in ("0", "-1", "x", "", "inf", "nan")],
        ("mix=ae:1", "two systems or more"),
    ],
)
def test_what_is_no_ensemble(text, words):
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        options.parse_ensemble(text)


def test_two_ensembles_of_one_name():
    made = [options.parse_ensemble(f"{name}=ae:1,vae:1") for name in ("mix", "Mix")]
    with pytest.raises(BadInput, match="mix: asked for twice"):
        options.check_names(made)


def test_rank_is_the_share_of_training_clips_below_and_goes_on_beyond_them():
    reference = [1.0, 2.0, 2.0, 4.0]
    spread = np.std(reference)
    found = ensemble.normalise([1, 2, 3, 4, 4 + spread, 1 - spread], reference, "rank")
    np.testing.assert_allclose(found, [1 / 8, 1 / 2, 11 / 16, 7 / 8, 15 / 8, -7 / 8], atol=1e-12)


def test_z_and_minmax():
    reference = [1.0, 3.0]
    np.testing.assert_allclose(ensemble.normalise([2, 5], reference, "z"), [0, 3])
    np.testing.assert_allclose(ensemble.normalise([2, 5], reference, "minmax"), [0.5, 2])


@pytest.mark.parametrize("norm", options.NORMS)
def test_a_norm_keeps_the_order_and_knows_no_unit(norm):
    scores, reference = np.sort(RNG.normal(0, 3, 200)), RNG.gamma(2, 1, 50)
    found = ensemble.normalise(scores, reference, norm)
    assert np.all(np.diff(found) > 0) or (norm == "rank" and np.all(np.diff(found) >= 0))
    outside = (scores > reference.max()) | (scores < reference.min())
    assert np.all(np.diff(found[outside]) > 0)
    again = ensemble.normalise(scores * 1e4 - 7, reference * 1e4 - 7, norm)
    np.testing.assert_allclose(again, found, atol=1e-8)


@pytest.mark.parametrize("norm", options.NORMS)
def test_training_scores_that_are_all_the_same(norm):
    assert np.all(np.isfinite(ensemble.normalise([1, 2, 3], [2, 2], norm)))
    assert np.all(np.diff(ensemble.normalise([1, 2, 3], [2, 2], norm)) > 0)


@pytest.mark.parametrize("norm", options.NORMS)
def test_test_clips_do_not_see_one_another(norm):
    members = {"ae": scored([1, 5, 9], [1, 2, 3]), "vae": scored([4, 1, 2], [3, 5, 9])}
    alone = {
        name: scored(member.scores[:1], member.training.scores) for name, member in members.items()
    }
    weights = {"ae": 0.5, "vae": 0.5}
    together = ensemble.combine(members, weights, norm)
    assert together.scores[0] == ensemble.combine(alone, weights, norm).scores[0]


def test_the_weighted_sum_of_both_with_training_clips_matched_by_name():
    members = {
        "ae": scored([2.0, 6.0], [0.0, 2.0, 4.0]),
        "vae": scored([30.0, 10.0], [40.0, 0.0, 20.0], names=["2.wav", "0.wav", "1.wav"],
                      test_names=["t1.wav", "t0.wav"]),
    }  # fmt: skip
    found = ensemble.combine(members, {"ae": 0.25, "vae": 0.75}, "minmax")
    assert [clip.name for clip in found.clips] == ["t0.wav", "t1.wav"]
    np.testing.assert_allclose(found.scores, [0.25 * 0.5 + 0.75 * 0.25, 0.25 * 1.5 + 0.75 * 0.75])
    np.testing.assert_allclose(found.training.scores, [0, 0.5, 1])
    assert found.training.names == ["0.wav", "1.wav", "2.wav"]


def test_each_section_has_scales_of_its_own():
    def both(scale):
        parts = [scored([1 * k, 2 * k], [0, 2 * k], f"section_0{n}") for n, k in enumerate(scale)]
        return Scores(
            [clip for part in parts for clip in part.clips],
            np.concatenate([part.scores for part in parts]),
            {},
            TrainingScores(
                np.concatenate([part.training.scores for part in parts]),
                [section for part in parts for section in part.training.sections],
                [name for part in parts for name in part.training.names],
            ),
        )

    members = {"ae": both((1, 100)), "vae": both((50, 3))}
    found = ensemble.combine(members, {"ae": 0.5, "vae": 0.5}, "minmax")
    np.testing.assert_allclose(found.scores, [0.5, 1, 0.5, 1])
    np.testing.assert_allclose(found.training.scores, [0, 1, 0, 1])


def test_a_section_without_training_clips_takes_those_of_all():
    member = scored([3.0], [0.0, 2.0])
    member = member._replace(clips=[Clip(Path("t0.wav"), "fan", "section_07", "test")])
    found = ensemble.combine({"ae": member, "vae": member}, {"ae": 0.5, "vae": 0.5}, "minmax")
    np.testing.assert_allclose(found.scores, [1.5])


def test_only_clips_that_every_member_has():
    members = {
        "ae": scored([1, 2, 3], [1, 2, 3]),
        "vae": scored([7], [1, 5], names=["1.wav", "9.wav"], test_names=["t2.wav"]),
    }
    found = ensemble.combine(members, {"ae": 0.5, "vae": 0.5}, "z")
    assert [clip.name for clip in found.clips] == ["t2.wav"]
    assert found.training.names == ["1.wav"]
    for change in ({"names": ["8.wav", "9.wav"]}, {"test_names": ["u0.wav"]}):
        members["vae"] = scored([7], [1, 5], **{"names": ["1.wav", "9.wav"], **change})
        if "test_names" not in change:
            members["vae"] = members["vae"]._replace(clips=members["ae"].clips[:1])
        with pytest.raises(BadInput, match=r"ae, vae: no (training|test) clip in common"):
            ensemble.combine(members, {"ae": 0.5, "vae": 0.5}, "z")


def test_a_light_member_moves_nothing():
    scores = RNG.gamma(2, 1, 40)
    members = {
        "ae": scored(scores, RNG.gamma(2, 1, 30)),
        "vae": scored(RNG.normal(size=40), RNG.normal(size=30)),
    }
    for norm in ("z", "minmax"):
        found = ensemble.combine(members, {"ae": 1 - 1e-9, "vae": 1e-9}, norm).scores
        assert np.argsort(found).tolist() == np.argsort(scores).tolist()


@pytest.mark.parametrize("text", ["", "[]", '{"eval": 3}', '{"eval": {"weights": {"x": 1}}}'])
def test_a_foreign_record(tmp_path, text):
    assert ensemble.read_record(tmp_path) == {}
    (tmp_path / ensemble.RECORD).write_text(text)
    with pytest.raises(BadInput, match=r"ensemble\.json: not the record of an ensemble"):
        ensemble.read_record(tmp_path)


def test_a_record_is_read_back(tmp_path):
    record = {mode: {"weights": {"ae": 1.0}, "norm": "z", "seed": 0} for mode in ("dev", "eval")}
    (tmp_path / ensemble.RECORD).write_text(json.dumps(record))
    assert ensemble.read_record(tmp_path) == record


def test_machine_types_that_not_every_member_could_score_are_left_out(tmp_path):
    param = settings.read_config().for_system("mix").with_values({"result_directory": tmp_path})
    mixed = options.Ensemble("mix", {"ae": 0.5, "vae": 0.5})
    z = options.TestOptions(norm="z")
    both = {"fan": scored(RNG.normal(size=4), RNG.normal(size=9))}
    ensemble.save(param, mixed, z, "dev", {"ae": {**both, "valve": None}, "vae": both})
    assert [path.name for path in tmp_path.glob("anomaly_score_*")] == [
        "anomaly_score_fan_section_00_test.csv"
    ]
    before = (tmp_path / "thresholds.csv").read_bytes()
    assert ensemble.save(param, mixed, z, "dev", {"ae": {"valve": None}, "vae": both}) == []
    assert (tmp_path / "thresholds.csv").read_bytes() == before


def test_every_norm_and_member_order_gives_the_same_sum():
    members = {
        name: scored(RNG.normal(size=6), RNG.normal(size=9)) for name in ("ae", "vae", "idnn")
    }
    weights = {"ae": 0.2, "vae": 0.3, "idnn": 0.5}
    for norm in options.NORMS:
        sums = [
            ensemble.combine({name: members[name] for name in order}, weights, norm).scores
            for order in itertools.permutations(members)
        ]
        np.testing.assert_allclose(sums, [sums[0]] * 6, atol=1e-12)


@pytest.mark.parametrize(
    ("more", "systems"),
    [
        ([], ["ae"]),
        (["--ensemble", "mix=vae:1,idnn:1"], ["vae", "idnn"]),
        (["--ensemble", "mix=vae:1,idnn:1", "--system", "grlnet"], ["grlnet", "vae", "idnn"]),
    ],
)
def test_the_systems_of_an_ensemble_are_scored_with_those_asked_for(more, systems):
    command, _ = options.parse_test_command("", ["-d", *more])
    assert command.systems == systems
