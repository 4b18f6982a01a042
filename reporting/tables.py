"""The comparison of systems as Markdown, CSV and LaTeX, and its intervals and tests in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.files import save_csv, whole_file
from evaluation.metrics import (
    DOMAINS,
    OFFICIAL_SCORE_COLUMNS,
    PLAIN_COLUMNS,
    SectionResult,
    arithmetic_mean,
    harmonic_mean,
    official_score,
)
from reporting.runs import MEAN_OF_BOTH, SCORE, Gathered
from reporting.significance import Chance, chance_cells, chance_explained, in_words, interval_rows

ALL = "all machine types"

BOTH_DOMAINS = ("precision", "recall", "F1 score")
GAP = "–"

_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


@dataclass(frozen=True)
class Row:
    """A system in the comparison of one machine type, or of ALL.

    values : column → (mean over seeds, standard deviation over them); NaN where there is none
    seeds : how many runs the means are over
    whole : whether these runs have every section that any run has
    """

    group: str
    system: str
    values: dict[str, tuple[float, float]]
    seeds: int
    whole: bool


def columns(found: Gathered) -> list[str]:
    """The columns of the comparison."""
    if found.with_domains:
        return [*OFFICIAL_SCORE_COLUMNS, SCORE, *BOTH_DOMAINS]
    return [*PLAIN_COLUMNS, MEAN_OF_BOTH]


def compare(found: Gathered, max_fpr: float) -> list[Row]:
    """A row a system, for all machine types first, then for each; none without labels.

    Where some of a system's runs lack sections of a group, its row is over the others; where all
    do, it is over what there is and not `whole`.
    """
    results = {
        run.directory: [section.evaluate(max_fpr) for section in run.labelled.values()]
        for run in found.runs
    }
    wanted = [(key.machine_type, key.section.partition("_")[2]) for key in found.labelled]
    if not wanted:
        return []
    rows = []
    for group in [ALL, *dict.fromkeys(machine_type for machine_type, _ in wanted)]:
        size = sum(group in (ALL, machine_type) for machine_type, _ in wanted)
        for system, runs in found.systems.items():
            held = [
                [result for result in results[run.directory] if group in (ALL, result.machine_type)]
                for run in runs
            ]
            held = [of_run for of_run in held if of_run]
            whole = [of_run for of_run in held if len(of_run) == size]
            used = [_metrics(of_run) for of_run in whole or held]
            values = {
                name: (
                    float(np.mean([one[name] for one in used])),
                    float(np.std([one[name] for one in used], ddof=1)) if len(used) > 1 else np.nan,
                )
                for name in (used[0] if used else ())
            }
            rows.append(Row(group, system, values, len(used), bool(whole)))
    return rows


def _metrics(results: Sequence[SectionResult]) -> dict[str, float]:
    """The means of result.csv, the official score, and the means over both domains together."""
    values = [list(result.metrics.values()) for result in results]
    names = tuple(results[0].metrics)
    if names == PLAIN_COLUMNS:
        means = dict(zip(names, arithmetic_mean(values).tolist(), strict=True))
        return {**means, MEAN_OF_BOTH: float(np.mean(list(means.values())))}
    means = dict(zip(names, harmonic_mean(values).tolist(), strict=True))
    for name in BOTH_DOMAINS:
        both = [[result.metrics[f"{name} ({domain})"]] for result in results for domain in DOMAINS]
        means[name] = float(harmonic_mean(both)[0])
    return {**means, SCORE: official_score(results)}


def explained(found: Gathered, rows: Sequence[Row], max_fpr: float) -> list[str]:
    """How to read the tables, a sentence or two a line."""
    mean = "harmonic" if found.with_domains else "arithmetic"
    lines = [
        f"Means over machine types and sections are {mean}, as in result.csv"
        f"{', so one section at 0 makes a mean 0' if found.with_domains else ''}; pAUC is taken "
        f"up to a false alarm rate of {max_fpr:g}."
    ]
    if found.with_domains:
        lines.append("Precision, recall and F1 score are over the sections of both domains.")
    if any(len(runs) > 1 for runs in found.systems.values()):
        lines.append("± is the standard deviation over seeds.")
    if not all(row.whole for row in rows):
        lines.append(
            "† The mean is over fewer sections than others have, and competes with none of theirs; "
            f"{GAP}: no result."
        )
    return lines


def marked(
    rows: Sequence[Row],
    names: Sequence[str],
    bold: Callable[[str], str],
    gap: str,
    spread: str,
    dagger: str,
) -> list[list[str]]:
    """The cells of one group's rows: three decimals, the best of each column in bold."""
    best = {}
    for name in names:
        rounded = [
            round(row.values[name][0], 3)
            for row in rows
            if row.whole and np.isfinite(row.values.get(name, (np.nan,))[0])
        ]
        best[name] = max(rounded) if len(set(rounded)) > 1 else None
    table = []
    for row in rows:
        cells = []
        for name in names:
            mean, deviation = row.values.get(name, (np.nan, np.nan))
            if not np.isfinite(mean):
                cells.append(gap)
                continue
            text = f"{mean:.3f}"
            if row.whole and round(mean, 3) == best[name]:
                text = bold(text)
            if np.isfinite(deviation):
                text += spread.format(f"{deviation:.3f}")
            cells.append(text if row.whole else text + dagger)
        table.append(cells)
    return table


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Machine type, or ALL → its rows."""
    return {row.group: [other for other in rows if other.group == row.group] for row in rows}


def save(
    folder: Path,
    found: Gathered,
    rows: Sequence[Row],
    chance: Sequence[Chance],
    baseline: str,
    max_fpr: float,
    seed: int,
) -> None:
    """Write comparison.md, comparison.csv, comparison.tex and intervals.csv."""
    names = columns(found)
    every = list(dict.fromkeys([*names, *(name for row in rows for name in row.values)]))
    heads = [head for name in every for head in (name, f"{name} std")]
    table: list[list[Any]] = [["machine_type", "system", "seeds", "complete", *heads]]
    for row in rows:
        pairs = [row.values.get(name, (np.nan, np.nan)) for name in every]
        table.append(
            [
                row.group,
                row.system,
                row.seeds,
                int(row.whole),
                *("" if np.isnan(value) else repr(value) for pair in pairs for value in pair),
            ]
        )
    save_csv(folder / "comparison.csv", table)
    save_csv(folder / "intervals.csv", interval_rows(found, chance, baseline))
    _save_text(folder / "comparison.md", markdown(found, rows, chance, baseline, max_fpr, seed))
    _save_text(folder / "comparison.tex", latex(found, rows))


def markdown(
    found: Gathered,
    rows: Sequence[Row],
    chance: Sequence[Chance],
    baseline: str,
    max_fpr: float,
    seed: int,
) -> str:
    """The comparison, the intervals, the tests and the gaps as GitHub's Markdown."""
    names, lines = columns(found), ["# Comparison", ""]
    for group, of_group in groups(rows).items():
        cells = marked(of_group, names, "**{}**".format, GAP, " ± {}", " †")
        lines += [f"## {_md(group)}", ""]
        lines += _md_table(
            ["system", "seeds", *names],
            [
                [_md(row.system), str(row.seeds), *of_row]
                for row, of_row in zip(of_group, cells, strict=True)
            ],
        )
    lines += [*explained(found, rows, max_fpr), ""]
    if chance:
        name = SCORE if found.with_domains else MEAN_OF_BOTH
        lines += [f"## 95 % intervals of the {name}", ""]
        lines += _md_table(*chance_cells(chance, name, _md))
        lines += [line for line in (_md(in_words(row, baseline)) for row in chance) if line]
        lines += ["", *chance_explained(seed), ""]
    for title, said in (("Missing", found.gaps), ("Left out", found.problems)):
        if said:
            lines += [f"## {title}", "", *(f"- {_md(line)}" for line in said), ""]
    return "\n".join(lines)


