"""The clips of a report: their order, which come along, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from core import settings
from core.run_settings import SharedSettings
from evaluation.metrics import ScoredSection, SectionKey
from reporting import media, runs
from tests.reporting.report_data import dataset, names, results


def section(scores, labels, decisions) -> ScoredSection:
    arrays = (np.array(x) if x is not None else None for x in (labels, None, decisions))
    return ScoredSection(
        SectionKey("fan", "section_00"),
        np.array([f"clip_{index}" for index in range(len(scores))]),
        np.array(scores, float),
        *arrays,
    )


def threshold(value: float) -> runs.Threshold:
    return runs.Threshold(value, "gamma", None)


def test_false_alarms_and_misses_come_first_in_turn_the_worst_before_the_others() -> None:
    judged = section(
        #        ok   miss miss alarm ok  alarm hit
        [0.1, 0.2, 0.9, 5.0, 0.5, 2.0, 3.0],
        [0, 1, 1, 0, 0, 0, 1],
        [0, 0, 0, 1, 0, 1, 1],
    )
    assert media.rank_clips(judged, threshold(1.0)).tolist() == [3, 1, 5, 2, 6, 4, 0]


@pytest.mark.parametrize(("labels", "decisions"), [(None, [0, 1, 1]), ([0, 1, 0], None)])
def test_without_labels_or_decisions_the_highest_scores_come_first(labels, decisions) -> None:
    assert media.rank_clips(section([1, 3, 2], labels, decisions), None).tolist() == [1, 2, 0]


def collect(tmp_path: Path, data: runs.ReportData) -> dict[media.ClipKey, media.ClipMedia]:
    param = settings.read_config(None, [("dev_directory", str(tmp_path / "dev_data"))]).shared()
    return media.collect(data, param, tmp_path / "made", tmp_path / "to" / "report")


@pytest.fixture
def collected(tmp_path):
    dataset(tmp_path, sections=["00"], clips=12)
    for system, seed in (("ae", 0), ("idnn", 1)):
        results(tmp_path / "result" / system, sections=["00"], clips=12, seed=seed)
    gone = tmp_path / "dev_data" / "fan" / "test" / names("00", 12)[5]
    gone.unlink()
    data = runs.read_runs([tmp_path / "result"], "./result/{system}")
    monkey = pytest.MonkeyPatch()
    monkey.setattr(media, "CLIPS_PER_SECTION", 6)
    yield data, collect(tmp_path, data)
    monkey.undo()


def test_the_chosen_are_the_first_of_each_system_in_turn(collected) -> None:
    data, _ = collected
    for key, chosen in media.choose_clips(data).items():
        orders = [
            run.sections[key].names[media.rank_clips(run.sections[key], run.thresholds[key])]
            for run in data.runs
        ]
        assert len(chosen) == len(set(chosen)) == 6
        for order in orders:
            assert set(order[:3]) <= set(chosen)


def test_chosen_clips_are_copied_and_the_others_linked(collected, tmp_path) -> None:
    data, clips = collected
    chosen = media.choose_clips(data)
    page = tmp_path / "to" / "report"
    assert {clip.mode for clip in clips.values()} == {"dev"}
    for (machine_type, name), clip in clips.items():
        original = tmp_path / "dev_data" / machine_type / "test" / name
        if clip.copied:
            assert name in chosen[SectionKey(machine_type, "section_00")]
            assert (tmp_path / "made" / unquote(clip.audio)).read_bytes() == original.read_bytes()
            assert clip.seconds == 0.5
            with Image.open(tmp_path / "made" / unquote(clip.spectrogram)) as image:
                assert image.size == (16, 128)
        else:
            assert not clip.spectrogram
            assert not clip.audio.startswith("/")
            assert (page / unquote(clip.audio)).resolve() == original.resolve()
    assert sum(clip.copied for clip in clips.values()) >= 10


def test_clips_that_are_gone_are_named(collected) -> None:
    data, clips = collected
    assert ("fan", names("00", 12)[5]) not in clips
    (gone,) = data.not_shown
    assert "fan section 00: 1 of 12 clips are neither in dev_directory" in gone
    assert names("00", 12)[5] in gone


def test_a_broken_clip_is_named_and_the_others_drawn(tmp_path) -> None:
    dataset(tmp_path, machines=["fan"], sections=["00"])
    broken = tmp_path / "dev_data" / "fan" / "test" / names()[3]
    broken.write_bytes(b"RIFFnothing")
    folder = results(tmp_path / "ae", machines=["fan"], sections=["00"])
    data = runs.read_runs([folder], "./result/{system}")
    clips = collect(tmp_path, data)
    (problem,) = data.not_shown
    assert problem.startswith(f"{broken}: no spectrogram: cannot be read as audio")
    assert sum(bool(clip.spectrogram) for clip in clips.values()) == 7
    assert not clips["fan", broken.name].copied


def test_a_name_that_leaves_the_dataset_finds_nothing(tmp_path) -> None:
    dataset(tmp_path, machines=["fan"], sections=["00"])
    (tmp_path / "dev_data" / "secret.wav").write_bytes(b"")
    param = SharedSettings(dev_directory=tmp_path / "dev_data", eval_directory="nowhere")
    files = media.find_clips(param, ["fan"])["fan"]
    assert len(files) == 8
    assert "../../secret.wav" not in files


def test_a_spectrogram_shows_a_tone_where_it_is(tmp_path) -> None:
    shades = np.zeros((40, 128))
    shades[10:20, 5] = 1
    media.save_image(tmp_path / "a.png", shades)
    with Image.open(tmp_path / "a.png") as image:
        light = np.array(image.convert("L"))
    assert light.shape == (128, 40)
    bright = np.argwhere(light > 200)
    assert set(bright[:, 0]) == {127 - 5}
    assert (bright[:, 1].min(), bright[:, 1].max()) == (10, 19)


def test_a_long_clip_keeps_its_peaks_in_fewer_columns(tmp_path) -> None:
    shades = np.zeros((2500, 8))
    shades[1234, 2] = 1
    media.save_image(tmp_path / "a.png", shades)
    with Image.open(tmp_path / "a.png") as image:
        light = np.array(image.convert("L"))
    assert light.shape[1] <= media.WIDEST
    assert light.max() > 200


def test_ticks_lie_at_their_frequencies() -> None:
    feature = settings.read_config().shared().feature
    shares = [share for _, share in media.ticks(feature)]
    assert shares == sorted(shares)
    assert [text for text, _ in media.ticks(feature)] == ["500 Hz", "1 kHz", "2 kHz", "4 kHz"]
    assert 0 < shares[0] < shares[-1] < 1


def test_the_rows_of_the_page(collected) -> None:
    data, clips = collected
    run = data.runs[0]
    (given,) = media.section_lists(run, "fan", clips)
    assert (given["section"], given["threshold"], given["method"]) == ("section 00", 1.0, "gamma")
    assert [row["name"] for row in given["clips"]] == [
        run.sections[SectionKey("fan", "section_00")].names[index]
        for index in media.rank_clips(run.sections[SectionKey("fan", "section_00")], threshold(1.0))
    ]
    lost = next(row for row in given["clips"] if row["name"] == names("00", 12)[5])
    assert "audio" not in lost
    assert Path(names("00", 12)[5]).suffix == ".wav"
