from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from core import settings
from core.errors import BadInput, ProblemCollector
from core.system_settings import system_classes
from tests.conftest import call_script

BASELINE = settings.HOME / "baseline.yaml"


def load(tmp_path: Path, text: str, *assignments) -> settings.Config:
    config = tmp_path / "own.yaml"
    config.write_text(text, encoding="utf-8")
    return settings.read_config(config, list(assignments))


def complaint(tmp_path: Path, text: str, *assignments) -> str:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, text, *assignments)
    return str(caught.value)


def test_official_keys_have_official_values():
    run = settings.read_config().for_system("ae")
    assert (run.max_fpr, run.decision_threshold, run.result_file) == (0.1, 0.9, "result.csv")
    feature = {"n_mels": 128, "n_frames": 5, "n_hop_frames": 1, "n_fft": 1024, "hop_length": 512}
    assert feature.items() <= dict(run.feature).items()
    assert run.feature.power == 2.0
    fit = {"lr": 0.001, "epochs": 100, "batch_size": 512, "validation_split": 0.1, "verbose": 1}
    assert fit.items() <= dict(run.fit).items()
    assert run.fit.shuffle is True


OFFICIAL = """
dev_directory : ../dev_data
eval_directory : ../eval_data
model_directory: ./model
result_directory: ./result
result_file: result.csv

max_fpr : 0.1
decision_threshold : 0.9

feature:
  n_mels: 128
  n_frames: {n_frames}
  n_hop_frames: {hop}
  n_fft: 1024
  hop_length: 512
  power: 2.0

fit:
  lr: {lr}
  epochs : {epochs}
  batch_size : {batch}
  shuffle : True
  validation_split : 0.1
  verbose : 1
"""
AE = {"n_frames": 5, "hop": 1, "lr": 0.001, "epochs": 100, "batch": 512}
MOBILENET_V2 = {"n_frames": 64, "hop": 8, "lr": 0.00001, "epochs": 20, "batch": 32}


@pytest.mark.parametrize("place", ["baseline.yaml", "config"])
@pytest.mark.parametrize(
    ("system", "published"), [("ae", AE), ("mobilenet_v2", MOBILENET_V2)], ids=["ae", "mobilenet"]
)
@pytest.mark.parametrize("edited", [False, True])
def test_official_baseline_yaml_is_obeyed(tmp_path, monkeypatch, place, system, published, edited):
    """As --config and copied over ours, as published and edited at its own keys."""
    values = {**published, "epochs": 3, "n_frames": 40} if edited else published
    text = OFFICIAL.format(**values)
    path = tmp_path / "baseline.yaml"
    path.write_text(text, encoding="utf-8")
    if place == "baseline.yaml":
        monkeypatch.setattr(settings, "BASELINE", path)
    run = settings.read_config(None if place == "baseline.yaml" else path).for_system(system)
    assert run.model_directory == Path("./model")
    feature, fit = run.feature, run.fit
    assert (feature.n_frames, feature.n_hop_frames) == (values["n_frames"], values["hop"])
    found = (fit.lr, fit.epochs, fit.batch_size)
    assert found == (values["lr"], values["epochs"], values["batch"])
    assert feature.sample_rate == 16000  # what the file leaves out is the shipped value


def test_a_key_that_went_is_named_with_what_took_its_place(tmp_path):
    said = complaint(tmp_path, "aegan_ad: {machines: {fan: {fit: {deval: true}}}}")
    assert "unknown key aegan_ad.machines.fan.fit.deval; fit.train_on: both is what" in said


