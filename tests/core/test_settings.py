from __future__ import annotations

import contextlib
import errno
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from core import settings
from core.command_line import command_line_chk
from core.errors import BadInput, Together
from core.script import guarded
from tests.conftest import run_script

BASELINE = settings.HOME / "baseline.yaml"


@pytest.fixture
def terminal_signals() -> Iterator[None]:
    """The handlers of a program started from a terminal, however the tests were started."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,  # ignored in the background
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGALRM: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


def load(tmp_path: Path, text: str, *assignments) -> dict:
    config = tmp_path / "own.yaml"
    config.write_text(text, encoding="utf-8")
    return settings.yaml_load(config, list(assignments))


def complaint(tmp_path: Path, text: str, *assignments) -> str:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, text, *assignments)
    return str(caught.value)


def test_official_keys_have_official_values():
    param = settings.yaml_load(BASELINE)
    assert (param["max_fpr"], param["decision_threshold"], param["result_file"]) == (
        0.1,
        0.9,
        "result.csv",
    )
    own = settings.for_system(param, "ae")
    official = {
        "n_mels": 128,
        "n_frames": 5,
        "n_hop_frames": 1,
        "n_fft": 1024,
        "hop_length": 512,
        "power": 2.0,
    }
    assert official.items() <= own["feature"].items()
    official = {
        "lr": 0.001,
        "epochs": 100,
        "batch_size": 512,
        "shuffle": True,
        "validation_split": 0.1,
        "verbose": 1,
    }
    assert official.items() <= own["fit"].items()


def test_official_baseline_yaml_is_understood(tmp_path):
    text = """
