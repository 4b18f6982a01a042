"""The demo data: names, formats and tables of every year, and folders that are not touched."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
import soundfile

from core.errors import BadInput
from tests import processes
from tests.conftest import ROOT
from tools import demo_data
from tools.demo_conditions import condition_of
from tools.demo_layouts import LAYOUTS
from tools.demo_sound_models import SOUND_MODELS
from tools.demo_sounds import DemoClip, render

TINY = {"clips": 4, "test_clips": 8, "seconds": 0.5}
VALUE = r"(vel_(6|8|12|14)|wt_(30|50|100|130)|m-n_[WXYZ])"
TRAIN = rf"train/section_\d\d_(source|target)_train_normal_\d{{4}}_{VALUE}\.wav"
TEST = rf"test/section_\d\d_(source|target)_test_(normal|anomaly)_\d{{4}}_{VALUE}\.wav"
ONE_SECTION_TRAIN = (
    rf"train/section_00_(source|target)_train_normal_\d{{4}}_({VALUE}|noAttribute)\.wav"
)
ONE_SECTION_TEST = (
    rf"test/section_00_(source|target)_test_(normal|anomaly)_\d{{4}}_({VALUE}|noAttribute)\.wav"
)
SUPPLEMENTAL = rf"supplemental/section_00_machine_source_\d{{4}}_({VALUE}|noAttribute)\.wav"
NAMES = {
    2020: (
        r"(train/normal|test/(normal|anomaly))_id_0[024]_\d{8}\.wav",
        r"(train/normal_id|test/id)_0[135]_\d{8}\.wav",
    ),
    2021: (
        TRAIN
        + r"|(source|target)_test/section_0[012]_(source|target)_test_(normal|anomaly)_\d{4}\.wav",
        TRAIN + r"|(source|target)_test/section_0[345]_(source|target)_test_\d{4}\.wav",
    ),
    2022: (f"{TRAIN}|{TEST}", TRAIN + r"|test/section_0[345]_test_\d{4}\.wav"),
}
for _year in (2023, 2024, 2025, 2026):
    NAMES[_year] = (
        f"{ONE_SECTION_TRAIN}|{ONE_SECTION_TEST}|{SUPPLEMENTAL}",
        rf"{ONE_SECTION_TRAIN}|test/section_00_\d{{4}}\.wav|{SUPPLEMENTAL}",
    )


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Return a function that makes the tiny dataset of a year once."""
    folders = {}

    def dataset(year):
        if year not in folders:
            folders[year] = tmp_path_factory.mktemp(f"year{year}")
            demo_data.make_dataset(folders[year], year, ["fan", "valve"], **TINY)
        return folders[year]

    return dataset


def wavs(root):
    return sorted(root.rglob("*.wav"))


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def run_tool(*arguments):
    command = [sys.executable, "-m", "tools.demo_data", *arguments]
    return processes.run(command, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("year", NAMES)
def test_names_are_those_of_the_year(datasets, year):
    for top, pattern in zip(("dev_data", "eval_data"), NAMES[year], strict=True):
        files = wavs(datasets(year) / top)
        assert files
        for path in files:
            machine, _, name = path.relative_to(datasets(year) / top).as_posix().partition("/")
            assert machine in ("fan", "valve")
            assert re.fullmatch(pattern, name), name


@pytest.mark.parametrize("year", NAMES)
def test_every_section_has_its_share_of_clips(datasets, year):
    layout = LAYOUTS[year]
    for top, sections in (("dev_data", layout.dev_sections), ("eval_data", layout.eval_sections)):
        machines = list((datasets(year) / top).iterdir())
        assert len(machines) == (1 if year >= 2023 else 2)
        for machine in machines:
            for section in sections:
                names = [p.parent.name for p in wavs(machine) if f"_{section}_" in p.name]
                assert names.count("train") == TINY["clips"]
                assert sum("test" in name for name in names) == TINY["test_clips"]


@pytest.mark.parametrize("year", NAMES)
def test_clips_are_16_khz_pcm16_of_the_length_asked_for(datasets, year):
    for path in wavs(datasets(year)):
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate) == ("WAV", "PCM_16", 16000)
        assert info.channels == (2 if year == 2026 else 1)
        assert info.frames == 8000


