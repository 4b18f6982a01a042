"""An original's own code, as one side of a benchmark: PYTHON -m benchmarks.original_side NAME DIR

It imports nothing of this project but `benchmarks.side`, so that it runs with the interpreter that
the original needs. DIR is a checkout of the original. Every step and every score is made by the
original's own network, loss, optimiser and function; only what stands around them is replaced: the
loader has one made-up batch, results are not written, and the AUC is not computed.

Longer than 450 lines because it has every original, and may import nothing but `benchmarks.side`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from benchmarks.side import (
    BATCHES,
    CLASSES,
    CLIP_FRAMES,
    CLIP_SAMPLES,
    N_MELS,
    RATE,
    SEGMENT,
    Batches,
    LastBatches,
    LoaderEnds,
    Measure,
    Seconds,
    Side,
    clock,
    repeated,
    serve,
    since,
    until_its_loader_ends,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
KERAS_STEPS = {"ae": 32, "mobilenet_v2": 6}  # of an epoch
GRLNET_NETWORKS = ("Regional_G_Net", "Local_G_Net", "D_Net")


@contextmanager
def stand_ins(*names: str) -> Iterator[None]:
    """Import what is inside with empty modules for those that are not installed.

    The modules of an original import them, and no step and no score needs them.
    """
    missing = [name for name in names if find_spec(name.partition(".")[0]) is None]
    for name in missing:
        sys.modules[name] = MagicMock(__spec__=ModuleSpec(name, None))
    yield
    for name in missing:
        del sys.modules[name]


def module_in(folder: str, name: str) -> ModuleType:
    """Return a module of a folder, where a standard module may have the same name."""
    spec = spec_from_file_location(f"original_{name}", f"{folder}/{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nothing(*args: Any, **named: Any) -> None:
    """Do nothing, in the place of what writes logs and files."""


# The dense autoencoder and MobileNetV2 of DCASE2022, in Keras 2.8.


def keras_side(name: str, model: Any, x: Any, y: Any, clip: Any, score: Callable) -> Side:
    """Return a side of an official baseline: `fit` over an epoch, `predict` of a clip.

    x, y : the inputs and the targets of KERAS_STEPS batches
    clip : the windows of a clip
    score : makes the score of what the model predicts of them
    """
    import tensorflow as tf

    class Epoch(tf.keras.callbacks.Callback):
        """Measures the steps of an epoch, without what comes before and after."""

        def on_epoch_begin(self, epoch, logs=None):
            self.begun = clock()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = since(self.begun, KERAS_STEPS[name])

    epoch = Epoch()

    def step(count: int) -> Seconds:
        model.fit(
            x=x, y=y, epochs=1, batch_size=BATCHES[name], shuffle=True, verbose=0, callbacks=[epoch]
        )
        return epoch.seconds

    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU"
    versions = f"TensorFlow {tf.__version__}"
    return Side(step, repeated(lambda: score(model.predict(clip))), versions, device)


def official_autoencoder(folder: str, name: str) -> Side:
    """Return the official dense autoencoder; its scripts stack float64 vectors beforehand."""
    import numpy as np

    keras_model, random = importlib.import_module("keras_model"), np.random.default_rng(0)
    width = 5 * N_MELS
    data = random.standard_normal((KERAS_STEPS[name] * BATCHES[name], width))
    clip = random.standard_normal((CLIP_FRAMES - 4, width))
    model = keras_model.get_model(width, 0.001)
    return keras_side(
        name, model, data, data, clip, lambda made: float(np.mean(np.square(clip - made)))
    )


def official_mobilenet(folder: str, name: str) -> Side:
    """Return the official MobileNetV2; every window of a clip is scored."""
    import numpy as np

    keras_model, random = importlib.import_module("keras_model"), np.random.default_rng(0)
    shape = (64, N_MELS, 1)
    images = random.standard_normal((KERAS_STEPS[name] * BATCHES[name], *shape))
    classes = np.eye(CLASSES[name])[random.integers(0, CLASSES[name], len(images))]
    clip = random.standard_normal((CLIP_FRAMES - 63, *shape))
    least = sys.float_info.epsilon

    def score(made: Any) -> float:
        p = made[:, :1]
        return float(np.mean(np.log(np.maximum(1 - p, least)) - np.log(np.maximum(p, least))))

    model = keras_model.get_model(64, N_MELS, CLASSES[name], 0.00001)
    return keras_side(name, model, images, classes, clip, score)


# The originals in PyTorch.


def torch_side(step: Measure, score: Measure) -> Side:
    """Return a side of what PyTorch runs."""
    import torch

    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else "CPU"
    return Side(step, score, f"PyTorch {torch.__version__}", device)


def wait_for_gpu() -> None:
    """Wait until the GPU, where there is one, has done all that it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def torch_device() -> Any:
    """Return the GPU, or the CPU where there is none."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def trainer_options(**more: Any) -> SimpleNamespace:
    """Return the options that the trainers of AE-ASD and STgram-MFN share: one epoch, no files."""
    return SimpleNamespace(
        writer=SimpleNamespace(log_dir=tempfile.mkdtemp(dir="."), add_scalar=nothing),
        logger=SimpleNamespace(info=nothing),
        device=torch_device(),
        dp=False,
        sr=RATE,
        n_fft=1024,
        n_mels=N_MELS,
        win_length=1024,
        hop_length=512,
        power=2.0,
        epochs=0,
        valid_every_epochs=10,
        start_valid_epoch=1,
        early_stop_epochs=-1,
        start_scheduler_epoch=20,
        start_save_model_epochs=300,
        save_model_interval_epochs=1,
        version="benchmark",
        machine="fan",
        **more,
    )


def ae_asd(folder: str, name: str) -> Side:
    """Return AE-ASD's AE, VAE or IDNN: `Trainer.train` and `Trainer.test`, of stacked windows."""
    import torch

    net, trainer, utils = (importlib.import_module(part) for part in ("net", "trainer", "utils"))
    options = trainer_options(
        frames=5, idnn=name == "idnn", vae=name == "vae", pool_type="mean", decay=0.99
    )
    width = 5 * N_MELS
    if options.vae:
        network = net.VAE(input_dim=width, output_dim=width)
    else:
        sizes = (width - N_MELS, N_MELS) if options.idnn else (width, width)
        network = net.Auto_encoder(input_dim=sizes[0], output_dim=sizes[1])
    network = network.to(options.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    trains = trainer.Trainer(args=options, net=network, optimizer=optimizer, scheduler=None)
    batch = torch.randn(1, BATCHES[name], width)
    loader = Batches(lambda: batch, wait_for_gpu)

    clip = torch.randn(CLIP_FRAMES - 4, width)
    trains.transform = lambda path: clip
    utils.get_machine_id_list = lambda folder: ["id_00"]
    utils.get_test_file_list = lambda folder, machine: ["clip.wav"]
    utils.save_csv = nothing
    return torch_side(
        loader.measured(lambda: trains.train(loader, None)),
        repeated(lambda: trains.test("data/fan/test", ".")),
    )


def stgram_mfn(folder: str, name: str) -> Side:
    """Return STgram-MFN: `Trainer.train` and `Trainer.evaluator`.

    As in the release, a clip's log-mel is computed whenever the clip is taken.
    """
    import torch

    net, trainer, utils = (importlib.import_module(part) for part in ("net", "trainer", "utils"))
    options = trainer_options(
        use_arcface=True, test_dirs=["data/fan/test"], add_dirs=["data/fan/train"]
    )
    options.meta2label = {"fan-id_00": 0}
    network = net.STgramMFN(num_classes=CLASSES[name], use_arcface=True, m=0.7, s=30.0, sub=1)
    network = network.to(options.device)
    to_mel = utils.Wave2Mel(
        sr=RATE, power=2.0, n_fft=1024, n_mels=N_MELS, win_length=1024, hop_length=512
    )
    clips = torch.randn(BATCHES[name], CLIP_SAMPLES)
    labels = torch.arange(BATCHES[name])
    trains = trainer.Trainer(
        args=options,
        net=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.0001),
        scheduler=None,
        transform=lambda path: (clips[0], to_mel(clips[0]), 0),
    )
    loader = Batches(
        lambda: (clips, torch.stack([to_mel(clip) for clip in clips]), labels), wait_for_gpu
    )
    utils.get_machine_id_list = lambda folder: ["id_00"]
    utils.get_filename_list = lambda *args, **named: ["clip.wav"]
    utils.save_csv = nothing
    score = repeated(lambda: trains.evaluator(save=False))
    return torch_side(loader.measured(lambda: trains.train(loader)), score)