def on_screen(found: Gathered, rows: Sequence[Row], chance: Sequence[Chance], baseline: str) -> str:
    """The comparison over all machine types, the intervals and the tests, for a terminal."""
    of_all = groups(rows).get(ALL)
    if not of_all:
        return "no clip has a label, so there is nothing to compare"
    names = columns(found)
    cells = marked(of_all, names, str, GAP, " ± {}", " †")
    lines = _aligned(
        [ALL, *names], [[row.system, *of_row] for row, of_row in zip(of_all, cells, strict=True)]
    )
    if chance:
        name = SCORE if found.with_domains else MEAN_OF_BOTH
        lines += ["", *_aligned(*chance_cells(chance, name))]
    said = [in_words(row, baseline) for row in chance]
    return "\n".join([*lines, "", *filter(None, said)]).rstrip() + "\n"


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    wide = [max(len(line[place]) for line in [heads, *rows]) for place in range(len(heads))]
    return [
        "  ".join(
            f"{cell:>{width}}" if place else f"{cell:<{width}}"
            for place, (cell, width) in enumerate(zip(line, wide, strict=True))
        )
        for line in [heads, *rows]
    ]


def latex(found: Gathered, rows: Sequence[Row]) -> str:
    """A table a group, to paste into a paper that loads booktabs."""
    names = columns(found)
    lines = [r"% \usepackage{booktabs}"]
    for group, of_group in groups(rows).items():
        cells = marked(
            of_group,
            names,
            r"\textbf{{{}}}".format,
            "--",
            r"{{\,\scriptsize$\pm${}}}",
            r"$^\dagger$",
        )
        note = (
            ""
            if all(row.whole for row in of_group)
            else r" $^\dagger$: over fewer sections than the others; --: no result."
        )
        several = any(row.seeds > 1 for row in of_group)
        spread = ", mean $\\pm$ standard deviation over seeds" if several else ""
        lines += [
            "",
            r"\begin{table*}[t]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{Results on {latex_escape(group)}{spread}.{note}}}",
            rf"\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', group)}}}",
            rf"\begin{{tabular}}{{@{{}}l{'c' * len(names)}@{{}}}}",
            r"\toprule",
            " & ".join(["system", *map(latex_escape, names)]) + r" \\",
            r"\midrule",
            *(
                " & ".join([latex_escape(row.system), *of_row]) + r" \\"
                for row, of_row in zip(of_group, cells, strict=True)
            ),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
        ]
    return "\n".join(lines) + "\n"


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(letter, letter) for letter in text if letter.isprintable())


def _md(text: str) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def _md_table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _save_text(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
