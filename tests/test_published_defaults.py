"""Holds every default that comes from a published release to the release's value.

What a release says in none of its files but takes from its framework (PyTorch's epsilons, say)
counts as its value too. What is not in the table is our own choice and stands in OWN_CHOICES.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from core.settings import BASELINE, read_config


def shipped(system: str, release: str | None, machine_type: str | None) -> dict[str, Any]:
    """Resolve what baseline.yaml sets for a system: nested blocks of plain values."""
    asked = [(f"{system}.release", release)] if release else []
    run = read_config(None, asked).for_system(system)
    run = run.for_machine(machine_type) if machine_type else run
    return run.model_dump(mode="json", exclude={"system", "release"})


class Row(NamedTuple):
    """A published value: whose, for which machine type and of which release, and where it stands.

    source : "repository: file: what to look for in it"
    """

    system: str
    machine_type: str | None
    release: str | None
    key: str
    value: Any
    source: str


class Own(NamedTuple):
    """A key that we chose ourselves, or a whole block of keys, of some systems."""

    systems: tuple[str, ...]
    key: str
    reason: str


Entry = tuple[str, Any, str]  # dotted key, value, file and what to look for in it


def rows(
    repository: str,
    systems: tuple[str, ...],
    *entries: Entry,
    machine_type: str | None = None,
    release: str | None = None,
) -> list[Row]:
    """Make rows of the entries, for every one of the systems."""
    return [
        Row(system, machine_type, release, key, value, f"{repository}: {where}")
        for system in systems
        for key, value, where in entries
    ]


OFFICIAL_AE = "Kota-Dohi/dcase2022_task2_baseline_ae"
OFFICIAL_AE_2023 = "nttcslab/dcase2023_task2_baseline_ae"
OFFICIAL_MOBILENET_V2 = "Kota-Dohi/dcase2022_task2_baseline_mobile_net_v2"
AE_ASD = "liuyoude/AE-ASD"
AEGAN_AD = "jianganbai/AEGAN-AD"
GRLNET = "CavitationDetection/GRLNet"
STGRAM_MFN = "liuyoude/STgram-MFN"
ANOMALY_TRANSFORMER = "thuml/Anomaly-Transformer"
TWFR_GMM = "liuyoude/TWFR-GMM"
ASD_TOOLKIT = "TakuyaFujimura/dcase-asd-toolkit"
MULTIRESNET = "config/train/frontend/dis_multiresnet_1024.yaml"
RECIPE = "config/train/experiments/dis_spec_scac_trainable.yaml"


def pytorch_adam(where: str, beta_1: float = 0.9) -> tuple[Entry, ...]:
    """List what PyTorch's Adam adds to the learning rate that a release gives it."""
    return (
        ("fit.beta_1", beta_1, f"{where}, Adam's betas"),
        ("fit.beta_2", 0.999, f"{where}, Adam's betas"),
        ("fit.epsilon", 1e-8, f"{where}, PyTorch's default of Adam's eps"),
    )


def torchaudio_log_mel(where: str) -> tuple[Entry, ...]:
    """List what torchaudio adds to the sizes that a release gives it."""
    return (
        ("feature.mel_scale", "htk", f"{where}, MelSpectrogram's default of mel_scale"),
        ("feature.mel_norm", "none", f"{where}, MelSpectrogram's default of norm"),
        ("feature.pad_mode", "reflect", f"{where}, MelSpectrogram's default of pad_mode"),
        ("feature.floor", 1e-10, f"{where}, AmplitudeToDB's amin"),
        ("feature.top_db", 0, f"{where}, AmplitudeToDB's default of top_db, None"),
    )


def librosa_mel(where: str) -> tuple[Entry, ...]:
    """List what librosa, from 0.9 on, adds to the sizes that a release gives it."""
    return (
        ("feature.mel_scale", "slaney", f"{where}, librosa's default of htk, False"),
        ("feature.mel_norm", "slaney", f"{where}, librosa's default of norm"),
        ("feature.pad_mode", "constant", f"{where}, librosa's default of pad_mode"),
    )


