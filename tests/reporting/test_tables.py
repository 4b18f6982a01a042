"""The comparison: its cells against result.csv, its best, its gaps, and its three forms."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluation import intervals
from evaluation.csv_files import evaluate_directory
from evaluation.metrics import DOMAINS, EPSILON, official_score
from evaluation.result_csv import write_result_csv
from reporting import tables
from reporting.runs import read_runs
from reporting.significance import ScoreInterval, describe_comparison
from tests import processes
from tests.reporting.report_data import results


def compared(folder: Path) -> tables.Report:
    return tables.compare(read_runs([folder], "./result/{system}"))


def saved(folder: Path, to: Path) -> list[dict[str, str]]:
    tables.save(to, compared(folder))
    with (to / "comparison.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def means_of(path: Path) -> dict[str, dict[str, str]]:
    """Machine type, or "all machine types" → the harmonic means of a result.csv, as written."""
    means, group, heads = {}, "", []
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.reader(stream):
            if len(row) == 1:
                group = row[0]
            elif row and row[0] in ("section", ""):
                heads = row[1:]
            elif row and row[0].startswith("harmonic mean"):
                name = tables.ALL if "over all" in row[0] else group
                means[name] = dict(zip(heads, row[1:], strict=True))
    return means


def test_the_cells_are_those_of_result_csv(tmp_path) -> None:
    folder = results(tmp_path / "result" / "ae", clips=24)
    judged, _ = evaluate_directory(folder)
    write_result_csv(folder / "result.csv", judged)
    lines = saved(tmp_path / "result", tmp_path / "to")
    means = means_of(folder / "result.csv")
    assert [line["machine_type"] for line in lines] == [tables.ALL, "fan", "valve"] == [
        tables.ALL, *sorted(set(means) - {tables.ALL})
    ]  # fmt: skip
    for line in lines:
        for column, cell in means[line["machine_type"]].items():
            assert line[column] == cell
        assert line["official score std"] == ""


def test_the_official_score_is_the_published_definition(tmp_path) -> None:
    folder = results(tmp_path / "ae", clips=24)
    judged, _ = evaluate_directory(folder)
    values = [
        result.metrics[c] for c in ("AUC (source)", "AUC (target)", "pAUC") for result in judged
    ]
    report = compared(tmp_path)
    by_hand = len(values) / sum(1 / value for value in values)
    assert report.rows[0].values["official score"][0] == pytest.approx(by_hand, abs=1e-12)
    assert report.intervals[0].jackknife.score == pytest.approx(by_hand, abs=1e-12)
    both = [result.metrics[f"recall ({d})"] for d in DOMAINS for result in judged]
    by_hand = len(both) / sum(1 / max(value, EPSILON) for value in both)
    assert report.rows[0].values["recall"][0] == pytest.approx(by_hand, abs=1e-12)


def test_mean_and_deviation_over_seeds(tmp_path) -> None:
    scores = []
    for seed in range(3):
        folder = results(tmp_path / "ae" / f"seed_{seed}", seed=seed, clips=24)
        scores.append(official_score(evaluate_directory(folder)[0]))
    report = compared(tmp_path)
    mean, deviation = report.rows[0].values["official score"]
    assert report.rows[0].seeds == 3
    assert mean == pytest.approx(np.mean(scores), abs=1e-12)
    assert deviation == pytest.approx(np.std(scores, ddof=1), abs=1e-12)
    assert report.intervals[0].jackknife.score == pytest.approx(np.mean(scores), abs=1e-12)


def narrow(markdown: str) -> str:
    """Markdown without the spaces that align the columns of its tables."""
    return re.sub(" {2,}", " ", markdown)


def row(group: str, system: str, value: float, complete: bool = True) -> tables.Row:
    return tables.Row(group, system, {"pAUC": (value, np.nan)}, 1, complete)


def test_the_best_of_those_that_can_be_compared_is_bold() -> None:
    given = [
        row("fan", "a", 0.70004),
        row("fan", "b", 0.69996),
        row("fan", "c", 0.6),
        row("fan", "d", 0.9, complete=False),
        row("fan", "e", np.nan),
    ]
    cells = [cell.text("*{}*") for (cell,) in tables.cells(given, ["pAUC"])]
    assert cells == ["*0.700*", "*0.700*", "0.600", "0.900 †", "–"]
    ((only,),) = tables.cells(given[:1], ["pAUC"])
    assert only.text("*{}*") == "0.700"


def test_gaps_are_empty_cells_never_zeros(tmp_path) -> None:
    results(tmp_path / "result" / "ae", clips=24)
    results(tmp_path / "result" / "vae", machines=["fan"], clips=24)
    lines = {
        (line["machine_type"], line["system"]): line
        for line in saved(tmp_path / "result", tmp_path / "to")
    }
    gap = lines["valve", "vae"]
    assert gap.pop("seeds") == gap.pop("complete") == "0"
    assert {value for key, value in gap.items() if key not in ("machine_type", "system")} == {""}
    assert lines[tables.ALL, "vae"]["complete"] == "0"
    markdown = narrow((tmp_path / "to" / "comparison.md").read_text(encoding="utf-8"))
    assert "| vae | 0 |" + " – |" * 7 in markdown
    assert "- vae: 2 of 4 sections missing: valve (all sections)" in markdown
    over_all = next(line for line in markdown.splitlines() if line.startswith("| vae | 1 |"))
    assert over_all.count("†") == 7
    assert "**" not in over_all
    assert "vae & --" in (tmp_path / "to" / "comparison.tex").read_text(encoding="utf-8")


def test_a_seed_with_gaps_does_not_lower_the_mean_of_the_others(tmp_path) -> None:
    results(tmp_path / "ae" / "0", clips=24)
    results(tmp_path / "ae" / "1", seed=1, clips=24, machines=["fan"])
    report = compared(tmp_path)
    of_all, fan, valve = report.rows
    assert (of_all.seeds, fan.seeds, valve.seeds) == (1, 2, 1)
    assert of_all.complete
    # The interval is over what every seed has.
    assert (report.intervals[0].n_sections, report.intervals[0].n_clips) == (2, 48)


def test_without_domains_the_columns_are_those_of_2020(tmp_path) -> None:
    folder = results(tmp_path / "ae", domains=False, clips=24)
    report = compared(tmp_path)
    judged, _ = evaluate_directory(folder)
    auc, pauc = (np.mean([result.metrics[c] for result in judged]) for c in ("AUC", "pAUC"))
    assert report.columns == ["AUC", "pAUC", "mean of AUC and pAUC"]
    values = report.rows[0].values
    assert values["AUC"][0] == pytest.approx(auc, abs=1e-12)
    assert values["mean of AUC and pAUC"][0] == pytest.approx((auc + pauc) / 2, abs=1e-12)
    assert report.intervals[0].jackknife.score == pytest.approx((auc + pauc) / 2, abs=1e-12)


def test_the_test_is_over_the_sections_that_both_have(tmp_path) -> None:
    results(tmp_path / "ae", clips=24)
    results(tmp_path / "vae", seed=1, clips=24, machines=["fan"], lift=3)
    report = compared(tmp_path)
    ae, vae = report.intervals
    assert ae.comparison is None
    assert vae.n_compared == 2
    keys = report.data.labelled[:2]
    runs = [[[run.sections[key] for key in keys]] for run in report.data.runs]
    assert vae.comparison.difference == pytest.approx(
        intervals.score(runs[1]) - intervals.score(runs[0]), abs=1e-12
    )
    (sentence,) = report.comparisons
    assert re.match(
        r"vae scores 0\.\d{3} above ae; 95 % of the differences over redrawn clips", sentence
    )
    assert "(p " in sentence
    assert "2 sections)" in sentence
    assert describe_comparison(ae, "ae") == ""


@pytest.mark.parametrize(
    ("comparison", "where", "between", "verdict", "p"),
    [
        (
            (0.1, 0.05, 0.15, 2 / 2001),
            "0.100 above ae",
            "+0.050 and +0.150",
            "more than the choice of test clips explains",
            "p ≤ 0.001",
        ),
        (
            (-0.01, -0.05, 0.02, 0.4),
            "0.010 below ae",
            "-0.050 and +0.020",
            "the choice of test clips alone can explain as much",
            "p = 0.4",
        ),
    ],
)
def test_the_test_in_words(comparison, where, between, verdict, p) -> None:
    nothing = intervals.Interval(0, 0, 0)
    against = intervals.Comparison(*comparison)
    interval = ScoreInterval("vae", 8, 1, nothing, nothing, 0, against, 1)
    assert describe_comparison(interval, "ae") == (
        f"vae scores {where}; 95 % of the differences over redrawn clips lie between {between}: "
        f"{verdict} ({p}, 1 section)."
    )


def test_intervals_are_named_for_what_they_are(tmp_path) -> None:
    results(tmp_path / "result" / "ae", clips=24)
    results(tmp_path / "result" / "vae", seed=1, clips=24)
    saved(tmp_path / "result", tmp_path / "to")
    with (tmp_path / "to" / "intervals.csv").open(newline="", encoding="utf-8") as stream:
        ae, vae = csv.DictReader(stream)
    data = compared(tmp_path / "result").data
    run = [data.runs[0].sections[key] for key in data.labelled]
    left = intervals.jackknife([run])
    assert (float(ae["jackknife low"]), float(ae["jackknife high"])) == left[1:]
    assert float(ae["official evaluator's field"]) == intervals.evaluator_field(run)
    assert float(ae["official score"]) == left.score
    assert (ae["baseline"], vae["baseline"], vae["sections compared"]) == ("", "ae", "4")
    markdown = (tmp_path / "to" / "comparison.md").read_text(encoding="utf-8")
    assert "N(N − 1)" in markdown
    assert "official evaluator's field" in markdown


def nested(text: str) -> None:
    """Fail where braces or environments of LaTeX do not close in their order."""
    open_ones = []
    for match in re.finditer(r"\\(begin|end)\{(\w+\*?)\}|(?<!\\)([{}])", text):
        kind, name, brace = match.groups()
        if kind == "begin" or brace == "{":
            open_ones.append(name or "{")
        else:
            assert open_ones.pop() == (name or "{")
    assert open_ones == []


STRANGE = r"50%_a&b$#{x}~^\end{document}<i>|`*"


def test_the_latex_compiles(tmp_path) -> None:
    for system in ("ae", "vae", STRANGE):
        results(tmp_path / "result" / system.replace("/", ""), clips=24, machines=["fan", "a_b"])
    saved(tmp_path / "result", tmp_path / "to")
    text = (tmp_path / "to" / "comparison.tex").read_text(encoding="utf-8")
    nested(text)
    for line in text.splitlines():
        bare = re.sub(r"\\[&%$#_{}]|\\\w+", "", line)
        if line.endswith(r"\\"):
            assert len(re.findall("&", bare)) == 7
        assert not re.search(r"[#_~]", re.sub(r"\^\\dagger|\$", "", bare)) or line.startswith("%")
        assert bare.count("$") % 2 == 0
    assert r"\toprule" in text
    assert r"50\%\_a\&b\$\#\{x\}\textasciitilde{}\textasciicircum{}\textbackslash{}end" in text
    engine = next(filter(shutil.which, ("tectonic", "pdflatex")), None)
    if engine:
        (tmp_path / "paper.tex").write_text(
            "\\documentclass[twocolumn]{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\n"
            "\\begin{document}\n" + text + "\\end{document}\n",
            encoding="utf-8",
        )
        command = [engine, "paper.tex"]
        if engine == "pdflatex":
            command[1:1] = ["-halt-on-error", "-interaction=nonstopmode"]
        run = processes.run(command, cwd=tmp_path, timeout=100)
        assert run.returncode == 0, run.stdout[-2000:]
        assert (tmp_path / "paper.pdf").stat().st_size > 1000


def test_markdown_keeps_strange_names_in_their_cells(tmp_path) -> None:
    results(tmp_path / "result" / STRANGE, clips=24)
    saved(tmp_path / "result", tmp_path / "to")
    lines = (tmp_path / "to" / "comparison.md").read_text(encoding="utf-8").splitlines()
    (line, *_) = [line for line in lines if line.startswith("| 50%")]
    assert len(re.findall(r"(?<!\\)\|", line)) == 10
    assert r"\<i\>\|\`\*" in line
