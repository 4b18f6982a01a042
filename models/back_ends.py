"""The back ends of a system, one per machine type, with the embeddings they are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.errors import BadInput
from core.log import logger
from core.run_settings import SystemSettings
from data.clips import Clip
from models.embedding_map import EmbeddingMap, Projection, map_class
from models.saved import BACK_END_ARRAY

if TYPE_CHECKING:
    from backends.base import BackEnd

Build = Callable[[SystemSettings], "BackEnd"]
_MACHINE_TYPES, _SECTIONS, _DOMAINS, _CLASSES = (
    f"back_end_{name}" for name in ("machine_types", "sections", "domains", "classes")
)


def build_back_end(run: SystemSettings) -> BackEnd:
    """Return the back end that the settings of a machine type name."""
    from backends import registry  # scikit-learn takes a second, and most runs have no back end

    return registry.build(run.back_end, run.seed)


class BackEnds:
    """One back end per machine type, or per section with `back_end.by_section`.

    Each is fitted when it is first asked: a joint system often scores one machine type only.

    Attributes
    ----------
    embeddings : (n_clips, width) of the training clips; with `feature.channel: near_minus_far`
        (n_clips, 2 * width), near and far, so that another `back_end.far_weight` needs no training
    machine_types, sections, domains, classes : (n_clips,) of the same clips; the last is for maps

    Parameters
    ----------
    run : the settings of the system
    build : what makes a new back end from the settings of a machine type
    by_section : one per section, whatever the settings say
    """

    def __init__(
        self, run: SystemSettings, build: Build = build_back_end, by_section: bool = False
    ):
        self.run, self.build, self.by_section = run, build, by_section
        self.embeddings: np.ndarray | None = None
        self._fitted: dict[str, BackEnd] = {}
        self._projections: dict[str, Projection] = {}

    def fit(self, embeddings: np.ndarray, clips: Sequence[Clip]) -> None:
        """Take the embeddings (n_clips, width) of training clips.

        What they lack shows when a back end is first asked: BadInput as of `BackEnd.fit`.
        """
        kept = np.array(embeddings)  # its own copy: nothing may change it later
        classes = np.array([map_class(self.run, clip) for clip in clips], str)
        self._take(kept, *clip_columns(clips), classes)

    def score(self, embeddings: np.ndarray, clips: Sequence[Clip]) -> np.ndarray:
        """Return the anomaly scores of clips (n_clips,) float64.

        Raises BadInput for clips of a machine type or section that no training clip is of.
        """
        machine_types, sections, _ = clip_columns(clips)
        groups = group_names(self.run, machine_types, sections, self.by_section)
        unknown = sorted(set(groups) - set(self._groups))
        if unknown:
            raise BadInput(
                f"{self.run.system}: no training clips of {', '.join(unknown)} for its back end; "
                "train again with them"
            )
        scores = np.empty(len(clips))
        for group in sorted(set(groups)):
            chosen = groups == group
            of_group = self._subtracted(embeddings[chosen], machine_types[chosen][0])
            scores[chosen] = self._back_end(group).anomaly_score(of_group)
        return scores

    def training_scores(self, other: np.ndarray | None = None) -> np.ndarray:
        """Return those of the training clips (n_clips,), each left out of its own reference.

        other : (n_clips,) those of machine types whose back end is "none"
        """
        scores = np.array(other) if other is not None else np.empty(len(self.embeddings))
        chosen = np.full(len(scores), True) if other is None else self.named(self.machine_types)
        for group in sorted(set(self._groups[chosen])):
            scores[self._groups == group] = self._back_end(group).training_scores()
        return scores

    def named(self, machine_types: Sequence[str]) -> np.ndarray:
        """Return for which clips the settings of their machine type name a back end: (n_clips,)."""
        names = {str(name) for name in machine_types}
        named = {name: settings_of(self.run, name).back_end.name != "none" for name in names}
        return np.array([named[str(name)] for name in machine_types], bool)

    def embedding_map(self, embeddings: np.ndarray, machine_type: str) -> EmbeddingMap | None:
        """Return clips of a machine type in two dimensions, with its training clips.

        None where there are no training clips of it.

        embeddings : (n_clips, width)
        """
        if self.embeddings is None:
            return None
        chosen = self.machine_types == machine_type
        if not chosen.any():
            return None
        training = self._subtracted(self.embeddings[chosen], machine_type)
        if machine_type not in self._projections:
            self._projections[machine_type] = Projection(training)
        project = self._projections[machine_type].coordinates
        columns = self.domains[chosen], self.classes[chosen]
        places = project(self._subtracted(embeddings, machine_type))
        return EmbeddingMap(places, project(training), *columns)

    def state(self) -> dict[str, np.ndarray]:
        """Return what has to be saved; empty before there are embeddings."""
        if self.embeddings is None:
            return {}
        return {
            BACK_END_ARRAY: self.embeddings,
            _MACHINE_TYPES: self.machine_types,
            _SECTIONS: self.sections,
            _DOMAINS: self.domains,
            _CLASSES: self.classes,
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `state` returned; raises ValueError where it cannot be that."""
        if BACK_END_ARRAY not in arrays:
            return
        embeddings = arrays[BACK_END_ARRAY]
        columns = [arrays[name] for name in (_MACHINE_TYPES, _SECTIONS, _DOMAINS)]
        columns.append(arrays.get(_CLASSES, columns[1]))
        if embeddings.ndim != 2 or any(column.shape != embeddings.shape[:1] for column in columns):
            raise ValueError("its embeddings are not one per training clip")
        if embeddings.dtype.kind != "f" or not np.isfinite(embeddings).all():
            raise ValueError("its embeddings are not finite")
        self._take(embeddings, *columns)

    def _take(
        self,
        embeddings: np.ndarray,
        machine_types: np.ndarray,
        sections: np.ndarray,
        domains: np.ndarray,
        classes: np.ndarray,
    ) -> None:
        self.embeddings, self.domains, self.classes = embeddings, domains, classes
        self.machine_types, self.sections = machine_types, sections
        self._groups = group_names(self.run, machine_types, sections, self.by_section)
        self._fitted, self._projections = {}, {}

    def _subtracted(self, embeddings: np.ndarray, machine_type: str) -> np.ndarray:
        """Return embeddings of a machine type, less the weighted ones of the far channel.

        embeddings : as `EmbeddingSystem.channel_embeddings` returns them
        """
        if self.run.feature.channel != "near_minus_far":
            return embeddings
        near, far = np.split(embeddings, 2, axis=1)
        return near - settings_of(self.run, str(machine_type)).back_end.far_weight * far

    def _back_end(self, group: str) -> BackEnd:
        if group not in self._fitted:
            chosen = self._groups == group
            machine_type = str(self.machine_types[chosen][0])
            run = settings_of(self.run, machine_type)
            back_end = self.build(run)
            try:
                embeddings = self._subtracted(self.embeddings[chosen], machine_type)
                back_end.fit(embeddings, self.domains[chosen].tolist())
            except BadInput as error:
                raise BadInput(f"{run.system} {group}: {error}") from None
            self._fitted[group] = back_end
        return self._fitted[group]