def test_unknown_key_is_named_with_the_nearest(tmp_path):
    said = complaint(tmp_path, "feature: {n_mel: 64}\nmax_frp: 0.1\n")
    assert "own.yaml: unknown key feature.n_mel; did you mean n_mels?" in said
    assert "own.yaml: unknown key max_frp; did you mean max_fpr?" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fit: {epochs: many}", "fit.epochs is 'many'; expected a whole number of 1 or more"),
        ("fit: {epochs: 1.5}", "fit.epochs is 1.5; expected a whole number of 1 or more"),
        ("fit: {epochs: true}", "fit.epochs is True; expected a whole number of 1 or more"),
        ("fit: {shuffle: 1}", "fit.shuffle is 1; expected true or false"),
        ("fit: {verbose: true}", "fit.verbose is True; expected one of 0, 1, 2"),
        ("fit: {lr: .nan}", "fit.lr is nan; expected a number above 0"),
        ("seed: 9999999999999999999", "seed is 9999999999999999999; expected a whole number"),
        ("max_fpr: 2", "max_fpr is 2; expected a number above 0, at most 1"),
        ("threshold_scope: clip", "threshold_scope is 'clip'; expected one of section"),
        ("feature: 3", "feature is 3; expected a block of keys"),
        ("dev_directory:", "dev_directory is None; expected a text"),
        ("dev_directory: ''", "dev_directory is ''; expected a text"),
        ("ae: {network: {units: []}}", "ae.network.units is []; expected a list"),
        ("ae: {network: {units: [3, x]}}", "ae.network.units is [3, 'x']; expected a list"),
        ("ae: 3", "ae is 3; expected a block of keys"),
        (
            "aegan_ad: {machines: {fan: {network: {generator_norm: xn}}}}",
            "aegan_ad.machines.fan.network.generator_norm is 'xn'; expected one of ln, bn, in",
        ),
        (
            "aegan_ad: {releases: {dcase2020: {machines: {fan: {fit: {ncritic: 0}}}}}}",
            "aegan_ad.releases.dcase2020.machines.fan.fit.ncritic is 0; expected a whole number",
        ),
        ("aegan_ad: {releases: {dcase2021: {}}}", "aegan_ad.releases.dcase2021; did you mean"),
        ("vae: {releases: {}}", "unknown key vae.releases"),
        ("vae: {seed: 3}", "unknown key vae.seed"),
        ("submission: {systems: {mix: {nam: x}}}", "submission.systems.mix.nam; did you mean name"),
        ("- 1", "expected keys and values"),
        ("a: [", "not a YAML file"),
    ],
)
def test_wrong_values_say_where_and_what_was_expected(tmp_path, text, said):
    assert said in complaint(tmp_path, text)


def test_all_problems_are_told_at_once(tmp_path):
    said = complaint(tmp_path, "fit: {epoch: 1, lr: 0}\nvae: {netwrk: {}}", ("seed", -1))
    for part in ("fit.epoch;", "fit.lr is 0", "vae.netwrk;", "--set: seed is -1"):
        assert part in said


def test_baseline_yaml_shows_the_shipped_values():
    shipped, shown = settings.Config(()), settings.read_config()
    machine_types = [None, "ToyCar", "ToyConveyor", "bearing", "fan", "gearbox", "pump", "valve"]
    for system, kind in system_classes().items():
        for release in kind.releases or [None]:
            chosen = [(f"{system}.release", release)] if release else []
            ours = settings.read_config(None, chosen)
            bare = settings.Config(ours.layers[1:])
            for machine_type in machine_types:
                found = ours.resolve(system, machine_type, {})
                assert found.model_dump() == bare.resolve(system, machine_type, {}).model_dump()
        assert not shown.for_system(system).given()
    assert shown.shared() == shipped.shared()
    assert shown.submission() == shipped.submission()


