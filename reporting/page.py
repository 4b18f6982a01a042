"""The page of a report: report.html, and the lists of clips that it loads as they are asked for."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from core.files import whole_file
from reporting import media, tables
from reporting.figures import Picture, slug
from reporting.media import Heard
from reporting.runs import MEAN_OF_BOTH, SCORE, Gathered, counted
from reporting.significance import Chance, chance_cells, chance_explained, in_words

HERE = Path(__file__).resolve().parent


def save(
    folder: Path,
    found: Gathered,
    rows: Sequence[tables.Row],
    chance: Sequence[Chance],
    drawn: Sequence[Picture],
    heard: Mapping[tuple[str, str], Heard],
    baseline: str,
    param: Mapping[str, Any],
    unheard: Sequence[str],
) -> None:
    """Write report.html and data/*.js into the folder that holds everything else already.

    unheard : a line for everything that could not be drawn or copied
    """
    runs = []
    for run in found.runs:
        data = {}
        for machine_type in dict.fromkeys(key.machine_type for key in sorted(run.sections)):
            path = f"data/{slug(run.name)}_{slug(machine_type)}.js"
            held = list(media.rows(run, machine_type, heard))
            _save_text(folder / path, f"take({_json(quote(path))}, {_json(held)});\n")
            data[machine_type] = quote(path)
        runs.append({"name": run.name, "data": data})
    parts = {"compare": "Comparison", "pictures": "Pictures", "listen": "Listen"}
    body = {
        "compare": _comparison(found, rows, chance, baseline, param),
        "pictures": _pictures(drawn),
    }
    missing = _lines("Missing", found.gaps) + _lines("Left out", found.problems)
    missing += _lines("Not drawn or heard", unheard)
    if missing:
        parts["missing"] = "What is missing"
        body["missing"] = missing
    page = (HERE / "page.html").read_text(encoding="utf-8")
    filled = {
        "css": (HERE / "page.css").read_text(encoding="utf-8"),
        "js": (HERE / "page.js").read_text(encoding="utf-8"),
        "summary": html.escape(summary(found)),
        "rule": html.escape(media.RULE),
        "nav": "".join(f'<a href="#{name}">{title}</a>' for name, title in parts.items()),
        "main": "\n".join(
            f'<section id="{name}"><h2>{parts[name]}</h2>\n{content}</section>'
            for name, content in body.items()
            if content
        ),
        "about": _json({"runs": runs, "ticks": media.ticks(param.feature)}),
    }
    # In one pass, so that a name that looks like a place to fill in stays what it is.
    pieces = page.split("{{")
    text = pieces[0]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        text += filled[name] + rest
    _save_text(folder / "report.html", text)


def summary(found: Gathered) -> str:
    """What the report is over, in a sentence or two."""
    keys = {key for run in found.runs for key in run.sections}
    machine_types = sorted({key.machine_type for key in keys})
    n_clips = sum(
        max(len(run.sections[key].names) for run in found.runs if key in run.sections)
        for key in keys
    )
    text = (
        f"{counted(len(found.systems), 'system')} in {counted(len(found.runs), 'run')}, "
        f"{counted(len(machine_types), 'machine type')} ({', '.join(machine_types)}), "
        f"{counted(len(keys), 'section')}, {counted(n_clips, 'test clip')}."
    )
    if found.gaps:
        text += f" {counted(len(found.gaps), 'gap')}, named below."
    return text


def _comparison(
    found: Gathered,
    rows: Sequence[tables.Row],
    chance: Sequence[Chance],
    baseline: str,
    param: Mapping[str, Any],
) -> str:
    if not rows:
        return "<p>No clip has a label, so there is nothing to compare.</p>"
    names, parts = tables.columns(found), []
    for group, of_group in tables.groups(rows).items():
        cells = tables.marked(of_group, names, "<b>{}</b>".format, tables.GAP, " ± {}", " †")
        body = []
        for row, of_row in zip(of_group, cells, strict=True):
            means = [row.values.get(name, (np.nan,))[0] for name in names]
            body.append(
                f'<tr><th scope="row">{html.escape(row.system)}</th><td>{row.seeds}</td>'
                + "".join(_cell(cell, mean) for cell, mean in zip(of_row, means, strict=True))
                + "</tr>"
            )
        parts.append(_table(group, ["system", "seeds", *names], body))
    notes = tables.explained(found, rows, param.max_fpr)
    name = SCORE if found.with_domains else MEAN_OF_BOTH
    if chance:
        heads, lines = chance_cells(chance, name, html.escape)
        body = [
            f'<tr><th scope="row">{line[0]}</th>'
            + "".join(f"<td>{c}</td>" for c in line[1:])
            + "</tr>"
            for line in lines
        ]
        parts.append(_table(f"95 % intervals of the {name}", heads, body))
        parts += [
            f"<p>{html.escape(words)}</p>"
            for words in (in_words(row, baseline) for row in chance)
            if words
        ]
        notes += chance_explained(param.seed)
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    links = ("comparison.md", "comparison.csv", "comparison.tex", "intervals.csv")
    parts.append(
        "<p>For a paper: " + ", ".join(f'<a href="{name}">{name}</a>' for name in links) + ".</p>"
    )
    return "\n".join(parts)


def _cell(cell: str, mean: float) -> str:
    if not np.isfinite(mean):
        return f'<td class="gap">{cell}</td>'
    return f'<td data-value="{mean!r}">{cell}</td>'


def _table(title: str, heads: Sequence[str], body: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    return (
        f"<h3>{html.escape(title)}</h3>\n"
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>\n'
        + "\n".join(body)
        + "\n</tbody></table></div>"
    )


def _pictures(drawn: Sequence[Picture]) -> str:
    figures = [
        f'<figure><h3>{html.escape(one.heading)}</h3><a href="pictures/{one.stem}.pdf">'
        f'<img src="pictures/{one.stem}.png" alt="{html.escape(one.caption)}" loading="lazy"></a>'
        f"<figcaption>{html.escape(one.caption)}</figcaption></figure>"
        for one in drawn
    ]
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _lines(title: str, said: Sequence[str]) -> str:
    if not said:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in said)
    return f'<h3>{title}</h3><ul class="gaps">{items}</ul>'


def _json(tree: Any) -> str:
    """JSON that neither ends a script nor opens a comment in it."""
    text = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _save_text(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
