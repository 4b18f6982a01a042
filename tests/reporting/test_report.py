"""02_report.py as a user runs it: what it prints, what it writes, and what it does not touch."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from core.errors import BadInput
from core.script import run_script
from reporting import folder, media
from tests import processes
from tests.conftest import ROOT
from tests.reporting.report_data import dataset, names, results, write

SPEC = importlib.util.spec_from_file_location("report_script", ROOT / "02_report.py")
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)


def run(*arguments: object) -> int:
    return run_script(lambda: script.main([str(argument) for argument in arguments]))


@pytest.mark.slow
def test_help_and_a_report_without_models_do_not_start_tensorflow(tmp_path) -> None:
    results(tmp_path / "result" / "ae")
    results(tmp_path / "result" / "idnn", seed=1)
    for arguments in (["--help"], []):
        command = [sys.executable, "-X", "importtime", str(ROOT / "02_report.py"), *arguments]
        done = processes.run(command, cwd=tmp_path, timeout=100)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "| tensorflow" not in done.stderr
        assert ("matplotlib" in done.stderr) == (not arguments)
    assert "official score" in done.stdout
    assert "idnn scores" in done.stdout
    assert done.stdout.endswith("report -> report/report.html\n")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        *("comparison.csv", "comparison.md", "comparison.tex", "data", "intervals.csv"),
        *("pictures", "report.html"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "empty: no anomaly_score_*.csv in it or below"),
        (["nowhere"], "nowhere: no such directory"),
        ([], "no results to report; 01_test.py makes them"),
        (["result", "--baseline", "aee"], "--baseline aee: no results of it; did you mean ae?"),
        (["result", "--config", "no.yaml"], "no.yaml: cannot read the config"),
        (["result", "--set", "max_fp=1"], "unknown key max_fp; did you mean max_fpr?"),
        (["result", "--to", "result"], "it holds something else than a report"),
        (["result", "--to", "file"], "it holds something else than a report"),
        (["result", "--to", "file/below"], "cannot be written"),
    ],
)
def test_bad_input_is_one_message_and_nothing_written(
    arguments, message, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    results(tmp_path / "result" / "ae")
    before = sorted(tmp_path.rglob("*"))
    directory = [] if arguments else ["--set", "result_directory=./other/{system}"]
    assert run(*arguments, *directory) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_option_is_misuse(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("--basline", "ae")
    assert stopped.value.code == 2
    assert "--baseline" in capsys.readouterr().err


def test_what_is_skipped_and_missing_is_named_on_screen_and_on_the_page(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reporting.figures.draw", lambda *_: [])
    dataset(tmp_path, machines=["fan"], sections=["00"])
    (tmp_path / "dev_data" / "fan" / "test" / names()[0]).unlink()
    for seed in (0, 1):
        results(tmp_path / "result" / "ae" / str(seed), seed=seed, sections=["00"])
    results(tmp_path / "result" / "idnn" / "0", sections=["00"], machines=["fan"])
    bad = tmp_path / "result" / "ae" / "1" / "anomaly_score_valve_section_00_test.csv"
    write(bad, [[names()[0], 1.0], [names()[0], 2.0]])
    assert run("result", "--set", "dev_directory=dev_data") == 0
    warnings = capsys.readouterr().err
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    for line in (
        f"{names()[0]} a second time",
        "ae seed 1: 1 of 2 sections missing: valve (all sections)",
        "idnn: 1 of 2 seeds missing: 1",
        "idnn seed 0: 1 of 2 sections missing: valve (all sections)",
        "fan section 00: 1 of 8 clips are neither in dev_directory (dev_data)",
        "ae seed 0, idnn seed 0: these results lie elsewhere than the settings say",
    ):
        assert line in warnings
        assert line in page
    assert "3 gaps, named below" in page


def test_strange_names_are_text_on_the_page(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reporting.figures.draw", lambda *_: [])
    strange = "<img src=x>'\"& {{ 7 * 7 }}{% raw %}"
    results(tmp_path / "result" / strange / "0", machines=[f"fan{strange}"])
    results(tmp_path / "result" / strange / "1", machines=["fan"])
    assert run("result") == 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;&#39;&#34;&amp; {{ 7 * 7 }}{% raw %}" in page
    assert "\\u003cimg src=x\\u003e" in page
    for path in (tmp_path / "report" / "data").iterdir():
        assert path.read_text(encoding="utf-8").startswith('take("data/')
        assert "<" not in path.read_text(encoding="utf-8")


def test_the_same_command_again_replaces_the_report_as_a_whole(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    results(tmp_path / "result" / "ae", machines=["fan"], sections=["00"])
    monkeypatch.setattr("reporting.figures.draw", lambda *_: [])
    assert run("result") == 0
    (tmp_path / "report" / "pictures").mkdir()
    first = (tmp_path / "report" / "comparison.csv").read_bytes()
    assert run("result") == 0
    assert not (tmp_path / "report" / "pictures").exists()
    assert (tmp_path / "report" / "comparison.csv").read_bytes() == first
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["report", "result"]


def test_an_interrupted_report_leaves_the_old_one(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    results(tmp_path / "result" / "ae", machines=["fan"], sections=["00"])
    to = tmp_path / "report"
    to.mkdir()
    (to / "report.html").write_text(folder.MARK + "the old one")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(media, "collect", interrupted)
    monkeypatch.setattr("reporting.figures.draw", lambda *_: [])
    assert run("result") == 130
    assert capsys.readouterr().err == "\ninterrupted; the same command goes on from here\n"
    assert [path.name for path in to.iterdir()] == ["report.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".report.lock", "report", "result"]


@pytest.mark.parametrize("at", ["made", "put aside"])
def test_what_a_killed_report_left_is_put_right(tmp_path, at) -> None:
    to, made, old = (tmp_path / name for name in ("report", ".report.new", ".report.old"))
    for place in (made, to if at == "made" else old):
        place.mkdir()
        (place / "page").write_text(place.name)
    with pytest.raises(KeyboardInterrupt), folder.replaced(to) as beside:
        assert list(beside.iterdir()) == []
        raise KeyboardInterrupt
    assert (to / "page").read_text() in ("report", ".report.old")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".report.lock", "report"]


def test_interrupted_between_the_renames(tmp_path, monkeypatch) -> None:
    to = tmp_path / "report"
    to.mkdir()
    (to / "page").touch()
    rename = os.replace

    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), folder.replaced(to):
        pass
    assert (to / "page").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".report.lock", "report"]


def test_a_second_report_to_the_same_place_does_not_touch_the_first(tmp_path) -> None:
    to = tmp_path / "report"
    with folder.replaced(to) as made:
        (made / "page").touch()
        with pytest.raises(BadInput, match="another run is at work"), folder.replaced(to):
            pass
    assert (to / "page").exists()


def test_a_full_disk_is_one_message(tmp_path) -> None:
    to = tmp_path / "report"
    with pytest.raises(BadInput, match=r"x\.png: cannot be written"), folder.replaced(to):
        raise OSError(28, "No space left on device", "x.png")
    assert [path.name for path in tmp_path.iterdir()] == [".report.lock"]


def test_results_without_labels_are_for_listening_only(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"section_03_{index:04d}.wav", index) for index in range(4)]
    write(Path("result/ae/anomaly_score_fan_section_03_test.csv"), rows)
    assert run("result") == 0
    assert "no clip has a label, so there is nothing to compare" in capsys.readouterr().out
    assert "nothing to compare" in (tmp_path / "report/report.html").read_text(encoding="utf-8")
    assert "section_03_0003.wav" in next((tmp_path / "report/data").iterdir()).read_text()