def anomaly_transformer(folder: str, name: str) -> Side:
    """Return the Anomaly Transformer: `Solver.train`, and the last loop of `Solver.test`.

    A clip of 313 frames makes four windows of 100, the last of which ends with the clip.
    """
    import torch

    if not torch.cuda.is_available():  # the release asks for a GPU in any case
        torch.Tensor.cuda = lambda self, *args, **named: self
    with stand_ins("pandas", "PIL"):
        solver = importlib.import_module("solver")
    windows, labels = torch.randn(BATCHES[name], 100, N_MELS), torch.zeros(BATCHES[name], 100)
    labels[:, 0] = 1
    loader = Batches(lambda: (windows, labels), wait_for_gpu)
    tested = Batches(lambda: (windows[:4], labels[:4]), wait_for_gpu)
    solver.get_loader_segment = lambda *args, mode, **named: tested if mode == "thre" else loader
    solver.EarlyStopping = lambda **named: MagicMock(early_stop=False)
    solver.Solver.vali = lambda self, loader: (0.0, 0.0)
    save_to = tempfile.mkdtemp(dir=".")
    solves = solver.Solver(
        {
            "data_path": "",
            "dataset": "clips",
            "batch_size": BATCHES[name],
            "win_size": 100,
            "input_c": N_MELS,
            "output_c": N_MELS,
            "lr": 0.0001,
            "k": 3,
            "num_epochs": 1,
            "anormly_ratio": 4.0,
            "model_save_path": save_to,
        }
    )
    torch.save(solves.model.state_dict(), f"{save_to}/clips_checkpoint.pth")

    def test() -> None:
        loader.count = 1
        solves.train_loader = [(windows[:4], labels[:4])]
        solves.test()

    def train() -> None:
        solves.train_loader = loader
        solves.train()

    return torch_side(loader.measured(train), tested.measured(test))