def test_baseline_yaml_shows_every_key():
    """A person finds there whatever can be set, and where a system has a value of its own."""
    shown = yaml.safe_load(BASELINE.read_text(encoding="utf-8"))
    shared = settings.SharedSettings()
    for key, value in shared.model_dump().items():
        assert key in shown
        assert not isinstance(value, dict) or value.keys() == shown[key].keys()
    for system, kind in system_classes().items():
        values = kind().model_dump(exclude={"system"})
        for key, value in values.items():
            common = shared.model_dump().get(key, {} if isinstance(value, dict) else None)
            if not isinstance(value, dict):
                assert value == common or key in shown[system], f"{system}.{key}"
                continue
            for name, inner in value.items():
                hidden = inner != common.get(name) and name not in shown[system].get(key, {})
                assert not hidden, f"{system}.{key}.{name}"


BLOCKS = ("feature", "fit", "back_end")
# Every key that a system's block may set, with a value per place, the weakest first.
PLACES = ("shared", "system", "release", "machine type")
COUNTS, SHARES = (11, 12, 13, 14), (0.11, 0.12, 0.13, 0.14)
KEYS = {
    "feature.input": ("waveform", "log_mel", "waveform", "log_mel"),
    "feature.sample_rate": COUNTS,
    "feature.channel": ("mix", "first", "mix", "first"),
    "feature.n_mels": COUNTS,
    "feature.n_frames": COUNTS,
    "feature.n_hop_frames": COUNTS,
    "feature.n_fft": COUNTS,
    "feature.hop_length": COUNTS,
    "feature.power": SHARES,
    "feature.mel_scale": ("htk", "slaney", "htk", "slaney"),
    "feature.mel_norm": ("none", "slaney", "none", "slaney"),
    "feature.pad_mode": ("reflect", "constant", "reflect", "constant"),
    "feature.floor": SHARES,
    "feature.top_db": (1.0, 2.0, 3.0, 4.0),
    "fit.lr": SHARES,
    "fit.beta_1": SHARES,
    "fit.beta_2": SHARES,
    "fit.epsilon": SHARES,
    "fit.epochs": COUNTS,
    "fit.batch_size": COUNTS,
    "fit.shuffle": (False, True, False, True),
    "fit.validation_split": SHARES,
    "fit.verbose": (0, 2, 0, 2),
    "feature.classes": ("attributes", "domain", "section", "attributes"),
    "fit.train_on": ("dev", "eval", "both", "same"),
    "fit.precision": ("mixed_float16", "mixed_bfloat16", "float32", "mixed_float16"),
    "back_end.name": ("k_means", "none", "local_density", "mahalanobis"),
    "back_end.by_section": (True, False, True, False),
    "back_end.far_weight": (0.5, 0.25, 2.0, 1.0),
    "back_end.metric": ("euclidean", "cosine", "euclidean", "cosine"),
    "back_end.source_neighbours": COUNTS,
    "back_end.target_neighbours": COUNTS,
    "back_end.smote_ratio": SHARES,
    "back_end.smote_neighbours": COUNTS,
    "back_end.clusters": COUNTS,
    "back_end.neighbours": COUNTS,
    "back_end.density_neighbours": COUNTS,
    "back_end.components": ([2], [3], [4], [5]),
    "back_end.smallest_variance": SHARES,
    "back_end.outlier_neighbours": COUNTS,
    "back_end.members": (["k_means"], ["mahalanobis"], ["local_density"], ["k_means"]),
    "decision_threshold": SHARES,
    "threshold_scope": ("machine_type", "section", "machine_type", "section"),
    "threshold_fit": ("official", "checked", "official", "checked"),
}


def test_the_table_of_precedence_has_every_key():
    shared = settings.SharedSettings().model_dump(exclude=settings.NOT_IN_BLOCKS)
    blocks = {f"{key}.{name}" for key in BLOCKS for name in shared[key]}
    assert set(KEYS) == blocks | (shared.keys() - set(BLOCKS))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("system", list(system_classes()))