# What both official baselines say alike.
OFFICIAL: tuple[Entry, ...] = (
    ("dev_directory", "../dev_data", "baseline.yaml: dev_directory"),
    ("eval_directory", "../eval_data", "baseline.yaml: eval_directory"),
    ("result_file", "result.csv", "baseline.yaml: result_file"),
    ("max_fpr", 0.1, "baseline.yaml: max_fpr"),
    ("decision_threshold", 0.9, "baseline.yaml: decision_threshold"),
    ("feature.input", "log_mel", "common.py: file_to_vectors"),
    ("feature.n_mels", 128, "baseline.yaml: feature.n_mels"),
    ("feature.n_fft", 1024, "baseline.yaml: feature.n_fft"),
    ("feature.hop_length", 512, "baseline.yaml: feature.hop_length"),
    ("feature.power", 2.0, "baseline.yaml: feature.power"),
    *librosa_mel("common.py: file_to_vectors, melspectrogram"),
    ("feature.floor", 2.220446049250313e-16, "common.py: file_to_vectors, float_info.epsilon"),
    ("feature.top_db", 0, "common.py: file_to_vectors, which limits no levels"),
    ("fit.beta_1", 0.9, "keras_model.py: get_model, Keras's default of Adam's beta_1"),
    ("fit.beta_2", 0.999, "keras_model.py: get_model, Keras's default of Adam's beta_2"),
    ("fit.epsilon", 1e-7, "keras_model.py: get_model, Keras's default of Adam's epsilon"),
    ("fit.shuffle", True, "baseline.yaml: fit.shuffle"),
    ("fit.validation_split", 0.1, "baseline.yaml: fit.validation_split"),
    ("fit.verbose", 1, "baseline.yaml: fit.verbose"),
    ("fit.precision", "float32", "keras_model.py: get_model, Keras's default of floatx"),
    ("fit.train_on", "same", "00_train.py: main, the directory that -d or -e names"),
)

# What AE-ASD says of all its systems.
AE_ASD_SHARED: tuple[Entry, ...] = (
    ("max_fpr", 0.1, "config.yaml: max_fpr"),
    ("feature.input", "log_mel", "utils.py: Wave2Mel"),
    ("feature.sample_rate", 16000, "config.yaml: sr"),
    ("feature.n_mels", 128, "config.yaml: n_mels"),
    ("feature.n_frames", 5, "config.yaml: frames"),
    ("feature.n_hop_frames", 1, "dataset.py: ASDDataset.transform"),
    ("feature.n_fft", 1024, "config.yaml: n_fft, win_length"),
    ("feature.hop_length", 512, "config.yaml: hop_length"),
    ("feature.power", 2.0, "config.yaml: power"),
    *torchaudio_log_mel("utils.py: Wave2Mel"),
    ("pool_type", "mean", "config.yaml: pool_type"),
    ("decay", 0.99, "config.yaml: decay"),
    ("fit.lr", 0.001, "config.yaml: lr"),
    *pytorch_adam("run.py: main"),
    ("fit.epochs", 300, "config.yaml: epochs"),
    (
        "fit.batch_size",
        128 * (313 - 5 + 1),
        "config.yaml: batch_size, of clips, and the windows of one of 10 s",
    ),
    ("fit.shuffle", True, "run.py: main, DataLoader"),
    ("fit.validation_split", 0, "run.py: main, which trains on all training clips"),
    ("fit.train_on", "both", "run.py: main, train_dirs and add_dirs"),
    ("fit.precision", "float32", "trainer.py: Trainer.train"),
    ("network.units", [128, 128, 128, 128], "net.py: VAE, Auto_encoder"),
    ("network.latent", 8, "net.py: VAE, Auto_encoder"),
    (
        "network.momentum",
        0.9,
        "net.py: Liner_Module, PyTorch's default of BatchNorm1d's momentum, 0.1 of the new",
    ),
    (
        "network.epsilon",
        1e-5,
        "net.py: Liner_Module, PyTorch's default of BatchNorm1d's eps",
    ),
)

