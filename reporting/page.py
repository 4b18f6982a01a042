"""The page of a report: report.html, and the lists of clips that it loads as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.run_settings import SharedSettings
from reporting import media, tables
from reporting.figures import Picture
from reporting.folder import save_text, slug
from reporting.media import ClipKey, ClipMedia
from reporting.runs import ReportData, Run, counted
from reporting.significance import interval_cells, interval_notes

HERE = Path(__file__).resolve().parent
FILES = ("comparison.md", "comparison.csv", "comparison.tex", "intervals.csv")


def save(
    folder: Path,
    report: tables.Report,
    pictures: Sequence[Picture],
    clips: Mapping[ClipKey, ClipMedia],
    settings: SharedSettings,
) -> None:
    """Write report.html and data/*.js into the folder that holds everything else already."""
    environment = _environment()
    data = report.data
    runs = [
        {"name": run.name, "data": _save_clips(folder, environment, run, clips)}
        for run in data.runs
    ]
    heads, rows = interval_cells(data, report.intervals)
    missing = {
        "Missing": data.gaps,
        "Left out": data.problems,
        "Not drawn or heard": data.not_shown,
    }
    text = environment.get_template("page.html.jinja").render(
        # These two are files of this package, not data, so they need no escaping.
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        js=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        summary=summary(data),
        report=report,
        gap=tables.GAP,
        interval_heads=heads,
        interval_rows=rows,
        notes=tables.notes(report) + (interval_notes(data.seed) if report.intervals else []),
        files=FILES,
        pictures=pictures,
        missing={title: lines for title, lines in missing.items() if lines},
        rule=media.CHOICE_RULE,
        about={"runs": runs, "ticks": media.ticks(settings.feature)},
    )
    save_text(folder / "report.html", text)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    # NaN is no JSON: better no page than one that cannot load it. `tojson` itself escapes what
    # would end the script.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _save_clips(
    folder: Path, environment: Environment, run: Run, clips: Mapping[ClipKey, ClipMedia]
) -> dict[str, str]:
    """Write a run's clips as one script per machine type: machine type → its address."""
    script = environment.from_string("take({{ address|tojson }}, {{ sections|tojson }});\n")
    addresses = {}
    for machine_type in dict.fromkeys(key.machine_type for key in sorted(run.sections)):
        path = f"data/{slug(run.name)}_{slug(machine_type)}.js"
        addresses[machine_type] = quote(path)
        sections = list(media.section_lists(run, machine_type, clips))
        save_text(folder / path, script.render(address=quote(path), sections=sections))
    return addresses


def summary(data: ReportData) -> str:
    """Return what the report is over, in a sentence or two."""
    machine_types = list(dict.fromkeys(key.machine_type for key in data.sections))
    n_clips = sum(
        max(len(run.sections[key].names) for run in data.runs if key in run.sections)
        for key in data.sections
    )
    text = (
        f"{counted(len(data.systems), 'system')} in {counted(len(data.runs), 'run')}, "
        f"{counted(len(machine_types), 'machine type')} ({', '.join(machine_types)}), "
        f"{counted(len(data.sections), 'section')}, {counted(n_clips, 'test clip')}."
    )
    if data.gaps:
        text += f" {counted(len(data.gaps), 'gap')}, named below."
    return text