dev_directory: ../dev_data
eval_directory: ../eval_data
model_directory: ./model
result_directory: ./result
result_file: result.csv
max_fpr: 0.1
decision_threshold: 0.9
feature: {n_mels: 64, n_frames: 5, n_hop_frames: 1, n_fft: 1024, hop_length: 512, power: 2.0}
fit: {lr: 0.001, epochs: 100, batch_size: 512, shuffle: True, validation_split: 0.1, verbose: 1}
"""
    own = settings.for_system(load(tmp_path, text), "ae")
    assert own["model_directory"] == "./model"
    assert own["feature"]["n_mels"] == 64
    assert own["feature"]["sample_rate"] == 16000  # what the file leaves out is the baseline's


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
        ("max_fpr: 2", "max_fpr is 2; expected a number above 0, at most 1"),
        ("threshold_scope: clip", "threshold_scope is 'clip'; expected one of section"),
        ("feature: 3", "feature is 3; expected a block of keys"),
        ("dev_directory:", "dev_directory is None; expected a text"),
        ("ae: {network: {units: []}}", "ae.network.units is []; expected a list"),
        ("- 1", "expected keys and values"),
        ("a: [", "not a YAML file"),
    ],
)
def test_wrong_values_say_what_was_expected(tmp_path, text, said):
    assert said in complaint(tmp_path, text)


def test_missing_keys_are_named(tmp_path, monkeypatch):
    held = yaml.safe_load(BASELINE.read_text(encoding="utf-8"))
    del held["threshold_scope"], held["fit"]["epochs"]
    (tmp_path / "baseline.yaml").write_text(yaml.safe_dump(held), encoding="utf-8")
    monkeypatch.setattr(settings, "HOME", tmp_path)
    with pytest.raises(BadInput) as caught:
        settings.yaml_load(tmp_path / "baseline.yaml")
    assert "threshold_scope is missing; expected one of" in str(caught.value)
    assert "fit.epochs is missing; expected a whole number" in str(caught.value)


def test_numbers_that_yaml_reads_as_text(tmp_path):
    assert load(tmp_path, "fit: {lr: 1e-3}")["fit"]["lr"] == 0.001


def test_order_of_precedence(tmp_path):
    text = "fit: {epochs: 7}\nae: {fit: {epochs: 8}}\n"
    assert settings.for_system(load(tmp_path, text), "ae")["fit"]["epochs"] == 8
    own = settings.for_system(load(tmp_path, text, ("fit.epochs", 9)), "ae")
    assert own["fit"]["epochs"] == 9
    own = settings.for_system(load(tmp_path, text, ("ae.fit.epochs", 10), ("fit.epochs", 9)), "ae")
    assert own["fit"]["epochs"] == 10


def test_assignments_are_checked(tmp_path):
    assert "--set: unknown key fit.epoch; did you mean epochs?" in complaint(
        tmp_path, "seed: 0", ("fit.epoch", 9)
    )


def test_placeholders_and_seeds(tmp_path):
    param = load(
        tmp_path, "model_directory: m/{system}/{seed}\nresult_directory: r/{system}/{seed}"
    )
    args = command_line_chk("", ["-d", "--seed", "3", "4"])
    directories = [own["model_directory"] for own in settings.units(args, param)]
    assert directories == ["m/ae/3", "m/ae/4"]
    assert [own["seed"] for own in settings.units(args, param)] == [3, 4]


def test_several_seeds_need_several_directories(tmp_path):
    args = command_line_chk("", ["-d", "--seed", "3", "4"])
    with pytest.raises(BadInput, match=r"put \{seed\} into it"):
        settings.units(args, settings.yaml_load(BASELINE))


def test_problems_are_told_together():
    problems = Together()
    for message in ("first", "second"):
        with problems:
            raise BadInput(message)
    with pytest.raises(BadInput, match="first\nsecond"):
        problems.stop()
    with pytest.raises(ZeroDivisionError), Together():
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
        run = run_script(script, *arguments)
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
        settings.yaml_load(path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "a.npz"),
            "a.npz: No space left on device",
        ),
        (OSError(errno.EROFS, "Read-only file system", "model"), "give directories in the config"),
        (OSError(errno.EACCES, "Permission denied", "model"), "that can be read and written"),
        (
            OSError(errno.ENOENT, "No such file or directory", "data"),
            "data: No such .*; it has gone",
        ),
        (OSError(errno.EIO, "Input/output error"), "error: Input/output error; see to it"),
        (
            MemoryError("Unable to allocate 9 GiB"),
            r"out of memory \(Unable to allocate 9 GiB\); lower",
        ),
        (type("ResourceExhaustedError", (Exception,), {})("OOM\nmore"), r"out of memory \(OOM\)"),
    ],
)
def test_what_the_machine_lacks_is_told_in_one_line(capsys, error, said):
    def lacking() -> int:
        raise error

    assert guarded(lacking) == 1
    told = capsys.readouterr().err
    assert re.search(said, told)
    assert told.count("\n") == 1


def test_a_bug_is_not_hidden():
    for error in (ZeroDivisionError(), OSError("no number")):
        with pytest.raises(type(error)):
            guarded(lambda error=error: (_ for _ in ()).throw(error))


def test_sigterm_exits_with_143_and_the_handler_is_put_back(terminal_signals, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        guarded(lambda: signal.raise_signal(signal.SIGTERM))
    assert caught.value.code == 143
    assert "terminated; the same command goes on from here" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_failures_of_long_steps_are_told_at_once_and_counted_at_the_end(caplog):
    caplog.set_level("WARNING", "baseline")
    failures = Together(tell=True)
    with failures:
        raise BadInput("fan: diverged")
    assert caplog.messages == ["fan: diverged"]
    with pytest.raises(BadInput, match=r"^1 of 2 failed, the others are done:\nfan: d"):
        failures.stop(2)


def test_guarded_tells_and_exits(capsys):
    def bad() -> int:
        raise BadInput("fan.wav: is empty")

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert guarded(bad) == 1
    assert "error: fan.wav: is empty" in capsys.readouterr().err
    assert guarded(interrupted) == 130
    assert guarded(lambda: 0) == 0


def _dropped_by_a_destructor(number: int) -> None:
    class Held:
        def __del__(self) -> None:
            signal.raise_signal(number)

    held = Held()
    del held


def _swallowed(number: int) -> None:
    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # as libraries do on import
        signal.raise_signal(number)


@pytest.mark.parametrize("lost", [_dropped_by_a_destructor, _swallowed])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_goes_unheeded_is_raised_again(terminal_signals, lost, number, code, capfd):
    def main() -> int:
        lost(number)
        time.sleep(20)
        return 0

    began = time.monotonic()
    try:
        assert guarded(main) == code
    except SystemExit as end:
        assert end.code == code
    assert time.monotonic() - began < 5
    assert "Traceback" not in capfd.readouterr().err


def test_a_signal_on_its_way_out_does_not_disturb_the_clean_up(terminal_signals, monkeypatch):
    monkeypatch.setattr("core.script.SECONDS_TO_HEED", 0.05)
    cleaned = []

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                raise ValueError
            time.sleep(0.3)
            cleaned.append(True)

    def main() -> int:
        with held():
            signal.raise_signal(signal.SIGINT)
        return 0

    assert guarded(main) == 130
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_runs_in_the_background_goes_on_ignoring_ctrl_c(terminal_signals):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def main() -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    assert guarded(main) == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