# What the AEGAN-AD release says of both years; {year} is 20 or 22, {config} a file of that year.
AEGAN_AD_BOTH: tuple[Entry, ...] = (
    ("max_fpr", 0.1, "{config}: detect.p"),
    ("feature.input", "log_mel", "dcase{year}/utils.py: generate_spec"),
    ("feature.n_mels", 128, "{config}: feat.mel_bin"),
    ("feature.n_frames", 128, "{config}: feat.frame_num"),
    ("feature.n_hop_frames", 1, "{config}: feat.graph_hop_f"),
    ("feature.n_fft", 2048, "{config}: feat.fft_num"),
    ("feature.hop_length", 512, "{config}: feat.frame_hop"),
    ("feature.power", 2.0, "dcase{year}/utils.py: generate_spec, librosa's default of power"),
    *librosa_mel("dcase{year}/utils.py: generate_spec, melspectrogram"),
    ("feature.floor", 1e-10, "dcase{year}/utils.py: generate_spec, power_to_db's default of amin"),
    ("feature.top_db", 80, "dcase{year}/utils.py: generate_spec, power_to_db's default of top_db"),
    ("fit.lr", 0.0002, "{config}: train.lrG"),
    ("fit.lr_discriminator", 0.0002, "{config}: train.lrD"),
    *pytorch_adam("dcase{year}/train.py: main", beta_1=0.5),
    ("fit.batch_size", 512, "{config}: train.batch_size, in dcase20 train.bs"),
    ("fit.shuffle", True, "dcase{year}/train.py: main, DataLoader"),
    ("fit.validation_split", 0, "dcase{year}/train.py: main, which trains on all training clips"),
    ("fit.precision", "float32", "dcase{year}/datasets.py: __getitem__"),
    ("fit.train_on", "same", "dcase{year}/config.yaml: train_set"),
    ("fit.ncritic", 1, "{config}: train.wgan.ncritic"),
    ("fit.lambda_gp", 10, "{config}: train.wgan.lambda_gp"),
    ("fit.match_mu", 1, "dcase{year}/config.yaml: train.wgan.match_item.mu"),
    ("fit.match_sigma", 0, "dcase{year}/config.yaml: train.wgan.match_item, without sigma"),
    ("network.nz", 256, "{config}: net.nz"),
    ("network.ndf", 32, "{config}: net.ndf"),
    ("network.ngf", 32, "{config}: net.ngf"),
    ("network.generator_norm", "ln", "dcase{year}/config.yaml: net.normalize.g"),
    ("network.discriminator_norm", "ln", "{config}: net.normalize.d"),
    ("network.encoder_first_norm", True, "dcase{year}/net.py: DCEncoder"),
    ("network.encoder_act", "leakyrelu", "{config}: net.act, the first"),
    ("network.decoder_act", "relu", "{config}: net.act, the second"),
    ("network.layer_norm_epsilon", 1e-5, "dcase{year}/net.py: NormLayer, PyTorch's default of eps"),
    ("network.batch_norm_epsilon", 1e-5, "dcase{year}/net.py: NormLayer, PyTorch's default of eps"),
    (
        "network.batch_norm_momentum",
        0.9,
        "dcase{year}/net.py: NormLayer, PyTorch's default of momentum, 0.1 of the new",
    ),
)
AEGAN_AD_OF_YEAR: dict[str, tuple[Entry, ...]] = {
    "22": (
        ("fit.epochs", 60, "dcase22/config.yaml: train.epoch"),
        ("fit.feat_match_eff", 0.1, "dcase22/config.yaml: train.wgan.feat_match_eff"),
    ),
    "20": (
        ("fit.epochs", 50, "dcase20/config.yaml: train.epoch"),
        ("fit.feat_match_eff", 1, "dcase20/config.yaml: train.wgan.feat_match_eff"),
    ),
}
# Of every machine type of a year: beta_1, whether it is trained on both sets, weight of the feature
# matching, whether deviations are matched, norm of the generator, whether the first norm is there.
AEGAN_AD_MACHINES = {
    "22": {
        "ToyCar": (0, False, 0.1, 0, "ln", False),
        "ToyTrain": (0.5, False, 0.1, 0, "ln", True),
        "bearing": (0.5, True, 0.1, 0, "ln", False),
        "fan": (0.5, True, 0.1, 0, "ln", False),
        "gearbox": (0.5, False, 0.1, 1, "bn", True),
        "slider": (0.5, False, 0.1, 0, "ln", True),
        "valve": (0.5, False, 0.1, 0, "ln", True),
    },
    "20": {
        "ToyCar": (0.5, True, 1, 1, "ln", True),
        "ToyConveyor": (0.5, True, 0.05, 0, "ln", True),
        "fan": (0.5, False, 1, 0, "ln", True),
        "pump": (0.5, True, 1, 1, "ln", True),
        "slider": (0.5, True, 1, 0, "bn", True),
        "valve": (0.5, True, 0.05, 0, "bn", True),
    },
}


def aegan_ad_rows() -> Iterator[Row]:
    """Make the rows of both years of AEGAN-AD, and of their machine types."""
    # The config of 2020 lacks the hop, which those of its machine types have.
    for year, config in (("22", "dcase22/config.yaml"), ("20", "dcase20/pretrain/fan_cfg.yaml")):
        release = f"dcase20{year}"
        entries = [
            (key, value, where.format(year=year, config=config))
            for key, value, where in (*AEGAN_AD_BOTH, *AEGAN_AD_OF_YEAR[year])
        ]
        yield from rows(AEGAN_AD, ("aegan_ad",), *entries, release=release)
        for machine_type, values in AEGAN_AD_MACHINES[year].items():
            beta_1, both, eff, sigma, norm, first_norm = values
            file = f"dcase{year}/pretrain/{machine_type}_cfg.yaml"
            if year == "22" and machine_type in ("ToyTrain", "valve"):
                file = "dcase22/config.yaml"  # these have none of their own
            yield from rows(
                AEGAN_AD,
                ("aegan_ad",),
                ("fit.beta_1", beta_1, f"{file}: train.beta1"),
                ("fit.train_on", "both" if both else "same", f"{file}: train_set"),
                ("fit.feat_match_eff", eff, f"{file}: train.wgan.feat_match_eff"),
                ("fit.match_mu", 1, f"{file}: train.wgan.match_item.mu"),
                ("fit.match_sigma", sigma, f"{file}: train.wgan.match_item.sigma"),
                ("network.generator_norm", norm, f"{file}: net.normalize.g"),
                (
                    "network.encoder_first_norm",
                    first_norm,
                    f"dcase{year}/net.py: DCEncoder, first_norm where there is one",
                ),
                machine_type=machine_type,
                release=release,
            )