def test_precedence(tmp_path, monkeypatch, system, key):
    """Shipped < a person's file < --set, and in each of them the more specific place wins.

    Every pair of places is tried: the weaker alone counts, and both give the stronger.
    """
    kind = system_classes()[system]
    values = dict(zip(PLACES, KEYS[key], strict=True))
    keys = {
        "shared": key,
        "system": f"{system}.{key}",
        "release": f"{system}.releases.{next(iter(kind.releases), None)}.{key}",
        "machine type": f"{system}.machines.fan.{key}",
    }
    places = [place for place in PLACES if kind.releases or place != "release"]
    order = [(layer, place) for layer in ("file", "set") for place in places]

    def resolved(*chosen: tuple[str, str]):
        tree, assignments = {}, []
        if any(place == "release" for _, place in chosen):
            assignments.append((f"{system}.release", next(iter(kind.releases))))
        for layer, place in chosen:
            if layer == "set":
                assignments.append((keys[place], values[place]))
                continue
            inner = tree
            *blocks, name = keys[place].split(".")
            for block in blocks:
                inner = inner.setdefault(block, {})
            inner[name] = values[place]
        config = load(tmp_path, yaml.safe_dump(tree or {"seed": 0}), *assignments)
        return config.for_system(system).for_machine("fan")

    shipped = settings.Config(()).for_system(system).for_machine("fan")
    assert resolved().value(key) == shipped.value(key)
    for layer in ("file", "set"):  # over a baseline.yaml whose blocks may say otherwise
        assert resolved((layer, "shared")).value(key) == values["shared"]
    monkeypatch.setattr(settings, "BASELINE", tmp_path / "none")  # reading it takes long
    for index, (layer, place) in enumerate(order):
        run = resolved((layer, place))
        assert run.value(key) == values[place], f"{layer} {place} against what is shipped"
        assert run.is_given(key)
        for weaker in order[:index]:
            run = resolved(weaker, (layer, place))
            assert run.value(key) == values[place], f"{layer} {place} against {weaker}"


def test_own_keys_of_systems_in_every_place(tmp_path):
    text = """
aegan_ad: {score: D_knn, machines: {fan: {score: D_cos}}}
mobilenet_v2: {network: {alpha: 1}}
"""
    config = load(tmp_path, text, ("mobilenet_v2.unseen_section", "last_class"))
    assert config.for_system("aegan_ad").score == "D_knn"
    assert config.for_system("aegan_ad").for_machine("fan").score == "D_cos"
    run = config.for_system("mobilenet_v2")
    assert (run.network.alpha, run.unseen_section) == (1.0, "last_class")
    config = load(tmp_path, text, ("aegan_ad.score", "D_lof"))
    assert config.for_system("aegan_ad").for_machine("fan").score == "D_lof"


def test_config_goes_over_an_edited_baseline_yaml(tmp_path, monkeypatch):
    (tmp_path / "baseline.yaml").write_text("vae: {fit: {epochs: 7}}\nfit: {lr: 0.5}")
    monkeypatch.setattr(settings, "BASELINE", tmp_path / "baseline.yaml")
    run = load(tmp_path, "fit: {epochs: 3}").for_system("vae")
    assert (run.fit.epochs, run.fit.lr) == (3, 0.5)
    assert run.given() == {
        "fit.epochs": f"--config {tmp_path / 'own.yaml'}",
        "fit.lr": "baseline.yaml",
    }


def test_numbers_that_yaml_reads_as_text(tmp_path):
    assert load(tmp_path, "fit: {lr: 1e-3}").shared().fit.lr == 0.001


def test_of_contradictory_assignments_the_last_counts(tmp_path):
    config = load(tmp_path, "seed: 0", ("fit.epochs", 3), ("fit.lr", 0.1), ("fit.epochs", 4))
    assert config.for_system("ae").fit.epochs == 4
    assert config.contradictions == ("--set fit.epochs: 4, not 3; the last one counts",)


def test_assignments_are_checked(tmp_path):
    assert "--set: unknown key fit.epoch; did you mean epochs?" in complaint(
        tmp_path, "seed: 0", ("fit.epoch", 9)
    )


