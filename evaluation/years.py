"""How each year of the challenge evaluates results: a table of facts, and the choice from names.

One `Definition` has the columns of result.csv, the clips that each of them takes, the means, the
official score and what the year's published evaluator adds. Nothing else in this package asks for
a year.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

DOMAINS = ("source", "target")
BOTH = ""  # the clips of both domains


class Column(NamedTuple):
    """One figure of a section.

    measure : "AUC", "pAUC", "precision", "recall" or "F1 score"
    normals, anomalies : the domain whose normal clips, or anomalies, it takes, or BOTH
    """

    name: str
    measure: str
    normals: str = BOTH
    anomalies: str = BOTH


@dataclass(frozen=True)
class Definition:
    """How results are evaluated.

    name : what `--year` takes
    years : of the challenge
    title : for people
    endings : pattern of what follows the machine type in the names of all its result files, such
        as "section_00_test"
    columns : in the order of result.csv
    head : the first cells of the header
    by_domain : result.csv has one row per section and domain; the domain is no part of a column
    means : the means of a machine type, as their rows are named
    over_all : a last block has the means over all machine types
    score : the columns whose mean over all machine types and sections is the score
    official : the score is the official one, a harmonic mean; else it is an arithmetic mean
    total_score : result.csv ends in the mean of the score's values in both ways
    pooled : what the evaluator pools over both domains: name → column, for a domain
    auc_all : the evaluator gives the AUC of all clips of a section
    ci95 : the evaluator gives its "official score ci95"
    needs_domains : clips without domains cannot be evaluated so
    without_target : the definition in its place where no clip is in the target domain
    list_contradicts : machine types of which the year's published list contradicts the labels and
        domains that made its ranking
    note : one line for the legend of the table
    """

    name: str
    years: tuple[int, ...]
    title: str
    endings: str
    columns: tuple[Column, ...]
    head: tuple[str, ...] = ("section",)
    by_domain: bool = False
    means: tuple[str, ...] = ("arithmetic mean", "harmonic mean")
    over_all: bool = True
    score: tuple[str, ...] = ()
    official: bool = True
    total_score: bool = False
    pooled: tuple[tuple[str, str], ...] = ()
    auc_all: bool = False
    ci95: bool = False
    needs_domains: bool = True
    without_target: Definition | None = None
    list_contradicts: tuple[str, ...] = ()
    note: str = ""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Return the names of the columns of a section."""
        return tuple(column.name for column in self.columns)

    @property
    def rows(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the rows of a section in result.csv: domain, or "", and its columns."""
        if not self.by_domain:
            return (("", self.column_names),)
        return tuple(
            (domain, tuple(c.name for c in self.columns if c.normals == domain))
            for domain in DOMAINS
        )

    @property
    def header(self) -> tuple[str, ...]:
        """Return the header of a machine type in result.csv."""
        domain, names = self.rows[0]
        return (*self.head, *(name.removesuffix(f" ({domain})") for name in names))


def _of_each_domain(measure: str, anomalies_of_both: bool = False) -> tuple[Column, ...]:
    return tuple(
        Column(f"{measure} ({domain})", measure, domain, BOTH if anomalies_of_both else domain)
        for domain in DOMAINS
    )


def _decided(anomalies_of_both: bool = False) -> tuple[Column, ...]:
    measures = ("precision", "recall", "F1 score")
    return tuple(
        column for measure in measures for column in _of_each_domain(measure, anomalies_of_both)
    )


_RANKED = (*_of_each_domain("AUC", anomalies_of_both=True), Column("pAUC", "pAUC"))
_RANKED_NAMES = tuple(column.name for column in _RANKED)
_POOLED = (
    *(("AUC", "AUC ({})"), ("pAUC", "pAUC"), ("precision", "precision ({})")),
    *(("recall", "recall ({})"), ("F1 score", "F1 score ({})")),
)

YEAR_2020 = Definition(
    name="2020",
    years=(2020,),
    title="DCASE 2020",
    endings=r"id_\d+(_test)?",
    columns=(Column("AUC", "AUC"), Column("pAUC", "pAUC")),
    head=("id",),
    means=("Average",),
    over_all=False,
    score=("AUC", "pAUC"),
    official=False,
    needs_domains=False,
    note="evaluated as DCASE 2020: no domains, arithmetic means",
)
# AUC and pAUC within the domain; the evaluator's means of one domain cover it (see docs).
YEAR_2021 = Definition(
    name="2021",
    years=(2021,),
    title="DCASE 2021",
    endings=r"section_\d+_(source|target)(_test)?",
    columns=(*_of_each_domain("AUC"), *_of_each_domain("pAUC"), *_decided()),
    head=("section", "domain"),
    by_domain=True,
    score=tuple(column.name for measure in ("AUC", "pAUC") for column in _of_each_domain(measure)),
    pooled=(_POOLED[0], ("pAUC", "pAUC ({})"), *_POOLED[2:]),
    note="evaluated as DCASE 2021: every column takes the clips of one domain only",
)
YEAR_2022 = Definition(
    name="2022",
    years=(2022,),
    title="DCASE 2022",
    endings=r".*",
    columns=(*_RANKED, *_decided()),
    score=_RANKED_NAMES,
    pooled=_POOLED,
    auc_all=True,
    ci95=True,
    list_contradicts=("ToyCar", "ToyTrain"),
)
MOBILENET_V2_2022 = replace(
    YEAR_2022,
    name="2022_mobilenet_v2",
    title="MobileNetV2's release of DCASE 2022",
    columns=(*_RANKED, *_decided(anomalies_of_both=True)),
    head=("",),
    note="precision, recall and F1 score of a domain take the anomalies of both domains, as "
    "MobileNetV2's release of 2022 does",
)
# The common baseline since 2023 on data with one domain.
_FROM_2023_ONE_DOMAIN = Definition(
    name="2023",
    years=(2023, 2024, 2025, 2026),
    title="DCASE 2023 to 2026, no target clips",
    endings=r"section_00(_test)?",
    columns=tuple(
        Column(name, name) for name in ("AUC", "pAUC", "precision", "recall", "F1 score")
    ),
    score=("AUC", "pAUC"),
    total_score=True,
    needs_domains=False,
    note="evaluated as DCASE 2023 to 2026 without clips of the target domain",
)
FROM_2023 = Definition(
    name="2023",
    years=(2023, 2024, 2025, 2026),
    title="DCASE 2023 to 2026",
    endings=r"section_00(_test)?",
    columns=(*_RANKED, *_of_each_domain("pAUC"), *_decided()),
    score=_RANKED_NAMES,
    total_score=True,
    pooled=_POOLED,
    auc_all=True,
    ci95=True,
    without_target=_FROM_2023_ONE_DOMAIN,
    note="evaluated as DCASE 2023 to 2026",
)

# In the order in which they are tried on names; 2022 takes all that is left.
DEFINITIONS = (YEAR_2020, YEAR_2021, FROM_2023, YEAR_2022)
ALL_DEFINITIONS = (*DEFINITIONS, MOBILENET_V2_2022, _FROM_2023_ONE_DOMAIN)
# What `--year` takes.
NAMES = {
    **{str(year): one for one in DEFINITIONS for year in one.years},
    MOBILENET_V2_2022.name: MOBILENET_V2_2022,
}
NAMES = dict(sorted(NAMES.items()))


def choose(
    endings: Iterable[str],
    domains: Collection[str | None],
    year: str | None = None,
    stated: Collection[int] = (),
) -> Definition:
    """Return the definition for results.

    Parameters
    ----------
    endings : of the names of all result files, such as "section_00_test", "id_01"
    domains : of all clips with a label, None for those without a domain
    year : what `--year` says, one of NAMES, or None to go by the names
    stated : the years in the names of the files, where these have one

    Clips without any domain are evaluated as in 2020, unless a year is given.

    Raises ValueError where a year is given whose definition needs domains, and no clip has one.
    """
    definition = NAMES[year] if year else by_names(endings, stated)
    one_domain = "target" not in domains and (year or "source" in domains)
    if definition.without_target and one_domain:
        return definition.without_target
    if definition.needs_domains and domains and set(domains) <= {None}:
        if year:
            raise ValueError(
                f"--year {year} needs the domain of every clip, source or target, and neither the "
                "names nor the ground truth have one"
            )
        return YEAR_2020
    return definition


def by_names(endings: Iterable[str], stated: Collection[int] = ()) -> Definition:
    """Return the definition of the year that names tell; see `choose`."""
    named = {one.name: one for year in stated if (one := NAMES.get(str(year)))}
    if len(named) == 1:
        return next(iter(named.values()))
    found = set(endings)
    fitting = [one for one in DEFINITIONS if all(re.fullmatch(one.endings, e) for e in found)]
    return fitting[0] if found else YEAR_2022


def of_columns(columns: Iterable[str]) -> Definition | None:
    """Return the first definition with these columns of a section; None where none has them."""
    names = tuple(columns)
    return next((one for one in ALL_DEFINITIONS if one.column_names == names), None)


def of_header(header: Iterable[str]) -> Definition | None:
    """Return the definition whose machine types have this header in result.csv."""
    cells = tuple(header)
    return next((one for one in ALL_DEFINITIONS if one.header == cells), None)


def variants(definition: Definition) -> list[Definition]:
    """Return the definitions of the same years that differ in what a column takes only."""
    return [
        one
        for one in ALL_DEFINITIONS
        if (one.years, one.column_names) == (definition.years, definition.column_names)
    ]