DISCRIMINATIVE = ("dis_spec", "dis_multispec")
WITH_BACK_END = ("raw_spec", "embeddings", *DISCRIMINATIVE)
PUBLISHED: list[Row] = [
    *rows(
        OFFICIAL_AE,
        ("ae",),
        *OFFICIAL,
        ("feature.n_frames", 5, "baseline.yaml: feature.n_frames"),
        ("feature.n_hop_frames", 1, "baseline.yaml: feature.n_hop_frames"),
        ("fit.lr", 0.001, "baseline.yaml: fit.lr"),
        ("fit.epochs", 100, "baseline.yaml: fit.epochs"),
        ("fit.batch_size", 512, "baseline.yaml: fit.batch_size"),
        ("score", "mse", "01_test.py: main"),
        ("pool_type", "mean", "01_test.py: main"),
        ("network.framework", "keras", "keras_model.py: get_model"),
        ("network.units", [128, 128, 128, 128], "keras_model.py: get_model"),
        ("network.latent", 8, "keras_model.py: get_model"),
        (
            "network.momentum",
            0.99,
            "keras_model.py: get_model, Keras's default of BatchNormalization's momentum",
        ),
        (
            "network.epsilon",
            0.001,
            "keras_model.py: get_model, Keras's default of BatchNormalization's epsilon",
        ),
    ),
    *rows(
        OFFICIAL_AE_2023,
        ("ae",),
        ("feature.n_mels", 128, "baseline.yaml: --n_mels"),
        ("feature.n_frames", 5, "baseline.yaml: --frames"),
        ("feature.n_hop_frames", 1, "baseline.yaml: --frame_hop_length"),
        ("feature.n_fft", 1024, "baseline.yaml: --n_fft"),
        ("feature.hop_length", 512, "baseline.yaml: --hop_length"),
        ("feature.power", 2.0, "baseline.yaml: --power"),
        *librosa_mel("datasets: file_to_vectors, melspectrogram"),
        ("fit.lr", 0.001, "baseline.yaml: -lr"),
        *pytorch_adam("networks/base_model.py"),
        ("fit.epochs", 100, "baseline.yaml: --epochs"),
        ("fit.batch_size", 256, "baseline.yaml: --batch_size"),
        ("fit.shuffle", True, "baseline.yaml: --shuffle"),
        ("fit.validation_split", 0.1, "baseline.yaml: --validation_split"),
        ("fit.train_on", "same", "train.py, whose dataset has one part or the other"),
        ("network.units", [128, 128, 128, 128], "networks/dcase2023t2_ae/network.py"),
        ("network.latent", 8, "networks/dcase2023t2_ae/network.py"),
        ("network.momentum", 0.99, "networks/dcase2023t2_ae/network.py, 0.01 of the new"),
        ("network.epsilon", 0.001, "networks/dcase2023t2_ae/network.py"),
        ("network.framework", "pytorch", "networks/dcase2023t2_ae/network.py"),
        release="dcase2023",
    ),
    *rows(
        AE_ASD,
        ("ae",),
        *AE_ASD_SHARED,
        ("network.framework", "pytorch", "net.py: Auto_encoder"),
        release="ae_asd",
    ),
    *rows(
        OFFICIAL_MOBILENET_V2,
        ("mobilenet_v2",),
        *OFFICIAL,
        ("feature.classes", "section", "00_train.py: main, section_names"),
        ("feature.n_frames", 64, "baseline.yaml: feature.n_frames"),
        ("feature.n_hop_frames", 8, "baseline.yaml: feature.n_hop_frames"),
        ("fit.lr", 0.00001, "baseline.yaml: fit.lr"),
        ("fit.epochs", 20, "baseline.yaml: fit.epochs"),
        ("fit.batch_size", 32, "baseline.yaml: fit.batch_size"),
        ("network.alpha", 0.5, "keras_model.py: get_model"),
        (
            "network.momentum",
            0.999,
            "keras_model.py: get_model, that of Keras's MobileNetV2",
        ),
        ("evaluation", "release", "01_test.py: main, y_true of each domain's precision and recall"),
    ),
    *rows(AE_ASD, ("vae", "idnn"), *AE_ASD_SHARED),
    *aegan_ad_rows(),
    *rows(
        GRLNET,
        ("grlnet",),
        ("feature.input", "waveform", "train_data_loader.py: TrainDataset.__getitem__"),
        ("fit.lr", 0.001, "opts.py: r_g_net_learning_rate, l_g_net_learning_rate"),
        ("fit.lr_discriminator", 0.0001, "opts.py: d_net_learning_rate"),
        *pytorch_adam("main.py: train"),
        ("fit.epochs", 1, "opts.py: epochs"),
        ("fit.batch_size", 2, "opts.py: batch_size"),
        ("fit.shuffle", True, "opts.py: train_batch_shuffle"),
        ("fit.validation_split", 0, "main.py: train, which trains on all training signals"),
        ("fit.precision", "float32", "train_data_loader.py: TrainDataset.__getitem__"),
        ("network.channels", [64, 128, 256, 512], "network.py: Regional_G_Net, Local_G_Net, D_Net"),
        ("network.kernel_regional", 7, "network.py: Regional_G_Net"),
        ("network.kernel_local", 3, "network.py: Local_G_Net"),
        ("network.kernel_discriminator", 5, "network.py: D_Net"),
        ("network.alpha", 0.5, "opts.py: alpha"),
        ("network.adversarial_training_factor", 0.5, "opts.py: adversarial_training_factor"),
        ("network.comprehensive_output_factor", 0.5, "opts.py: comprehensive_output_factor"),
        ("equal_error", True, "main.py: train, err_thresholds1"),
    ),
    *(
        row
        for n, where in (
            (233472, "opts.py: mess_length"),
            (80000, "opts.py: mess_length's help"),
            (16000, "network.py: D_Net, the comment on its Linear"),
        )
        for row in rows(GRLNET, ("grlnet",), ("feature.n_frames", n, where), release=f"length_{n}")
    ),
    *rows(
        STGRAM_MFN,
        ("stgram_mfn",),
        ("max_fpr", 0.1, "trainer.py: Trainer.test, max_fpr"),
        ("feature.classes", "section", "utils.py: metadata_to_label"),
        ("feature.input", "waveform", "dataset.py: ASDDataset.transform"),
        ("feature.sample_rate", 16000, "config.yaml: sr"),
        ("feature.n_mels", 128, "config.yaml: n_mels"),
        ("feature.n_fft", 1024, "config.yaml: n_fft, win_length"),
        ("feature.hop_length", 512, "config.yaml: hop_length"),
        ("feature.power", 2.0, "config.yaml: power"),
        *torchaudio_log_mel("utils.py: Wave2Mel"),
        ("fit.lr", 0.0001, "config.yaml: lr"),
        *pytorch_adam("run.py: main"),
        ("fit.epochs", 300, "config.yaml: epochs"),
        ("fit.batch_size", 128, "config.yaml: batch_size"),
        ("fit.shuffle", True, "run.py: main, DataLoader"),
        ("fit.validation_split", 0, "run.py: main, which trains on all training clips"),
        ("fit.train_on", "both", "run.py: main, train_dirs and add_dirs"),
        ("fit.precision", "float32", "trainer.py: Trainer.train"),
        ("fit.schedule_start", 20, "config.yaml: start_scheduler_epoch"),
        ("fit.lr_floor", 0.1, "run.py: main, CosineAnnealingLR's eta_min"),
        ("network.seconds", 10, "config.yaml: secs"),
        (
            "network.bottlenecks",
            [[2, 128, 2, 2], [4, 128, 2, 2], [4, 128, 2, 2]],
            "net.py: Mobilefacenet_bottleneck_setting",
        ),
        ("network.use_arcface", True, "config.yaml: use_arcface"),
        ("network.margin", 0.7, "config.yaml: m"),
        ("network.scale", 30, "config.yaml: s"),
        ("network.sub_centers", 1, "config.yaml: sub_center"),
        ("network.gmm", 0, "config.yaml: gmm_n, False"),
    ),
    *rows(
        ANOMALY_TRANSFORMER,
        ("anomaly_transformer",),
        ("feature.n_frames", 100, "main.py: win_size"),
        ("fit.lr", 0.0001, "main.py: lr"),
        *pytorch_adam("solver.py: Solver.build_model"),
        ("fit.epochs", 10, "main.py: num_epochs"),
        ("fit.batch_size", 256, "scripts/SMD.sh: batch_size"),
        ("fit.shuffle", True, "data_factory/data_loader.py: get_loader_segment"),
        ("fit.validation_split", 0, "solver.py: Solver.train, which trains on all training data"),
        ("fit.precision", "float32", "solver.py: Solver.train"),
        ("network.d_model", 512, "model/AnomalyTransformer.py: AnomalyTransformer, d_model"),
        ("network.heads", 8, "model/AnomalyTransformer.py: AnomalyTransformer, n_heads"),
        ("network.n_layers", 3, "solver.py: Solver.build_model, e_layers"),
        ("network.d_ff", 512, "model/AnomalyTransformer.py: AnomalyTransformer, d_ff"),
        ("network.k", 3, "main.py: k"),
        ("network.temperature", 50, "solver.py: Solver.test, temperature"),
        ("network.standardise", True, "data_factory/data_loader.py: SMDSegLoader, StandardScaler"),
    ),
    *rows(
        TWFR_GMM,
        ("twfr_gmm",),
        ("feature.sample_rate", 16000, "config.yaml: sr"),
        ("feature.input", "log_mel", "utils.py: Wave2Mel"),
        ("feature.n_mels", 128, "utils.py: Wave2Mel, n_mels"),
        ("feature.n_fft", 1024, "utils.py: Wave2Mel, n_fft"),
        ("feature.hop_length", 512, "utils.py: Wave2Mel, hop_length"),
        ("feature.power", 2.0, "utils.py: Wave2Mel, power"),
        *torchaudio_log_mel("utils.py: Wave2Mel"),
        ("max_fpr", 0.1, "utils.py: cal_auc_pauc, max_fpr"),
        ("network.seconds", 10, "extractor.py: SpecExtractor.extract"),
        ("network.smallest_variance", 1e-6, "gmmer.py: GMMer.fit_GMM, reg_covar"),
    ),
    *(
        row
        for machine_type, decay, components in (
            ("ToyCar", 1.0, 2),
            ("ToyTrain", 0.9, 4),
            ("bearing", 1.0, 2),
            ("fan", 1.0, 2),
            ("gearbox", 0.98, 4),
            ("slider", 0.88, 1),
            ("valve", 0.46, 2),
        )
        for row in rows(
            TWFR_GMM,
            ("twfr_gmm",),
            ("network.decays", [decay], "config.yaml: gwrp_decays, twfr-gmm"),
            ("network.components", [components], "config.yaml: gmm_ns, twfr-gmm"),
            machine_type=machine_type,
            release="dcase2022",
        )
    ),
    *rows(
        ASD_TOOLKIT,
        WITH_BACK_END,
        ("back_end.name", "nearest_neighbour", "config/score/experiments/default.yaml: Knn"),
        ("back_end.metric", "cosine", "config/score/experiments/default.yaml: metric"),
        ("back_end.source_neighbours", 1, "config/score/experiments/default.yaml: n_neighbors_so"),
        ("back_end.target_neighbours", 1, "config/score/experiments/default.yaml: n_neighbors_ta"),
        ("back_end.smote_ratio", 0.2, "config/score/experiments/default.yaml: smote_ratio"),
        ("back_end.smote_neighbours", 2, "config/score/experiments/default.yaml: smote_neighbors"),
        ("back_end.clusters", 16, "config/score/experiments/default.yaml: Kmeans, n_clusters"),
        ("back_end.neighbours", 1, "config/score/experiments/default.yaml: KnnRescale"),
        ("back_end.density_neighbours", 4, "config/score/experiments/default.yaml: KnnRescale"),
    ),
    *rows(
        ASD_TOOLKIT,
        DISCRIMINATIVE,
        ("max_fpr", 0.1, "asdkit/utils/asdkit_utils/evaluate.py: max_fpr"),
        ("feature.input", "waveform", "asdkit/models/multiresnet/multiresnet.py: forward"),
        ("feature.sample_rate", 16000, "config/train/datamodule/basic.yaml: sr"),
        (
            "feature.classes",
            "attributes_and_domain",
            "config/label/experiments/dcase2023.yaml: label_name",
        ),
        ("fit.lr", 0.001, f"{MULTIRESNET}: optim_cfg"),
        *pytorch_adam(f"{MULTIRESNET}: optim_cfg"),
        ("fit.epochs", 16, "config/train/trainer/default.yaml: max_epochs"),
        ("fit.batch_size", 64, "config/train/datamodule/basic.yaml: batch_size"),
        ("fit.shuffle", True, "config/train/datamodule/basic.yaml: shuffle"),
        ("fit.validation_split", 0, "config/train/datamodule/basic.yaml, which has no valid"),
        ("fit.precision", "float32", "config/train/trainer/default.yaml, PyTorch's default"),
        ("fit.train_on", "both", "config/train/datamodule/basic.yaml: path_selector_list"),
        ("fit.weight_decay", 0.01, f"{MULTIRESNET}: optim_cfg, AdamW's default of weight_decay"),
        ("fit.mixup", 0.5, f"{MULTIRESNET}: augmentation_cfg_list, Mixup"),
        ("network.seconds", 10, "asdkit/utils/dcase_utils/parse_sec.py"),
        ("network.width", 128, f"{MULTIRESNET}: emb_base_size"),
        (
            "network.convolutions",
            [[256, 64], [64, 32], [16, 4]],
            "asdkit/models/multiresnet/fft_encoder_networks.py: conv_param_list",
        ),
        ("network.lowest", 200, f"{MULTIRESNET}: f_min"),
        ("network.highest", 8000, f"{MULTIRESNET}: f_max"),
        ("network.squeeze", 16, "asdkit/models/modules.py: SEBlock, ratio"),
        ("network.sub_clusters", 16, f"{RECIPE}: n_subclusters"),
        ("network.train_centres", True, f"{RECIPE}: trainable"),
    ),
    *rows(
        ASD_TOOLKIT,
        ("dis_spec",),
        ("network.spectrograms", [[1024, 512]], f"{MULTIRESNET}: n_fft, hop_length"),
    ),
    *rows(
        ASD_TOOLKIT,
        ("dis_multispec",),
        (
            "network.spectrograms",
            [[256, 128], [1024, 512], [4096, 2048]],
            "config/train/frontend/dis_multiresnet_0256_1024_4096.yaml: n_fft, hop_length",
        ),
    ),
    *(
        row
        for release, seconds in (
            *(("dcase2020", 11), ("dcase2022", 10), ("dcase2023", 18), ("dcase2024", 12)),
        )
        for row in rows(
            ASD_TOOLKIT,
            DISCRIMINATIVE,
            ("network.seconds", seconds, "asdkit/utils/dcase_utils/parse_sec.py"),
            release=release,
        )
    ),
]

