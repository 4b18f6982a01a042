from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BadInput
from core.run_settings import SharedSettings
from data import clips


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("name", "folder", "section", "domain", "label", "attributes"),
    [
        ("normal_id_00_00000000.wav", "train", "id_00", "", "normal", ()),
        ("anomaly_id_04_00000012.wav", "test", "id_04", "", "anomaly", ()),
        ("id_01_00000000.wav", "test", "id_01", "", "", ()),
        (
            "section_00_source_train_normal_0000_strength_1_ambient.wav",
            "train",
            "section_00",
            "source",
            "normal",
            (("attribute", "strength_1_ambient"),),
        ),
        ("section_03_source_test_0000.wav", "source_test", "section_03", "source", "", ()),
        (
            "section_00_source_test_normal_0000_m-n_W.wav",
            "test",
            "section_00",
            "source",
            "normal",
            (("m-n", "W"),),
        ),
        (
            "section_02_target_test_anomaly_0049_normal_1.wav",
            "test",
            "section_02",
            "target",
            "anomaly",
            (("normal", "1"),),
        ),
        ("section_03_test_0000.wav", "test", "section_03", "", "", ()),
        ("section_03_0199.wav", "test", "section_03", "", "", ()),
        (
            "section_00_target_train_normal_0003_noAttribute.wav",
            "train",
            "section_00",
            "target",
            "normal",
            (("noAttribute", ""),),
        ),
    ],
)
def test_names_of_every_year(name, folder, section, domain, label, attributes):
    clip = clips.parse_clip(Path("fan") / folder / name, "fan", folder)
    assert (clip.section, clip.domain, clip.label, clip.attributes) == (
        section,
        domain,
        label,
        attributes,
    )
    assert (clip.name, clip.machine_type, clip.folder) == (name, "fan", folder)


@pytest.mark.parametrize(
    "name",
    [
        "pump.wav",
        "section_0_source_train_normal_0000.wav",
        "section_00_source_train_odd_0000.wav",
        "normal_id_00.wav",
    ],
)
def test_unknown_names(name):
    with pytest.raises(ValueError, match=r"not a clip name"):
        clips.parse_clip(Path(name), "fan", "train")


def test_anomaly_among_training_clips():
    with pytest.raises(ValueError, match=r"lies in train"):
        clips.parse_clip(Path("anomaly_id_00_00000000.wav"), "fan", "train")


def test_official_order_and_bad_names(tmp_path):
    touch(
        tmp_path / "fan" / "test",
        "section_00_target_test_normal_0000_a.wav",
        "section_00_source_test_anomaly_0000_a.wav",
        "section_01_source_test_normal_0000_a.wav",
        "section_00_source_test_normal_0000_a.wav",
        "odd.wav",
        "notes.txt",
    )
    listed, bad = clips.list_wavs(tmp_path / "fan", ("test",))
    assert [clip.name for clip in listed] == [
        "section_00_source_test_normal_0000_a.wav",
        "section_00_target_test_normal_0000_a.wav",
        "section_01_source_test_normal_0000_a.wav",
        "section_00_source_test_anomaly_0000_a.wav",
    ]
    assert [path.name for path, _ in bad] == ["odd.wav"]


def test_test_folders_of_2021(tmp_path):
    touch(tmp_path / "fan" / "source_test", "section_00_source_test_normal_0000.wav")
    touch(tmp_path / "fan" / "target_test", "section_00_target_test_normal_0000.wav")
    listed, _ = clips.list_wavs(tmp_path / "fan", clips.TEST_FOLDERS)
    assert [clip.folder for clip in listed] == ["source_test", "target_test"]


def test_machine_types_in_order(tmp_path):
    for name in ("fan", "ToyCar", "_notes", ".cache"):
        (tmp_path / name).mkdir()
    param = SharedSettings(dev_directory=tmp_path)
    assert clips.select_machines(param, "dev", []) == ["ToyCar", "fan"]
    assert clips.select_machines(param, "dev", ["fan"]) == ["fan"]
    with pytest.raises(BadInput, match=r"--machine fann: not in .*; did you mean fan\?"):
        clips.select_machines(param, "dev", ["fann"])


def test_what_is_missing_is_named(tmp_path):
    param = SharedSettings(dev_directory=tmp_path / "nowhere", eval_directory=tmp_path)
    with pytest.raises(BadInput, match=r"dev_directory: there is no directory .*nowhere"):
        clips.select_machines(param, "dev", [])
    with pytest.raises(BadInput, match=r"eval_directory: .* has no machine type in it"):
        clips.select_machines(param, "eval", [])
    (tmp_path / "fan" / "test").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"fan: this machine type has no folder train/"):
        clips.list_wavs(tmp_path / "fan", ("train",))
    with pytest.raises(BadInput, match=r"fan: no wav in test/"):
        clips.list_wavs(tmp_path / "fan", ("test",))


def test_attributes_listed_beside_the_clips_win(tmp_path):
    names = [f"section_00_source_train_normal_000{number}_vel_6.wav" for number in range(2)]
    touch(tmp_path / "fan" / "train", *names)
    (tmp_path / "fan" / "attributes_00.csv").write_text(
        f"file_name,d1p,d1v,d2p,d2v\nfan/train/{names[0]},vel,8,wt,3\n"
    )
    listed, _ = clips.list_wavs(tmp_path / "fan", ("train",))
    assert [clip.attributes for clip in listed] == [(("vel", "8"), ("wt", "3")), (("vel", "6"),)]
    (tmp_path / "fan" / "attributes_00.csv").write_text("clip,vel\na,1\n")
    with pytest.raises(BadInput, match=r"attributes_00.csv: has no column file_name"):
        clips.list_wavs(tmp_path / "fan", ("train",))


def test_two_years_in_one_folder(tmp_path):
    touch(
        tmp_path / "fan" / "train",
        "normal_id_00_00000000.wav",
        "section_00_source_train_normal_0000_a_1.wav",
    )
    touch(tmp_path / "fan" / "test", "section_00_source_test_normal_0000.wav")
    touch(tmp_path / "fan" / "source_test", "section_00_source_test_normal_0000.wav")
    with pytest.raises(
        BadInput, match="two years are mixed: 1 named as in 2020, such as normal_id"
    ):
        clips.list_wavs(tmp_path / "fan", ("train",))
    with pytest.raises(BadInput, match="two years are mixed: test/ is of 2022"):
        clips.list_wavs(tmp_path / "fan", clips.TEST_FOLDERS)