def test_the_far_microphone_hears_less_and_more_noise_in_2026(datasets):
    for path in wavs(datasets(2026) / "dev_data" / "fan" / "train"):
        near, far = soundfile.read(path)[0].T
        assert 0.05 < far.std() / near.std() < 0.8
        assert abs(np.corrcoef(near, far)[0, 1]) < 0.95


def test_dev_test_clips_are_split_evenly_over_domains_and_labels(datasets):
    names = [p.name for p in wavs(datasets(2022) / "dev_data" / "fan" / "test")]
    for section in ("00", "01", "02"):
        for cell in ("source_test_normal", "source_test_anomaly", "target_test_normal"):
            assert sum(n.startswith(f"section_{section}_{cell}") for n in names) == 2


@pytest.mark.parametrize("year", NAMES)
def test_truth_names_every_evaluation_clip_once(datasets, year):
    root = datasets(year)
    tables = sorted((root / "ground_truth" / "ground_truth_data").iterdir())
    rows = [line.split(",") for table in tables for line in table.read_text().splitlines()]
    machines = [table.name.split("_")[2] for table in tables]
    assert set(machines) == {path.name for path in (root / "eval_data").iterdir()}
    hidden = [p for p in wavs(root / "eval_data") if "test" in p.parent.name]
    assert sorted(name for name, _ in rows) == sorted(p.name for p in hidden)
    assert [fact for _, fact in rows].count("1") == len(rows) // 2
    assert {fact for _, fact in rows} == {"0", "1"}


def test_truth_of_2022_has_labels_and_domains_in_the_same_order(datasets):
    truth = datasets(2022) / "ground_truth"
    name = "ground_truth_fan_section_03_test.csv"
    labels = (truth / "ground_truth_data" / name).read_text().splitlines()
    domains = (truth / "ground_truth_domain" / name).read_text().splitlines()
    assert [row[:-2] for row in labels] == [f"section_03_test_{i:04d}.wav" for i in range(8)]
    assert [row[:-2] for row in domains] == [row[:-2] for row in labels]
    pairs = [label[-1] + domain[-1] for label, domain in zip(labels, domains, strict=True)]
    assert sorted(pairs) == ["00", "00", "01", "01", "10", "10", "11", "11"]


@pytest.mark.parametrize("year", [2022, 2023, 2024, 2025, 2026])
def test_attribute_tables_list_the_clips_with_the_values_of_their_names(datasets, year):
    for table in datasets(year).rglob("attributes_*.csv"):
        header, *rows = table.read_text().splitlines()
        assert header == "file_name,d1p,d1v"
        section = table.stem.removeprefix("attributes_")
        listed = {row.split(",")[0] for row in rows}
        top = table.parent.parent
        splits = ("train", "test") if top.name == "dev_data" else ("train",)
        expected = {
            path.relative_to(top).as_posix()
            for split in splits
            for path in (table.parent / split).glob(f"section_{section}_*.wav")
        }
        assert listed == expected
        for row in rows:
            name, parameter, value = row.split(",")
            shown = f"{parameter}_{value}" if parameter else "noAttribute"
            assert name.endswith(f"_{shown}.wav")


def test_some_machine_types_hide_the_attribute_from_2024_on(datasets):
    for year in (2022, 2023):
        assert not list(datasets(year).rglob("*noAttribute*"))
    for year in (2024, 2025, 2026):
        assert list(datasets(year).rglob("*noAttribute*"))


def test_source_and_target_have_other_values_in_training(datasets):
    names = [p.stem.split("_") for p in wavs(datasets(2022) / "dev_data" / "fan" / "train")]
    source = {(n[1], n[-1]) for n in names if n[2] == "source"}
    target = {(n[1], n[-1]) for n in names if n[2] == "target"}
    assert source and target and not source & target


def test_the_same_options_give_the_same_bytes(datasets, tmp_path):
    demo_data.make_dataset(tmp_path, 2022, ["fan", "valve"], **TINY)
    assert contents(tmp_path) == contents(datasets(2022))


def test_another_seed_gives_other_sounds(datasets, tmp_path):
    demo_data.make_dataset(tmp_path, 2022, ["fan", "valve"], **TINY, seed=1)
    for path in wavs(tmp_path):
        if "train" in path.parts:
            same = datasets(2022) / path.relative_to(tmp_path)
            assert path.read_bytes() != same.read_bytes()