def grlnet(folder: str, name: str) -> Side:
    """Return GRLNet: the loops of `main.train` and `test.test`, at the shortest released length."""
    import torch

    absent = ("pandas", "torchvision", "torchvision.utils", "matplotlib", "matplotlib.pyplot")
    with stand_ins(*absent):
        network = importlib.import_module("network")
        train, test = (module_in(folder, part) for part in ("main", "test"))
    sys.argv = sys.argv[:1]  # its options are read from there: the published ones
    options = importlib.import_module("opts").parse_opts()
    networks = {kind: getattr(network, kind)(dim=SEGMENT) for kind in GRLNET_NETWORKS}
    judge = networks["D_Net"].discriminator
    judge[-2] = torch.nn.Linear(510464, 1)  # the number that the release names for this length
    segments, label = torch.randn(BATCHES[name], SEGMENT), torch.zeros(1, 1)
    loader = Batches(lambda: (0, segments, label), wait_for_gpu)
    tested = LastBatches(lambda: (0, segments[:1], label), wait_for_gpu)

    def ends() -> Iterator[Any]:
        raise LoaderEnds
        yield

    for module in (train, test):
        for kind, built in networks.items():
            built.load_state_dict = nothing
            setattr(module, kind, lambda built=built: built)
    torch.load = nothing
    torch.utils.data.DataLoader = lambda data, **named: data
    train.TrainDataset = lambda options: loader
    train.TestDataset = lambda options: ends()
    test.TestDataset = lambda options: tested
    return torch_side(
        loader.measured(until_its_loader_ends(lambda: train.train(options))),
        tested.measured(until_its_loader_ends(lambda: test.test(options))),
    )


def aegan_ad(folder: str, name: str) -> Side:
    """Return AEGAN-AD with its settings of 2022: `train_one_epoch`, and `test` with all scores."""
    import numpy as np
    import torch

    work = os.getcwd()
    os.chdir(folder)  # it reads its settings from the current folder as it is imported
    train = module_in(folder, "train")
    os.chdir(work)
    param, device = train.param, torch_device()
    param["mt"] = "valve"
    random = np.random.default_rng(0)
    images = torch.from_numpy(
        random.uniform(-1, 1, (BATCHES[name], 1, 128, 128)).astype(np.float32)
    )
    windows = random.uniform(-1, 1, (1, CLIP_FRAMES - 127, 1, 128, 128)).astype(np.float32)
    clip = (torch.from_numpy(windows), torch.zeros(1, 186, 3).long(), torch.zeros(1, 186).long())
    critic, maker = train.Discriminator(param), train.Generator(param)
    for network in (critic, maker):
        network.apply(train.utils.weights_init)
        network.to(device)
    rates, betas = param["train"], (param["train"]["beta1"], 0.999)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=rates["lrD"], betas=betas)
    maker_optimizer = torch.optim.Adam(maker.parameters(), lr=rates["lrG"], betas=betas)
    loader = Batches(lambda: (images, None, None), wait_for_gpu)
    tested = Batches(lambda: clip, wait_for_gpu)

    embeddings = random.standard_normal((2, 300, 512)).astype(np.float32)
    detectors = train.EDIS.EmbeddingDetector(
        {0: {"source": embeddings[0], "target": embeddings[1]}}
    )
    train.EDIS.EmbeddingDetector = lambda embeddings: detectors
    train.metrics = SimpleNamespace(roc_auc_score=lambda *args, **named: 0.5)
    logger, weight = SimpleNamespace(info=nothing), rates["wgan"]["feat_match_eff"]
    return torch_side(
        loader.measured(
            lambda: train.train_one_epoch(
                critic, maker, loader, critic_optimizer, maker_optimizer, device, weight
            )
        ),
        tested.measured(lambda: train.test(critic, maker, tested, None, logger, device)),
    )


