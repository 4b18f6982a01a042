"""Keras, imported without TensorFlow's notes on the GPUs that a machine does not have.

TensorFlow's C++ side prints them whatever its log level, so they are caught at the file
descriptor. Should the import fail, they are shown.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from types import ModuleType


def pending_import() -> Callable[[], ModuleType] | None:
    """Return what imports Keras; None where it is imported already."""
    return None if "keras" in sys.modules else import_keras


def import_keras() -> ModuleType:
    """Return Keras; on a GPU, memory grows as it is needed."""
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras
            import tensorflow as tf

            for gpu in tf.config.get_visible_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
            tf.zeros(())
            # Every machine type has a network of its own, and TensorFlow warns of each.
            tf.get_logger().setLevel("ERROR")
        except Exception:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return keras