@pytest.mark.parametrize("year", [2020, 2021, 2022, 2026])
def test_more_clips_leave_the_others_as_they_were(datasets, tmp_path, year):
    demo_data.make_dataset(tmp_path, year, ["fan", "valve"], clips=21, test_clips=14, seconds=0.5)
    more, fewer = contents(tmp_path), contents(datasets(year))
    for name, data in fewer.items():
        if name.endswith(".wav"):
            assert more[name] == data, name
        elif "ground_truth" in name:
            assert set(data.splitlines()) <= set(more[name].splitlines())


@pytest.mark.parametrize("machine", [*SOUND_MODELS, "ToyDrone", "bandsealer"])
def test_any_machine_type_has_audible_unclipped_sections_that_differ(machine):
    spectra = []
    for section in ("00", "01", "02"):
        clip = DemoClip("", machine, section, "train", "source", "normal", 0)
        sound = render(clip, 1.0, 0).astype(float)
        assert 200 < sound.std() < 2000 and abs(sound).max() < 32767
        power = np.abs(np.fft.rfft(sound)).reshape(-1)[:8000].reshape(100, 80) ** 2
        spectra.append(10 * np.log10(power.mean(axis=1)))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.sqrt(np.mean((spectra[one] - spectra[other]) ** 2)) > 2.0


def test_loudness_does_not_show_the_label():
    for machine in ("fan", "gearbox", "valve", "slider"):
        levels = {
            label: np.array(
                [
                    render(
                        DemoClip("", machine, "00", "test", "source", label, index), 1.0, 0
                    ).std()
                    for index in range(16)
                ]
            )
            for label in ("normal", "anomaly")
        }
        auc = np.mean(levels["anomaly"][:, None] > levels["normal"])
        assert 0.45 < auc < 0.55


def test_a_complete_dataset_is_not_touched_and_an_interrupted_one_is_finished(tmp_path):
    options = {"machines": ["fan"], "clips": 2, "test_clips": 4, "seconds": 0.1}
    assert demo_data.make_dataset(tmp_path, **options) == 36
    before = contents(tmp_path)
    assert demo_data.make_dataset(tmp_path, **options) == 0
    victim = wavs(tmp_path)[5]
    victim.unlink()
    assert demo_data.make_dataset(tmp_path, **options) == 1
    assert contents(tmp_path) == before


def test_other_options_are_refused_and_forced(tmp_path):
    tiny = ("--machine", "fan", "--clips", 2, "--test-clips", 4, "--seconds", 0.1)
    first = run_tool("--to", tmp_path, *tiny)
    assert (first.returncode, first.stdout) == (0, f"36 clips written below {tmp_path}\n")
    again = run_tool("--to", tmp_path, *tiny)
    assert again.returncode == 0 and "complete already" in again.stdout
    before = contents(tmp_path)
    other = run_tool("--to", tmp_path, *tiny, "--seed", 7)
    assert other.returncode == 1 and "seed 0" in other.stderr and "--force" in other.stderr
    assert contents(tmp_path) == before
    forced = run_tool("--to", tmp_path, *tiny, "--seed", 7, "--year", 2020, "--force")
    assert forced.returncode == 0
    assert json.loads((tmp_path / "demo_data.json").read_text())["seed"] == 7
    assert not list(tmp_path.rglob("section_*"))


@pytest.mark.parametrize("top", ["dev_data", "eval_data", "ground_truth"])
def test_files_of_others_are_never_touched(tmp_path, top):
    alien = tmp_path / top / "fan" / "train" / "mine.wav"
    alien.parent.mkdir(parents=True)
    alien.write_bytes(b"precious")
    for more in ((), ("--force",)):
        result = run_tool("--to", tmp_path, "--seconds", 0.1, *more)
        assert result.returncode == 1
        assert str(alien) in result.stderr and "Traceback" not in result.stderr
    assert contents(tmp_path) == {alien.relative_to(tmp_path).as_posix(): b"precious"}


