"""Training and testing of the systems without a network, as a person runs them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import run_inside
from tests.precomputed import write_embeddings


@pytest.fixture(scope="module")
def bare(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's fans under names of 2020, which have no domain: as recordings of one's own."""
    folder = tmp_path_factory.mktemp("bare")
    wavs = sorted((demo / "dev_data" / "fan").rglob("section_00_*.wav"))
    for number, wav in enumerate(wavs):
        label = "anomaly_" if "anomaly" in wav.name else "normal_"
        to = folder / "dev_data" / "fan" / wav.parent.name / f"{label}id_00_{number:08}.wav"
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(wav, to)
    return folder


def scores(results: Path) -> list[float]:
    (path,) = results.glob("anomaly_score_fan_*.csv")
    with path.open(newline="") as stream:
        return [float(score) for _, score in csv.reader(stream)]


@pytest.mark.parametrize("system", ["raw_spec", "twfr_gmm", "embeddings"])
def test_from_wavs_without_domains_to_results(bare: Path, tmp_path: Path, system: str) -> None:
    folder = write_embeddings(bare / "dev_data", tmp_path / "embeddings")
    assigned = (f"embeddings.network.directory={folder}", "back_end.name=local_density")
    where = {"data": bare, "out": tmp_path, "assigned": assigned}
    for script in ("00_train.py", "01_test.py"):
        run = run_inside(script, "-d", "--system", system, "--jobs", "1", **where)
        assert run.returncode == 0, run.stderr
    assert "all count as source" not in run.stdout
    results = tmp_path / "result" / system
    assert len(set(scores(results))) == len(scores(results)) == 8
    with (results / "thresholds.csv").open(newline="") as stream:
        assert [row["n_clips"] for row in csv.DictReader(stream)] == ["10"]


def test_missing_embeddings_are_all_named_before_any_work(bare: Path, tmp_path: Path) -> None:
    folder = write_embeddings(bare / "dev_data", tmp_path / "embeddings")
    training, test = (sorted(folder.glob(f"fan/{name}/*.npy")) for name in ("train", "test"))
    wide = np.load(training[0])
    training[3].unlink()
    np.save(training[5], np.concatenate([wide, wide]))
    where = {"data": bare, "out": tmp_path, "assigned": (f"embeddings.network.directory={folder}",)}
    run = run_inside("00_train.py", "-d", "--system", "embeddings", "--jobs", "1", **where)
    assert run.returncode == 1
    assert f"{training[3].stem}.wav: no embedding" in run.stderr
    assert f"{training[5].name}: has the width 32, and most others 16" in run.stderr
    assert not list((tmp_path / "model").rglob("model_*"))
    np.save(training[3], wide)
    np.save(training[5], wide)
    for script, status in (("00_train.py", 0), ("01_test.py", 1)):
        if status:
            test[2].unlink()
            np.save(test[4], np.full_like(wide, np.nan))
        run = run_inside(script, "-d", "--system", "embeddings", "--jobs", "1", **where)
        assert run.returncode == status, run.stderr
    assert f"{test[2].stem}.wav: no embedding" in run.stderr
    assert f"{test[4].name}: has values that are not finite" in run.stderr
    assert "[1/1] fan" not in run.stdout  # where scoring begins
    assert not list((tmp_path / "result").glob("*/*.csv"))


def test_another_embedding_is_another_score(bare: Path, tmp_path: Path) -> None:
    """The scores of clips are cached; their embeddings' files are part of the key."""
    folder = write_embeddings(bare / "dev_data", tmp_path / "embeddings")
    where = {"data": bare, "out": tmp_path, "assigned": (f"embeddings.network.directory={folder}",)}
    given = ["-d", "--system", "embeddings", "--jobs", "1"]
    assert run_inside("00_train.py", *given, **where).returncode == 0
    assert run_inside("01_test.py", *given, **where).returncode == 0
    before = scores(tmp_path / "result" / "embeddings")
    first = sorted(folder.glob("fan/test/*.npy"))[0]
    np.save(first, np.concatenate([np.load(first)[1:], [9.0]]).astype(np.float32))
    assert run_inside("01_test.py", *given, **where).returncode == 0
    after = scores(tmp_path / "result" / "embeddings")
    assert [one != other for one, other in zip(before, after, strict=True)].count(True) == 1


def test_embeddings_need_the_names_of_the_clips_and_not_their_sound(
    bare: Path, tmp_path: Path
) -> None:
    folder = write_embeddings(bare / "dev_data", tmp_path / "embeddings")
    for wav in bare.rglob("*.wav"):
        empty = tmp_path / wav.relative_to(bare)
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.touch()
    assigned = (f"embeddings.network.directory={folder}",)
    for script in ("00_train.py", "01_test.py"):
        run = run_inside(
            *(script, "-d", "--system", "embeddings", "--jobs", "1"),
            **{"data": tmp_path, "out": tmp_path, "assigned": assigned},
        )
        assert run.returncode == 0, run.stderr
    assert len(scores(tmp_path / "result" / "embeddings")) == 8
    cached = list((tmp_path / "cache").iterdir())
    assert all(path.name.startswith("scores_") for path in cached)


@pytest.fixture(scope="module")
def stereo(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same fans, with noise of its own in the second channel of each clip."""
    folder = tmp_path_factory.mktemp("stereo")
    draw = np.random.default_rng(0)
    for wav in sorted(bare.rglob("*.wav")):
        near, rate = soundfile.read(wav)
        to = folder / wav.relative_to(bare)
        to.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(to, np.stack([near, 0.01 * draw.standard_normal(len(near))], 1), rate)
    return folder


def test_two_microphones_from_wavs_to_results(stereo: Path, tmp_path: Path) -> None:
    def tested(*assigned: str) -> list[float]:
        where = {"data": stereo, "out": tmp_path, "assigned": ("feature.n_mels=16", *assigned)}
        for script in ("00_train.py", "01_test.py"):
            run = run_inside(script, "-d", "--system", "raw_spec", "--jobs", "1", **where)
            assert run.returncode == 0, run.stderr
        return scores(tmp_path / "result" / "raw_spec")

    one = tested()
    shutil.rmtree(tmp_path / "model")
    two = tested("feature.channel=near_minus_far")
    none = tested("feature.channel=near_minus_far", "back_end.far_weight=0")
    assert one != two
    assert none == one


def test_one_microphone_is_named_before_any_work(bare: Path, stereo: Path, tmp_path: Path) -> None:
    shutil.copytree(stereo, tmp_path, dirs_exist_ok=True)
    where = {"data": tmp_path, "out": tmp_path, "assigned": ("feature.channel=near_minus_far",)}
    systems = ("-d", "--system", "raw_spec", "ae", "--jobs", "1")
    run = run_inside("00_train.py", *systems, **where)
    assert run.returncode == 1
    assert "ae: feature.channel is near_minus_far (from --set), which raw_spec, " in run.stderr
    assert not list((tmp_path / "model").rglob("model_*"))
    given = ("-d", "--system", "raw_spec", "--jobs", "1")
    assert run_inside("00_train.py", *given, **where).returncode == 0
    single = sorted(bare.glob("dev_data/fan/test/*.wav"))[:2]
    for wav in single:
        shutil.copy(wav, tmp_path / wav.relative_to(bare))
    run = run_inside("01_test.py", *given, **where)
    assert run.returncode == 1
    for wav in single:
        assert f"{wav.name}: has 1 channel; feature.channel second and near_minus_far" in run.stderr
    assert not list((tmp_path / "result").rglob("anomaly_score_*"))