WITHOUT_NETWORK = ("twfr_gmm", "raw_spec", "embeddings")
SINGLE_MACHINE = (
    *("ae", "mobilenet_v2", "vae", "idnn", "aegan_ad", "grlnet", "anomaly_transformer"),
    *WITHOUT_NETWORK,
)
EVERY = (*SINGLE_MACHINE, "stgram_mfn", *DISCRIMINATIVE)
NOT_OFFICIAL = (
    *("vae", "idnn", "aegan_ad", "grlnet", "stgram_mfn", "anomaly_transformer"),
    *WITHOUT_NETWORK,
    *DISCRIMINATIVE,
)
LOG_MEL_RECIPE = ("n_mels", "n_fft", "hop_length", "power", "mel_scale", "mel_norm", "pad_mode")
LOG_MEL_LEVELS = ("floor", "top_db")

OWN_CHOICES: list[Own] = [
    Own(EVERY, "model_directory", "a folder a system; the official baselines have ./model"),
    Own(EVERY, "result_directory", "a folder a system; the official baselines have ./result"),
    Own(EVERY, "cache_directory", "no release keeps features in such a cache"),
    Own(
        EVERY,
        "threshold_scope",
        "section, as sections differ; the official baselines fit one threshold a machine type, "
        "the others none like it",
    ),
    Own(
        EVERY,
        "threshold_fit",
        "checked, as SciPy's fit can end far from its scores; the official baselines check none",
    ),
    Own(
        EVERY,
        "seed",
        "0; the official baselines, GRLNet and Anomaly-Transformer set none, AE-ASD 526, AEGAN-AD "
        "783, STgram-MFN 42",
    ),
    Own(
        tuple(name for name in EVERY if name not in WITH_BACK_END),
        "back_end",
        "none, so that each scores as its release; only AEGAN-AD and STgram-MFN have others, in "
        "settings of their own",
    ),
    *(
        Own(WITH_BACK_END, f"back_end.{key}", "the toolkit has no such back end, or no such switch")
        for key in (
            *("by_section", "far_weight", "components", "smallest_variance"),
            *("outlier_neighbours", "members"),
        )
    ),
    *(
        Own(("twfr_gmm",), f"network.{key}", "of several, one is chosen without labels")
        for key in ("decays", "components")
    ),
    *(
        Own(("twfr_gmm",), f"feature.{key}", "shared, and unused: a clip is one window")
        for key in ("n_frames", "n_hop_frames")
    ),
    Own(WITHOUT_NETWORK, "fit", "nothing is trained over epochs"),
    Own(
        ("raw_spec", "embeddings"),
        "feature",
        "as the official baselines; raw_spec has no release, and"
        " embeddings only reads the clips' names",
    ),
    Own(("raw_spec", "embeddings"), "network", "raw_spec and embeddings have no release"),
    Own(("raw_spec", "embeddings"), "max_fpr", "as the official baselines"),
    Own(
        EVERY,
        "feature.channel",
        "first, as the official baseline of 2026, the first year with two channels; those of "
        "2022, AE-ASD, AEGAN-AD and STgram-MFN take the mean, the same of clips with one",
    ),
    Own(
        ("ae", "mobilenet_v2", "aegan_ad"),
        "feature.sample_rate",
        "that of all DCASE clips; the releases take each clip's own",
    ),
    Own(
        ("grlnet", "anomaly_transformer"),
        "feature.sample_rate",
        "that of all DCASE clips; the releases work on other data",
    ),
    Own(NOT_OFFICIAL, "dev_directory", "as the official baselines; other paths in the releases"),
    Own(NOT_OFFICIAL, "eval_directory", "as the official baselines; other paths in the releases"),
    Own(NOT_OFFICIAL, "result_file", "as the official baselines; other names in the releases"),
    Own(
        NOT_OFFICIAL,
        "decision_threshold",
        "as the official baselines; AE-ASD, AEGAN-AD and STgram-MFN decide nothing, GRLNet by the "
        "test labels, Anomaly-Transformer by a quantile of training and test scores together",
    ),
    Own(NOT_OFFICIAL, "fit.verbose", "as the official baselines; PyTorch has no such setting"),
    Own(
        ("grlnet", "anomaly_transformer"),
        "fit.train_on",
        "as the official baselines; the releases work on other data",
    ),
    Own(
        ("grlnet", "anomaly_transformer"),
        "max_fpr",
        "as the official baselines; the releases take no partial AUC",
    ),
    Own(
        tuple(name for name in SINGLE_MACHINE if name != "mobilenet_v2"),
        "feature.classes",
        "shared, and unused: it tells no classes apart",
    ),
    Own(("ae",), "decay", "as AE-ASD, and unused with pool_type: mean"),
    Own(
        ("mobilenet_v2",),
        "unseen_section",
        "error, as a made-up class says nothing; the release takes the last class",
    ),
    Own(
        ("aegan_ad",),
        "score",
        "D_maha, for every machine type; the release takes the best of nineteen by the test labels",
    ),
    Own(
        ("aegan_ad",),
        "feature.released_hop",
        "false; in the release a hop above 1 takes a clip's first windows (datasets.py: "
        "__getitem__); with its hop of 1 both are the same",
    ),
    Own(
        ("grlnet",),
        "feature.n_frames",
        "4096, which two cores can train; the released lengths are grlnet.release",
    ),
    Own(
        ("grlnet",),
        "feature.n_hop_frames",
        "several segments a clip; the release takes the first one only (trunate_and_pad)",
    ),
    *(
        Own(("grlnet",), f"feature.{key}", "shared, and unused: it hears the waveform alone")
        for key in (*LOG_MEL_RECIPE, *LOG_MEL_LEVELS)
    ),
    *(
        Own(DISCRIMINATIVE, f"feature.{key}", "shared, and unused: a clip is one window of samples")
        for key in ("n_frames", "n_hop_frames", *LOG_MEL_RECIPE, *LOG_MEL_LEVELS)
    ),
    *(
        Own(("stgram_mfn",), f"feature.{key}", "a clip is one window of network.seconds")
        for key in ("n_frames", "n_hop_frames")
    ),
    Own(
        ("anomaly_transformer",),
        "feature.n_hop_frames",
        "20, a fifth of a window; the release has 100 for SMD and 1 for its other data "
        "(data_loader.py: step)",
    ),
    *(
        Own(
            ("anomaly_transformer",),
            f"feature.{key}",
            "the log-mel of the official baselines; the release works on series of other data",
        )
        for key in ("input", *LOG_MEL_RECIPE, *LOG_MEL_LEVELS)
    ),
]


