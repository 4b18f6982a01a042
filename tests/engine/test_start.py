"""TensorFlow starts while processes extract the features of the first clips."""

from __future__ import annotations

import pytest

from engine import testing, training
from models import quiet_keras
from tests.conftest import run_inside

SMALL = ("fit.epochs=1", "fit.verbose=0", "feature.n_mels=16")


@pytest.mark.slow
def test_tensorflow_starts_while_features_are_extracted(demo, tmp_path, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    started = []
    for script, module in (("00_train.py", training), ("01_test.py", testing)):
        monkeypatch.setattr(
            module, "pending_import", lambda name=script: lambda: started.append(name)
        )
        done = run_inside(script, "-d", "--machine", "fan", data=demo, out=tmp_path, assigned=SMALL)
        assert done.returncode == 0, done.stderr
    assert started == ["00_train.py", "01_test.py"]


def test_keras_is_imported_once():
    quiet_keras.import_keras()
    assert quiet_keras.pending_import() is None