def toolkit_network(sizes: tuple[int, ...]) -> Any:
    """Return dcase-asd-toolkit's network with spectrograms of some sizes of the FFT."""
    with stand_ins("peft", "timm"):
        network = importlib.import_module("asdkit.models.multiresnet.multiresnet")
    inside = "asdkit.models.multiresnet"
    return network.MultiResNet(
        sec=CLIP_SAMPLES / RATE,
        sr=RATE,
        use_fft=True,
        stft_cfg_list=[
            {
                "sr": RATE,
                "n_fft": n,
                "hop_length": n // 2,
                "power": 1.0,
                "f_min": 200.0,
                "f_max": 8e3,
            }
            for n in sizes
        ],
        fft_network_cfg={"tgt_class": f"{inside}.fft_encoder_networks.Conv1dEncoderLayer"},
        stft_network_cfg={
            "tgt_class": f"{inside}.stft_encoder_networks.Conv2dEncoderLayer",
            "resnet_additional_layer": "SEBlock",
        },
    )


def discriminative(folder: str, name: str) -> Side:
    """Return dcase-asd-toolkit: `BasicDisPLModel.training_step` without Lightning, and `Knn`.

    As in the release, mixing, spectra and spectrograms are part of the step.
    """
    import numpy as np
    import torch

    with stand_ins("imblearn", "imblearn.over_sampling", "peft"):
        losses, backends, augmentations = (
            importlib.import_module(f"asdkit.{part}")
            for part in ("losses", "backends", "augmentations")
        )
    device, size, n_classes = torch_device(), BATCHES[name], CLASSES[name]
    sizes = {"dis_spec": (1024,), "dis_multispec": (256, 1024, 4096)}[name]
    extractor = toolkit_network(sizes).to(device)
    head = losses.SCAdaCos(extractor.embed_size, n_classes, 16, trainable=True, dynamic=False)
    head = head.to(device)
    mixup = augmentations.Mixup(prob=0.5)
    optimizer = torch.optim.AdamW([*extractor.parameters(), *head.parameters()], lr=0.001)
    clips = torch.randn(size, CLIP_SAMPLES, device=device)
    classes = torch.eye(n_classes, device=device)[torch.arange(size) % n_classes]

    def step() -> None:
        batch = mixup({"wave": clips, "onehot_main": classes})
        loss = head(extractor(batch["wave"]), batch["onehot_main"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wait_for_gpu()

    def embedded(samples: Any) -> dict[str, Any]:
        extractor.eval()
        with torch.no_grad():
            made = extractor(samples).cpu().numpy()
        extractor.train()
        nought = np.zeros(len(made), int)
        return {"embed": made, "is_target": nought, "section": nought}

    back_end = backends.Knn(1, 1)
    back_end.fit(embedded(clips))
    return torch_side(repeated(step), repeated(lambda: back_end.anomaly_score(embedded(clips[:1]))))


SIDES: dict[str, Callable[[str, str], Side]] = {
    "ae": official_autoencoder,
    "ae_asd": ae_asd,
    "vae": ae_asd,
    "idnn": ae_asd,
    "mobilenet_v2": official_mobilenet,
    "aegan_ad": aegan_ad,
    "grlnet": grlnet,
    "stgram_mfn": stgram_mfn,
    "dis_spec": discriminative,
    "dis_multispec": discriminative,
    "anomaly_transformer": anomaly_transformer,
}


def main() -> None:
    """Build one original's side, and answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(SIDES))
    parser.add_argument("folder", help="a checkout; the folder with the modules")
    args = parser.parse_args()
    folder = os.path.abspath(args.folder)
    sys.path[0] = folder  # in the place of this project, whose modules have the same names
    sys.dont_write_bytecode = True  # the checkout stays as it is
    with tempfile.TemporaryDirectory(prefix="original-") as work:
        os.chdir(work)
        serve(lambda: SIDES[args.name](folder, args.name))


if __name__ == "__main__":
    main()
