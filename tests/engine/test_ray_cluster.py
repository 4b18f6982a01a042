"""A real Ray cluster of two nodes on this machine's loopback, and what it refuses.

Skipped where Ray is not installed (pip install '.[cluster]'). That a node dies takes a minute and
more on a busy machine, so only `make cluster-test` tries it.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import BadInput
from data import frame_cache
from engine import scoring
from engine.ray_nodes import check_node, digest
from tests import kill
from tests.conftest import run_inside
from tests.engine import ray_nodes

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: no cluster is tested"
)

QUICK = ("fit.epochs=2", "fit.batch_size=512")
SETTINGS = ("fit.epochs=16", "fit.batch_size=512")


@pytest.fixture(scope="module", autouse=True)
def env():
    """Set the variables that a driver needs to join; Ray reads some of them as it is imported."""
    assert "ray" not in sys.modules
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (variables := ray_nodes.environment()).items():
            patch.setenv(name, value)
        patch.setenv("TF_NUM_INTRAOP_THREADS", "1")
        yield variables


@pytest.fixture(scope="module")
def two_nodes(env, tmp_path_factory: pytest.TempPathFactory):
    """Start a head and another node, with one core each."""
    with ray_nodes.started(tmp_path_factory.mktemp("nodes"), env) as nodes:
        yield nodes


def results(out: Path) -> dict[str, list[list[str]]]:
    tables = {}
    for path in sorted(out.rglob("*.csv")):
        with path.open(newline="") as stream:
            tables[str(path.relative_to(out))] = list(csv.reader(stream))
    return tables


def refused(address: str, *words: str, gpus: float | None = None, within: float = 5) -> None:
    from engine import ray_cluster

    start = time.monotonic()
    with pytest.raises(BadInput) as problem, ray_cluster.connected(address, None, gpus, [], []):
        pass
    assert time.monotonic() - start < within
    for word in words:
        assert word in str(problem.value)


def test_an_address_that_does_not_answer(monkeypatch):
    refused("ray://127.0.0.1:1", "127.0.0.1:1 does not answer")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    refused("auto", "127.0.0.1:1 does not answer")


def test_what_a_node_does_not_see(tmp_path):
    (tmp_path / "fan").mkdir()
    before = {str(tmp_path): digest(str(tmp_path))}
    (tmp_path / "token").touch()
    assert check_node({}, [str(tmp_path / "token")]) == []
    assert "has other content" in check_node(before, [])[0]
    assert "does not see /nowhere" in check_node({"/nowhere": ""}, [])[0]
    assert "does not see" in check_node({}, [str(tmp_path / "other")])[0]


def test_a_cluster_that_does_not_fit_is_refused_at_once(two_nodes, monkeypatch, tmp_path):
    import ray

    from engine import ray_cluster

    refused("auto", "--gpus-per-job 1", "the largest has 0", gpus=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(ray, "__version__", "1.0")
        refused("auto", "the same versions", "here Ray 1.0")
    # The nodes see all that this machine sees, so the file that they look for is never written.
    write = Path.write_text
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", lambda path, *_: ".seen" in path.name or write(path, *_))
        with (
            pytest.raises(BadInput, match="does not see") as problem,
            ray_cluster.connected("auto", None, None, [], [str(tmp_path)]),
        ):
            pass
    assert str(problem.value).count(f"does not see {tmp_path}") == 2


def test_the_same_files_with_and_without_a_cluster(two_nodes, demo, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_cache, "CLIPS_PER_PROCESS", 10)  # so that nodes extract some
    write, sent = frame_cache._write, []
    monkeypatch.setattr(frame_cache, "_write", lambda *given: sent.append(1) or write(*given))
    monkeypatch.setattr(scoring, "CLIPS_PER_SLICE", 7)  # of 24
    tables = []
    for name, options in (("cluster", ("--cluster", "auto")), ("alone", ())):
        out = tmp_path / name
        for script in ("00_train.py", "01_test.py"):
            run = run_inside(
                script, "-d", "--machine", "valve", *options, data=demo, out=out, assigned=QUICK
            )
            assert run.returncode == 0, run.stdout + run.stderr
        tables.append(results(out))
    assert len(sent) >= 4  # slices of training and test clips that nodes sent
    scored = (tmp_path / "cluster" / "result" / "ae" / "logs").glob("test_dev_valve_*.log")
    assert sorted(path.stem[-1] for path in scored) == ["1", "2", "3", "4"]
    assert len(tables[0]) == 9
    assert tables[0] == tables[1]


@pytest.mark.skipif("CLUSTER_TEST" not in os.environ, reason="make cluster-test kills a node")
def test_training_goes_on_when_a_node_dies_and_leaves_the_same_files(two_nodes, demo, tmp_path):
    alone, out = tmp_path / "alone", tmp_path / "cluster"
    start, at_work = time.monotonic(), []

    def strike() -> None:
        logs = out / "result" / "ae" / "logs"
        while time.monotonic() - start < 60:
            running = [path for path in logs.glob(".*.progress") if path.read_text()]
            if len(running) == 2:
                ray_nodes.kill(two_nodes[1])
                at_work.extend(path.name for path in running)
                return
            time.sleep(0.1)

    watcher = threading.Thread(target=strike)
    watcher.start()
    run = run_inside(
        "00_train.py", "-d", "--cluster", "auto", data=demo, out=out, assigned=SETTINGS
    )
    watcher.join()
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(at_work) == 2
    kill.check_whole(out)
    for machine in ("fan", "valve"):
        assert (out / "model" / "ae" / f"model_{machine}.npz").is_file()
    places = [
        {line.split()[-1] for line in path.read_text().splitlines() if " on " in line}
        for path in (out / "result" / "ae" / "logs").glob("train_*.log")
    ]
    assert sorted(map(len, places)) == [1, 2]  # one went on elsewhere
    assert len(set.union(*places)) == 2
    run = run_inside("01_test.py", "-d", "--cluster", "auto", data=demo, out=out, assigned=SETTINGS)
    assert run.returncode == 0, run.stdout + run.stderr
    for script in ("00_train.py", "01_test.py"):
        run = run_inside(script, "-d", data=demo, out=alone, assigned=SETTINGS)
        assert run.returncode == 0, run.stdout + run.stderr
    assert results(out) == results(alone)
    assert not list(out.rglob(".*.progress"))
