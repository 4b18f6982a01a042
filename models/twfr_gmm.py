"""TWFR-GMM: loud frames weighted more than quiet ones, and a Gaussian mixture.

Source: Guan et al., "Time-Weighted Frequency Domain Audio Representation with GMM Estimator for
Anomalous Sound Detection", ICASSP 2023 (arXiv 2305.03328); liuyoude/TWFR-GMM (MIT).

Quirks of the release that are followed
1. Levels in decibels are weighted, not energies.
2. The score is that of the likeliest component: the weights of the mixture do not count.

Different from the release
1. It chose the decay and the number of components of each machine type by the labels of the test
   clips; `twfr_gmm.release: dcase2022` has its choice. By default no label has a part in them: the
   number of components is that of the least Bayesian information criterion, and a clip's score is
   the minimum over several decays, each normalised by its scores of the training clips.
2. The seed of the settings starts every fit. The release sets NumPy's once for all fits.
3. Frames beyond `seconds` are left out. The release cuts the samples, so that the last frames see
   the clip reflected there.
4. Its variant with SMOTE of the waveforms is not built.
"""

from __future__ import annotations

import numpy as np

from backends.base import BackEnd
from backends.gaussian_mixture import Mixture
from backends.minimum import Minimum
from core.run_settings import SystemSettings
from data.frames import Frames
from models.embedding_system import StatisticalSystem


class SeveralDecays(Minimum):
    """The minimum over several mixtures, each fitted to the features of one decay."""

    def parts(self, embeddings: np.ndarray) -> list[np.ndarray]:
        return np.split(embeddings, len(self.members), axis=1)


def mixtures(run: SystemSettings) -> BackEnd:
    """Return what scores the features of a section; one decay is scored as it is."""
    net = run.network
    members = [Mixture(net.components, net.smallest_variance, seed=run.seed) for _ in net.decays]
    return members[0] if len(members) == 1 else SeveralDecays(members)


class TWFRGMM(StatisticalSystem):
    """Weights the frames of each mel bin by their rank, and fits a Gaussian mixture per section.

    Feature of a mel bin: the mean of its levels, sorted downwards, the weight of each that of the
    next louder one times a decay. Decay 1 gives the mean over time, decay 0 the maximum.

    Score of a clip: minus the log density of its likeliest component; of several decays the
    minimum, each normalised by the scores of the training clips.
    """

    build_back_end = staticmethod(mixtures)
    by_section = True

    def embeddings(self, frames: Frames) -> np.ndarray:
        """Return the features of every decay, one after the other: (n_clips, decays * n_mels)."""
        feature, net = self.settings.feature, self.settings.network
        most = 1 + int(net.seconds * feature.sample_rate) // feature.hop_length
        rows = zip(frames.first, frames.count, strict=True)
        levels = (frames.array[first : first + min(count, most)] for first, count in rows)
        return np.stack([time_weighted(of_clip, net.decays).ravel() for of_clip in levels])


def time_weighted(levels: np.ndarray, decays: list[float]) -> np.ndarray:
    """Return the weighted means of each mel bin: (n_decays, n_mels) float64.

    levels : (n_frames, n_mels) in decibels
    """
    loudest_first = np.sort(levels.astype(np.float64), axis=0)[::-1]
    weights = np.array(decays)[:, None] ** np.arange(len(levels))  # 0 ** 0 is 1
    return weights @ loudest_first / weights.sum(axis=1, keepdims=True)