@pytest.mark.parametrize("system", list(system_classes()))
def test_what_is_printed_can_be_given_back(tmp_path, system):
    text = f"fit: {{epochs: 3}}\n{system}: {{machines: {{fan: {{fit: {{lr: 0.5}}}}}}}}"
    config = load(
        tmp_path, text, ("aegan_ad.fit.train_on", "eval"), ("aegan_ad.release", "dcase2020")
    )
    back = load(tmp_path, config.as_yaml([system], [7]))
    for machine_type in (None, "fan", "ToyCar", "pump", "other"):
        run = config.for_system(system, 7)
        again = back.for_system(system)
        if machine_type:
            run, again = run.for_machine(machine_type), again.for_machine(machine_type)
        assert again.model_dump() == run.model_dump()
    assert back.submission() == config.submission()


def test_settings_survive_a_pickle_and_other_values(tmp_path):
    config = load(tmp_path, "aegan_ad: {machines: {fan: {fit: {lr: 0.5}}}}")
    run = config.for_system("aegan_ad", 3).with_values({"feature.n_mels": 64})
    again = pickle.loads(pickle.dumps(run)).for_machine("fan")
    assert (again.fit.lr, again.feature.n_mels, again.seed) == (0.5, 64, 3)
    assert again.is_given("fit.lr")
    assert not again.is_given("feature.n_mels")


def test_placeholders_and_seeds(tmp_path):
    config = load(
        tmp_path, "model_directory: m/{system}/{seed}\nresult_directory: r/{system}/{seed}"
    )
    runs = config.runs(["ae"], [3, 4])
    assert [run.model_directory for run in runs] == [Path("m/ae/3"), Path("m/ae/4")]
    assert [run.seed for run in runs] == [3, 4]


def test_several_seeds_need_several_directories(tmp_path):
    with pytest.raises(BadInput, match=r"put \{seed\} into it"):
        settings.read_config().runs(["ae"], [3, 4])


def test_problems_are_told_together():
    problems = ProblemCollector()
    for message in ("first", "second"):
        with problems:
            raise BadInput(message)
    with pytest.raises(BadInput, match="first\nsecond"):
        problems.stop()
    with pytest.raises(ZeroDivisionError), ProblemCollector():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of the arguments -d/--dev -e/--eval is required"),
        (["-d", "-e"], "not allowed with argument"),
        (["-d", "--sytem", "ae"], "unrecognized arguments"),
        (["-d", "--system", "dense"], "invalid choice: 'dense'"),
        (["-d", "--jobs", "0"], "--jobs: expected 1 or more"),
        (["-d", "--set", "fit.epochs"], "is not of the form key.path=value"),
    ],
)
def test_misuse_exits_with_2(arguments, said):
    for script in ("00_train.py", "01_test.py"):
        run = call_script(script, *arguments)
        assert run.returncode == 2
        assert said in run.stderr
        assert "usage:" in run.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: &a [x]\n"
            + "".join(
                f"{y}: &{y} [*{x}, *{x}, *{x}, *{x}, *{x}, *{x}]\n"
                for x, y in zip("abcdefghi", "bcdefghij", strict=True)
            ),
            "more than 10000 values, counting what alias",
        ),
        ("a: &a\n  <<: *a\n  b: 1", "an alias within what it stands for"),
        ("a: " + "[" * 10**4, "recursion"),
        ("a: " + "x" * 2**20, "larger than 1048576 bytes"),
        ("seed: 2020-13-45", "month must be in 1..12"),
        ("seed: !!python/object/apply:os.system [exit]", "could not determine a constructor"),
        ("a: \ud800".encode("utf-8", "surrogatepass"), "not a YAML file"),
        ("? [a]\n: 1", "unhashable key"),
    ],
)
def test_configs_from_strangers(tmp_path, text, said):
    path = tmp_path / "own.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=rf"own\.yaml: not a YAML file.*{said}|{said}"):
        settings.read_config(path)
