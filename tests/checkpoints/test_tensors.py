"""What the tensors of published checkpoints tell, without a network being built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_model
from checkpoints import tensors as by_name
from checkpoints.inferred_settings import InferredSettings, Tensors, size_of
from checkpoints.tensors import matching_layout, settle
from core import settings
from core.errors import BadInput
from core.run_settings import SystemSettings
from models import ae_asd
from models.base import System
from tests.models.parity_fixture import Fixture, checkpoint_folders, folders

FILE = Path("a.pth")


def param_of(system: str, *assigned: tuple[str, Any]) -> SystemSettings:
    config = settings.read_config(None, list(assigned))
    return config.for_system(system).for_machine("fan")


def gather(system: str, files: list[tuple[Path, Any]]) -> Tensors:
    return by_name.gather(system, files, keras_model.SYSTEMS, keras_model.system_class)


def infer(system: str, tensors: Tensors, *assigned: tuple[str, Any]) -> InferredSettings:
    """Return what the tensors tell of the settings, beside those that a person gives."""
    return keras_model.system_class(system).infer_settings(tensors, param_of(system, *assigned))


def expected_of(fixture: Fixture) -> dict[str, Any]:
    """What a fixture's settings say of the sizes; of the dense ones, what their shapes do."""
    published = fixture.settings
    match fixture.meta["system"]:
        case "aegan_ad":
            return {
                "feature.n_frames": published["isize"],
                "feature.n_mels": published["isize"],
                **{f"network.{key}": published[key] for key in ("nz", "ndf", "ngf")},
                "network.generator_norm": published["normalize"]["g"],
                "network.discriminator_norm": published["normalize"]["d"],
                "network.encoder_first_norm": published["encoder_first_norm"],
            }
        case "anomaly_transformer":
            names = {"d_model": "d_model", "heads": "n_heads", "n_layers": "e_layers"}
            names["d_ff"] = "d_ff"
            sizes = {f"network.{ours}": published[theirs] for ours, theirs in names.items()}
            return {"feature.n_mels": published["enc_in"], **sizes}
        case "grlnet":
            kernels = {f"network.kernel_{name}": size for name, size in published["kernel"].items()}
            return {"feature.n_frames": published["segment_length"], **kernels}
        case "mobilenet_v2":
            return {"network.alpha": published["alpha"]}
        case "dis_spec" | "dis_multispec":
            branches = published["stft_branches"]
            return {
                "network.width": published["emb_base_size"],
                "network.squeeze": published["se_ratio"],
                "network.spectrograms": [[one["n_fft"], one["hop_length"]] for one in branches],
            }
        case "stgram_mfn":
            return {"network.sub_centers": published["arcface"]["sub"]}
        case "idnn":
            return {
                "feature.n_frames": published["n_frames"],
                "feature.n_mels": published["n_mels"],
            }
    return {"network.units": [128] * 4, "network.latent": 8}


@pytest.mark.parametrize("folder", checkpoint_folders(), ids=lambda folder: folder.name)
def test_sizes_are_read_from_the_tensors(folder) -> None:
    fixture = Fixture(folder)
    system, tensors = fixture.meta["system"], fixture.tensors()
    inferred = infer(system, tensors)
    expected = expected_of(fixture)
    assert {key: inferred.values.get(key) for key in expected} == expected
    classes = fixture.settings.get("num_classes", fixture.settings.get("classes", 0))
    classes = fixture.settings.get("loss", {}).get("n_classes", classes)
    assert inferred.classes == classes