def check_back_ends(
    run: SystemSettings,
    clips: Sequence[Clip],
    build: Build = build_back_end,
    by_section: bool = False,
) -> None:
    """Raise BadInput, with every reason, where training clips are too few for the back ends.

    Where a back end wants domains and no clip has one, this says that all count as source.
    """
    machine_types, sections, domains = clip_columns(clips)
    groups = group_names(run, machine_types, sections, by_section)
    problems, without_domains = [], []
    for group in sorted(set(groups)):
        chosen = groups == group
        back_end = build(settings_of(run, str(machine_types[chosen][0])))
        n_target = int((domains[chosen] == "target").sum())
        n_source = int(chosen.sum()) - n_target
        if not n_source:
            n_source, n_target = n_target, 0
        if why := back_end.too_few(n_source, n_target):
            problems.append(f"{run.system} {group}: back_end: {why}")
        if back_end.uses_domains and not n_target:
            without_domains.append(group)
    if problems:
        raise BadInput("\n".join(problems))
    if without_domains:
        logger.info(
            "%s: no training clip of %s is of the target domain by its name, so all count as "
            "source clips; back_end.name: local_density needs no domains",
            run.system,
            ", ".join(without_domains),
        )


def settings_of(run: SystemSettings, machine_type: str) -> SystemSettings:
    """Return the settings of a machine type of a joint system; those of others are its own."""
    return run.for_machine(machine_type) if run.joint else run


def clip_columns(clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return machine types, sections and domains of clips: (n_clips,) texts each."""
    names = ("machine_type", "section", "domain")
    machine_types, sections, domains = (
        np.array([getattr(clip, name) for clip in clips], str) for name in names
    )
    return machine_types, sections, domains


def group_names(
    run: SystemSettings, machine_types: np.ndarray, sections: np.ndarray, by_section: bool
) -> np.ndarray:
    """Return the group that each clip is scored in: its machine type, or section: (n_clips,).

    by_section : by the section, whatever the settings say
    """
    parted = {
        name: by_section or settings_of(run, name).back_end.by_section
        for name in set(machine_types.tolist())
    }
    pairs = zip(machine_types.tolist(), sections.tolist(), strict=True)
    return np.array([f"{name} {section}" if parted[name] else name for name, section in pairs])