def test_force_stops_at_a_file_that_was_put_beside_ours(tmp_path):
    options = {"machines": ["fan"], "clips": 2, "test_clips": 4, "seconds": 0.1}
    demo_data.make_dataset(tmp_path, **options)
    (tmp_path / "dev_data" / "fan" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(BadInput, match=r"notes\.txt"):
        demo_data.make_dataset(tmp_path, **options, seed=3, force=True)
    assert contents(tmp_path) == before


def test_a_dataset_that_took_the_place_of_ours_is_not_mixed_with(tmp_path):
    options = {"machines": ["fan"], "clips": 2, "test_clips": 4, "seconds": 0.1}
    demo_data.make_dataset(tmp_path, **options)
    for path in wavs(tmp_path):
        path.rename(path.with_name(f"real_{path.name}"))
    before = contents(tmp_path)
    with pytest.raises(BadInput, match="not made by this tool"):
        demo_data.make_dataset(tmp_path, **options)
    assert contents(tmp_path) == before


def test_a_foreign_record_is_refused(tmp_path):
    (tmp_path / "demo_data.json").write_text("[1, 2]")
    with pytest.raises(BadInput, match="was not written by this tool"):
        demo_data.make_dataset(tmp_path, force=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--year", "2019"), "expected 2020 to 2026"),
        (("--clips", "1"), "expected 2 to 9999"),
        (("--test-clips", "3"), "expected 4 to 9999"),
        (("--seconds", "0"), "expected 0.1 to 60"),
        (("--seconds", "nan"), "expected 0.1 to 60"),
        (("--seed", "-1"), "expected 0 or more"),
        (("--machine", "../fan"), "expected letters"),
        (("--machine", "fan", "--year", "2023"), "name two or more"),
        (("--clips", "many"), "invalid int value"),
        (("--colour",), "unrecognized"),
    ],
)
def test_misuse_is_one_message_and_status_2(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        demo_data.main(["--to", str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    result = run_tool("--to", tmp_path / "file")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "is a file" in result.stderr


def test_attributes_are_in_names_and_tables_and_change_the_sound(tmp_path) -> None:
    demo_data.make_dataset(tmp_path, machines=["fan"], attributes=3, **TINY | {"clips": 20})
    home = tmp_path / "dev_data" / "fan"
    pairs = {
        domain: {
            re.search(r"vel_\d+_wt_\d+", path.name)[0]
            for path in (home / "train").glob(f"section_00_{domain}_*.wav")
        }
        for domain in ("source", "target")
    }
    assert len(pairs["source"]) == 3 * 3
    assert len(pairs["target"]) == 2  # of the two clips
    assert not pairs["source"] & pairs["target"]
    rows = (home / "attributes_00.csv").read_text().splitlines()
    assert rows[0] == "file_name,d1p,d1v,d2p,d2v"
    for row in rows[1:]:
        name, *words = row.split(",")
        assert "_".join(words) in name
    # The machine itself: of two clips of a condition, and of another speed or load.
    first, again, faster, loaded = (
        condition_of("source", index, 3).change(SOUND_MODELS["fan"], np.random.default_rng(0))
        for index in (0, 9, 1, 3)
    )
    assert first == again
    assert faster.pitch / first.pitch == pytest.approx(1.06)
    assert faster.bumps == first.bumps
    assert loaded.pitch == first.pitch
    assert loaded.bumps[-1][0] / first.bumps[-1][0] == pytest.approx(1.35)


def test_attributes_are_an_option_of_a_dataset(tmp_path, capsys) -> None:
    demo_data.make_dataset(tmp_path, machines=["fan"], **TINY)
    assert "attributes" not in json.loads((tmp_path / "demo_data.json").read_text())
    with pytest.raises(BadInput, match=r"other options \(attributes 0\)"):
        demo_data.make_dataset(tmp_path, machines=["fan"], attributes=2, **TINY)
    demo_data.make_dataset(tmp_path, machines=["fan"], attributes=2, force=True, **TINY)
    assert demo_data.make_dataset(tmp_path, machines=["fan"], attributes=2, **TINY) == 0
    with pytest.raises(BadInput, match=r"other options \(attributes 2\)"):
        demo_data.make_dataset(tmp_path, machines=["fan"], **TINY)
    for year, attributes, words in ((2020, 3, "2020 have no"), (2022, 1, "expected 0, or 2 to 6")):
        with pytest.raises(ValueError, match=words):
            demo_data.make_dataset(tmp_path, year, attributes=attributes)
