"""The discriminative embeddings of three spectrograms against their release (PyTorch)."""

from tests.models.parity_dis_spec import (
    check_embeddings,
    check_layers,
    check_loss,
    check_magnitudes,
    check_mixup,
    check_training,
)

__all__ = [
    "check_embeddings",
    "check_layers",
    "check_loss",
    "check_magnitudes",
    "check_mixup",
    "check_training",
]