@pytest.mark.parametrize("folder", checkpoint_folders(), ids=lambda folder: folder.name)
def test_one_wrong_tensor_does_not_change_what_is_read(folder) -> None:
    fixture = Fixture(folder)
    system, tensors = fixture.meta["system"], fixture.tensors()
    whole = infer(system, tensors).values
    for name in list(tensors)[:: max(1, len(tensors) // 12)]:
        if tensors[name].ndim == 1:
            wrong = {**tensors, name: np.repeat(tensors[name], 2)}
            assert infer(system, wrong).values == whole, name


def test_state_dicts_are_taken_from_wherever_releases_put_them() -> None:
    array = np.ones(3, np.float32)
    state = {"a.running_mean": array, "a.num_batches_tracked": np.array(3), "b.bias": array}
    plain = {"a.running_mean", "b.bias"}
    parallel = {f"module.{name}": value for name, value in state.items()}
    for tree in (state, parallel, {"epoch": 3, "optimizer": None, "model": state}):
        assert set(gather("ae", [(FILE, tree)])) == plain
    gathered = gather("aegan_ad", [(FILE, {"netD": state, "netG": state, "best_hmean": 0.7})])
    assert set(gathered) == {f"{net}.{name}" for net in ("netD", "netG") for name in plain}
    # A counter that belongs to no batch normalisation is a tensor too much.
    odd = gather("ae", [(FILE, {"c.num_batches_tracked": np.array(3)})])
    assert set(odd) == {"c.num_batches_tracked"}


def test_a_file_without_tensors_is_named() -> None:
    beside = {"netG": {"b.bias": np.ones(3)}, "c.bias": np.ones(3)}
    for tree in ({}, [1, 2], {"epoch": 3}, {"model": {"a": 1}}, beside):
        with pytest.raises(BadInput, match=r"a.pth: holds no tensors by name"):
            gather("ae", [(FILE, tree)])
    with pytest.raises(BadInput, match=r"a.pth: b.bias holds values that are not finite"):
        gather("ae", [(FILE, {"b.bias": np.array([1.0, np.nan])})])


def ae_asd_tensors(inputs: int, outputs: int) -> Tensors:
    return {
        "encoder.0.liner.weight": np.zeros((4, inputs)),
        "encoder.0.liner.bias": np.zeros(4),
        "encoder.1.liner.bias": np.zeros(2),
        "decoder.1.bias": np.zeros(outputs),
    }


def test_dense_networks_of_one_release_are_known_by_their_sizes() -> None:
    heads = {"fc_mean.liner.weight": np.zeros((2, 4))}
    ae, idnn = ae_asd_tensors(640, 640), ae_asd_tensors(512, 128)
    vae = ae | heads
    own = {"ae": ae, "idnn": idnn, "vae": vae}
    for system, tensors in own.items():
        assert gather(system, [(FILE, tensors)]) == tensors
    for system, tensors, looks_like in (
        ("idnn", vae, "vae"),
        ("ae", vae, "vae"),
        ("ae", idnn, "idnn"),
        ("vae", idnn, "idnn"),
        ("vae", ae, "ae or idnn"),  # of two frames, the middle one from one neighbour
    ):
        words = f"a.pth: looks like a checkpoint of {looks_like}, not of {system}"
        with pytest.raises(BadInput, match=words):
            gather(system, [(FILE, tensors)])
    with pytest.raises(ValueError, match="looks like one of ae, not of idnn"):
        infer("idnn", ae)
    assert infer("idnn", ae, ("idnn.feature.n_frames", 2)).values["feature.n_frames"] == 2


def test_the_layout_is_the_one_with_most_names_in_common() -> None:
    official, pytorch = {"dense/kernel": 1, "dense/bias": 2}, {"encoder.0.liner.weight": 3}
    layouts = [official, pytorch]
    assert matching_layout(layouts, ae_asd_tensors(640, 640)) is pytorch
    assert matching_layout(layouts, {"dense/bias": np.zeros(3)}) is official
    assert matching_layout(layouts, {"other": np.zeros(3)}) is official


def test_what_a_new_system_says_is_enough() -> None:
    class Ninth(System):
        marks = ("ninth.weight",)

        @classmethod
        def infer_settings(cls, tensors: Tensors, param: SystemSettings) -> InferredSettings:
            return InferredSettings(tensors, {"network.latent": size_of(tensors, (0, "ninth.*"))})

    def system_class(name: str) -> type[System]:
        return Ninth if name == "ninth" else keras_model.system_class(name)

    names = [*keras_model.SYSTEMS, "ninth"]
    tensors = {"ninth.weight": np.zeros((3, 2)), "ninth.bias": np.zeros(3)}
    assert by_name.gather("ninth", [(FILE, tensors)], names, system_class) == tensors
    assert Ninth.infer_settings(tensors, param_of("ae")).values == {"network.latent": 3}
    with pytest.raises(BadInput, match="looks like a checkpoint of ninth, not of ae"):
        by_name.gather("ae", [(FILE, tensors)], names, system_class)
    with pytest.raises(BadInput, match=r"a.pth, a.pth: 2 checkpoints, where ninth takes one"):
        by_name.gather("ninth", [(FILE, tensors)] * 2, names, system_class)


def grlnet(regional: int = 7, local: int = 3) -> dict[str, dict[str, np.ndarray]]:
    def net(kernel: int) -> dict[str, np.ndarray]:
        return {
            "encoder.0.weight": np.zeros((2, 1, kernel)),
            "decoder.0.weight": np.zeros((2, 2, kernel)),
            "gfl.layernorm.weight": np.ones(9),
        }

    judge = {"discriminator.0.weight": np.zeros((2, 1, 5)), "gfl.layernorm.weight": np.ones(9)}
    return {"regional": net(regional), "local": net(local), "discriminator": judge}


def test_the_three_files_of_grlnet_are_known_by_their_tensors() -> None:
    nets = grlnet()
    for order in (("local", "discriminator", "regional"), ("regional", "local", "discriminator")):
        files = [(Path(f"{number}.pth"), nets[net]) for number, net in enumerate(order)]
        gathered = gather("grlnet", files)
        assert gathered["regional.encoder.0.weight"].shape[2] == 7
        assert gathered["local.encoder.0.weight"].shape[2] == 3
        assert "discriminator.discriminator.0.weight" in gathered
    nets = grlnet(regional=5, local=5)
    files = [(Path(f"{net}_net.pth"), nets[net]) for net in nets]
    nets["regional"]["encoder.0.weight"] += 1
    assert gather("grlnet", files[::-1])["regional.encoder.0.weight"].max() == 1
    with pytest.raises(BadInput, match='put "regional" into the file name of the one'):
        gather("grlnet", [(Path("x.pth"), state) for state in nets.values()])
    with pytest.raises(
        BadInput, match=r"takes three .* of generators there are 1, of discriminators 1"
    ):
        gather("grlnet", files[1:])


def test_a_vector_may_be_cut_as_the_person_says() -> None:
    tensors = ae_asd_tensors(320, 320)
    with pytest.raises(ValueError, match=r"have 320 values, but .* is 5 × 128; say both"):
        infer("ae", tensors)
    for given, cut in ((("feature.n_mels", 64), (5, 64)), (("feature.n_frames", 10), (10, 32))):
        inferred = infer("ae", tensors, given)
        feature = settle(param_of("ae", given), inferred).feature
        assert (feature.n_frames, feature.n_mels) == cut
        assert inferred.values["network.units"] == [4]
        assert inferred.implied == {**ae_asd.IMPLIED, "network.framework": "pytorch"}


def test_how_a_release_computes_is_implied_where_the_person_says_nothing() -> None:
    inferred = InferredSettings({}, {}, ae_asd.IMPLIED)
    assert settle(param_of("ae"), inferred).network.epsilon == 1e-5
    own = param_of("ae", ("ae.network.epsilon", 1e-4))
    assert settle(own, inferred).network.epsilon == 1e-4
    assert settle(own, inferred).feature.mel_scale == "htk"


def test_position_codes_are_checked_and_left_out() -> None:
    rate = 10000.0 ** -(np.arange(0, 8, 2) / 8)
    angle = np.arange(5000)[:, None] * rate
    codes = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(1, 5000, 8).astype(np.float32)
    tensors = {
        "embedding.position_embedding.pe": codes,
        "encoder.norm.weight": np.ones(8),
        "encoder.attn_layers.0.conv1.bias": np.ones(5),
    }
    inferred = infer("anomaly_transformer", tensors)
    assert "embedding.position_embedding.pe" not in inferred.tensors
    tensors["embedding.position_embedding.pe"] = codes + 0.1
    with pytest.raises(ValueError, match="holds others than the sinusoidal position codes"):
        infer("anomaly_transformer", tensors)


@pytest.mark.parametrize(
    ("system", "sizes"),
    [
        ("ae", {"encoder.0.liner.bias": 10**5, "encoder.1.liner.bias": 10**5}),
        ("vae", {"encoder.0.liner.bias": 10**5, "encoder.1.liner.bias": 10**5}),
        ("idnn", {"encoder.0.liner.bias": 10**5, "encoder.1.liner.bias": 10**5}),
        ("aegan_ad", {"netD.main.7.0.weight": 3, "netD.main.0.1.bias": 10**4}),
        ("grlnet", {"local.encoder.0.bias": 10**5, "local.encoder.3.bias": 10**5}),
        ("anomaly_transformer", {"encoder.norm.bias": 10**4, "encoder.attn_layers.9.x": 1}),
    ],
)
def test_a_small_file_asks_for_no_vast_network(system, sizes) -> None:
    tensors = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
    with pytest.raises(ValueError, match=r"its sizes make a network of \d+ weights, and it holds"):
        infer(system, tensors)


def test_depth_is_bounded() -> None:
    for system, name in (
        ("vae", f"encoder.{10**6}.liner.bias"),
        ("aegan_ad", "netD.main.9.0.weight"),
    ):
        with pytest.raises(ValueError, match=r"1000001 layers are more|10 levels, not 1 to 8"):
            infer(system, {name: np.zeros(3)})


def test_other_bottlenecks_have_to_be_said() -> None:
    folder = next(folder for folder in folders() if folder.name == "stgram_mfn")
    tensors = Fixture(folder).tensors()
    other = ("stgram_mfn.network.bottlenecks", [[2, 64, 6, 2]])
    with pytest.raises(ValueError, match=r"its bottlenecks widen and narrow as \[\[64, 128, 128\]"):
        infer("stgram_mfn", tensors, other)
