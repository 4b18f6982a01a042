"""The discriminative embeddings of three spectrograms against their release (PyTorch)."""

from __future__ import annotations

from tests.models import parity_dis_spec
from tests.models.parity_fixture import Fixture

build = parity_dis_spec.build


def check_magnitudes(fixture: Fixture) -> None:
    parity_dis_spec.check_magnitudes(fixture, build)


def check_layers(fixture: Fixture) -> None:
    parity_dis_spec.check_layers(fixture, build)


def check_embeddings(fixture: Fixture) -> None:
    parity_dis_spec.check_embeddings(fixture, build)


def check_loss(fixture: Fixture) -> None:
    parity_dis_spec.check_loss(fixture, build)


def check_mixup(fixture: Fixture) -> None:
    parity_dis_spec.check_mixup(fixture, build)


def check_training(fixture: Fixture) -> None:
    parity_dis_spec.check_training(fixture, build)
