from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.stats
import soundfile

from core.files import atomic_write, save_csv
from core.log import logger
from data import audio
from data.audio import file_load, stack_frames
from data.clips import Clip
from data.frames import Frames
from data.training_scores import TrainingScores
from engine.training import save_history
from evaluation.thresholds import ALL_SECTIONS, decision_threshold, fit_thresholds

# librosa's own route in float32; only the order of additions may differ.
DECIBELS = 1e-5

RATE = 16000


def noise(n_samples: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((n_samples, channels))


def write_clip(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Clip:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return Clip(path, "fan", "section_00", "train", "source", "normal")


def official_log_mel(path: Path) -> np.ndarray:
    y, rate = librosa.load(path, sr=None, mono=True)
    mel = librosa.feature.melspectrogram(
        y=y, sr=rate, n_fft=1024, hop_length=512, n_mels=128, power=2.0
    )
    return 10 * np.log10(np.maximum(mel, np.finfo(float).eps))


def test_log_mel_is_librosas_route(tmp_path, param):
    clip = write_clip(tmp_path / "a.wav", noise(3 * RATE))
    y, rate = file_load(clip.path)
    frames = audio.log_mel(y, param.feature)
    assert rate == RATE
    assert frames.shape == (1 + 3 * RATE // 512, 128)
    assert np.abs(frames.T - official_log_mel(clip.path)).max() <= DECIBELS


def test_log_mel_of_real_clips(reference, param):
    paths = sorted((reference / "real_clips").glob("*.wav"))
    assert paths
    for path in paths:
        frames = audio.log_mel(file_load(path)[0], param.feature)
        assert frames.shape == (313, 128)
        assert np.abs(frames.T - official_log_mel(path)).max() <= DECIBELS


def test_log_mel_recipes(param):
    y = noise(RATE)[:, 0].astype(np.float32)
    own = {"mel_scale": "htk", "mel_norm": "none", "pad_mode": "reflect", "floor": 1e-10}
    recipe = param.feature.model_copy(update=own)
    mel = librosa.feature.melspectrogram(
        y=y,
        sr=RATE,
        n_fft=1024,
        hop_length=512,
        n_mels=128,
        htk=True,
        norm=None,
        pad_mode="reflect",
    )
    expected = 10 * np.log10(np.maximum(mel, 1e-10))
    assert np.abs(audio.log_mel(y, recipe).T - expected).max() <= DECIBELS
    y[: RATE // 2] = 0
    limited = audio.log_mel(y, param.feature.model_copy(update={"top_db": 80.0}))
    assert limited.min() == pytest.approx(limited.max() - 80, abs=1e-4)


def test_vectors_are_stacked_frame_by_frame(tmp_path, param):
    clip = write_clip(tmp_path / "a.wav", noise(RATE))
    log_mel = official_log_mel(clip.path)  # (n_mels, n_frames)
    expected = np.zeros((log_mel.shape[1] - 4, 640))
    for vector in range(len(expected)):
        for frame in range(5):
            expected[vector, 128 * frame : 128 * (frame + 1)] = log_mel[:, vector + frame]
    vectors = stack_frames(audio.log_mel(file_load(clip.path)[0], param.feature), 5)
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() <= DECIBELS
    short = write_clip(tmp_path / "b.wav", noise(512 * 3))
    assert stack_frames(audio.log_mel(file_load(short.path)[0], param.feature), 5).shape == (0, 640)


@pytest.mark.parametrize(("n_frames", "hop"), [(5, 1), (5, 3), (7, 8), (1, 1)])
def test_windows_stay_within_their_clips(n_frames, hop):
    count = np.array([7, 12, 30])
    first = np.array([0, 7, 19])
    clips = tuple(Clip(Path(f"{i}.wav"), "fan", "section_00", "train") for i in range(3))
    starts, owner = Frames(np.zeros((49, 2)), clips, first, count).windows(n_frames, hop)
    expected = [
        (first[clip] + at, clip)
        for clip in range(3)
        for at in range(0, count[clip] - n_frames + 1, hop)
    ]
    assert list(zip(starts.tolist(), owner.tolist(), strict=True)) == expected


def test_slices_and_what_they_need_of_the_array():
    count = np.array([3, 1, 4, 2, 5])
    clips = tuple(Clip(f"section_00_{n}.wav", "fan", "section_00", "test") for n in range(5))
    frames = Frames(np.arange(15)[:, None], clips, np.cumsum(count) - count, count)
    frames = frames.select([True, True, False, True, True])
    parts = frames.split(3)
    assert [part.clips for part in parts] == [frames.clips[:3], frames.clips[3:]]
    for part, rows in zip(parts, (range(10), range(10, 15)), strict=True):
        alone = part.trim()
        assert alone.array[:, 0].tolist() == list(rows)
        for before, after, n in zip(part.first, alone.first, part.count, strict=True):
            expected = part.array[before : before + n]
            assert np.array_equal(alone.array[after : after + n], expected)


def test_channels(tmp_path):
    path = tmp_path / "stereo.wav"
    samples = noise(RATE, channels=2)
    write_clip(path, samples, subtype="DOUBLE")
    assert np.allclose(file_load(path)[0], samples[:, 0], atol=1e-7)
    assert np.allclose(file_load(path, "mix")[0], samples.mean(axis=1), atol=1e-7)


def test_files_appear_whole_or_not_at_all(tmp_path):
    place = tmp_path / "deep" / "a.csv"
    with pytest.raises(RuntimeError), atomic_write(place) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert not list(place.parent.iterdir())
    save_csv(place, [("a", 0.1), ("b", 1e-7)])
    assert place.read_bytes() == b"a,0.1\nb,1e-07\n"


def test_threshold_is_the_gamma_quantile():
    scores = np.random.default_rng(0).gamma(9, 0.2, 1000) + 5
    fitted = decision_threshold(scores, 0.9)
    assert fitted.method == "gamma"
    expected = scipy.stats.gamma.ppf(0.9, *scipy.stats.gamma.fit(scores))
    assert fitted.threshold == pytest.approx(expected, rel=1e-12)
    assert fitted.exceeded == np.mean(scores > fitted.threshold)


def outliers(n_source: int, n_target: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.concatenate([draw.normal(9, 0.3, n_source), draw.normal(14, 1, n_target)])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [(99, 1), (990, 10), (2970, 30)])
def test_threshold_where_the_gamma_fit_goes_wrong(sizes, seed):
    scores = outliers(*sizes, seed)
    fitted = decision_threshold(scores, 0.9)
    assert abs(np.mean(scores > fitted.threshold) - 0.1) <= 0.06
    naive = scipy.stats.gamma.ppf(0.9, *scipy.stats.gamma.fit(scores))
    if abs(np.mean(scores > naive) - 0.1) > 0.1:
        assert fitted.method == "empirical quantile"


def test_a_wrong_fit_is_met_in_the_above():
    wrong = [
        seed
        for seed in range(4)
        for sizes in [(99, 1), (990, 10)]
        if abs(
            np.mean(
                outliers(*sizes, seed)
                > scipy.stats.gamma.ppf(0.9, *scipy.stats.gamma.fit(outliers(*sizes, seed)))
            )
            - 0.1
        )
        > 0.3
    ]
    assert wrong, "SciPy's fit has mended itself: the check on it may go"


@pytest.mark.parametrize("scores", [np.full(50, 3.0), np.array([1.0]), np.arange(5.0)])
def test_threshold_of_few_or_equal_scores(scores):
    fitted = decision_threshold(scores, 0.9)
    assert fitted.method == "empirical quantile"
    assert fitted.threshold == np.quantile(scores, 0.9)


def test_threshold_needs_finite_scores():
    for scores in ([], [1.0, np.nan]):
        with pytest.raises(ValueError, match="finite training scores"):
            decision_threshold(np.array(scores), 0.9)


def test_thresholds_per_section_or_machine_type(param, caplog):
    draw = np.random.default_rng(0)
    scores = np.concatenate([draw.gamma(9, 0.2, 200), 50 + draw.gamma(9, 0.2, 200)])
    sections = ["section_00"] * 200 + ["section_01"] * 200
    fitted = fit_thresholds(TrainingScores(scores, sections, []), param, "fan")
    assert list(fitted) == ["section_00", "section_01"]
    assert fitted["section_00"] == decision_threshold(scores[:200], 0.9)
    param = param.with_values({"threshold_scope": "machine_type"})
    fitted = fit_thresholds(TrainingScores(scores, sections, []), param, "fan")
    assert list(fitted) == [ALL_SECTIONS]
    assert fitted[ALL_SECTIONS].n_clips == 400
    assert fit_thresholds(TrainingScores(np.empty(0), [], []), param, "fan") == {}


def test_replaced_fit_is_warned_of(param, monkeypatch):
    said = []
    monkeypatch.setattr(logger, "warning", lambda form, *values: said.append(form % values))
    fit_thresholds(TrainingScores(np.full(50, 3.0), ["section_00"] * 50, []), param, "fan")
    assert said == [
        "fan section_00: SciPy's gamma fit does not describe the 50 training scores; "
        "threshold 3 from the empirical quantile"
    ]


def test_history_as_table_and_picture(tmp_path):
    save_history(tmp_path / "history_fan", {"loss": [2.0, 1.0], "val_loss": [3.0, 2.5]})
    assert (
        tmp_path / "history_fan.csv"
    ).read_text() == "epoch,loss,val_loss\n1,2.0,3.0\n2,1.0,2.5\n"
    assert (tmp_path / "history_fan.png").read_bytes().startswith(b"\x89PNG")