def leaves(tree: dict[str, Any], under: str = "") -> dict[str, Any]:
    """Flatten nested blocks to dotted keys."""
    found = {}
    for name, value in tree.items():
        key = f"{under}{name}"
        found |= leaves(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return found


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal, truth being no number."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def systems() -> list[str]:
    """Name the blocks of baseline.yaml that describe a network."""
    held = yaml.safe_load(BASELINE.read_text(encoding="utf-8"))
    return [name for name, block in held.items() if isinstance(block, dict) and "network" in block]


def test_published_values_are_the_defaults() -> None:
    """Compare every row of the table with what is shipped."""
    wrong = []
    places = dict.fromkeys((row.system, row.release, row.machine_type) for row in PUBLISHED)
    held = {place: leaves(shipped(*place)) for place in places}
    for row in PUBLISHED:
        value = held[row.system, row.release, row.machine_type].get(row.key, "nothing")
        if not same(value, row.value):
            wrong.append(f"{value} is shipped where it should be {row.value}: {row}")
    assert not wrong, "\n".join(wrong)


def test_every_default_is_published_or_our_own_choice() -> None:
    """Find keys that are neither in the table nor chosen by us, or are in both."""
    tabled = {row[:4] for row in PUBLISHED}
    machine_types = dict.fromkeys(row.machine_type for row in PUBLISHED if row.machine_type)
    releases = {
        name: {row.release for row in PUBLISHED if row.system == name} for name in systems()
    }
    own = {(name, choice.key) for choice in OWN_CHOICES for name in choice.systems}
    wrong, used = [], set()
    for name, of_system in releases.items():
        for release in sorted(of_system) if None not in of_system else [None]:
            common = leaves(shipped(name, release, None))
            for key in common:
                is_own = {(name, key), (name, key.partition(".")[0])} & own
                used |= is_own
                if bool(is_own) == ((name, None, release, key) in tabled):
                    wrong.append(
                        f"{name}, {release}: {key} is in {'both' if is_own else 'neither'}"
                    )
            for machine_type in machine_types:
                for key, value in leaves(shipped(name, release, machine_type)).items():
                    differs = key not in common or not same(value, common[key])
                    if differs and (name, machine_type, release, key) not in tabled:
                        wrong.append(f"{name}, {release}: {key} of {machine_type} is in neither")
    wrong += [
        f"{name}: {key} is chosen, and there is no such key" for name, key in sorted(own - used)
    ]
    assert len(releases) >= 8 and all(releases.values()), releases
    assert not wrong, "\n".join(wrong)
