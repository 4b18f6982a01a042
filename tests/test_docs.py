"""The pages are true: links, commands, options, settings, files and targets of make are checked.

Each rule lists everything that breaks it, with page and line. Code in a page is a code span, or a
line of a code block.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import yaml
from markdown_it import MarkdownIt
from pydantic import BaseModel

from core import settings
from core.command_line import assignment
from core.errors import BadInput
from core.run_settings import SharedSettings
from core.system_settings import system_classes
from tests.conftest import ROOT

MOST_README_LINES = 250

SCRIPTS = tuple(sorted(path.name for path in ROOT.glob("[0-9][0-9]_*.py")))
TOOLS = (
    *("tools.demo_data", "tools.download", "tools.import_checkpoint", "tools.localize"),
    "tools.reproduce",
)
PROGRAMS = (
    *SCRIPTS,
    *TOOLS,
    "evaluation",
    "benchmarks.run",
    "benchmarks.batches",
    "benchmarks.growth",
    "benchmarks.memory",
    "benchmarks.scale",
    "benchmarks.originals",
)

# Long options of other programs, and modules of others that `python -m` runs.
OTHER_OPTIONS = {
    "srun": "--nodes --ntasks",
    "#SBATCH": "--nodes --ntasks-per-node --cpus-per-task",
    "ray": "--head --port --num-cpus --block --address --autoscaling-config",
}
OTHER_MODULES = {"venv", "pytest"}

# The first part of a path that is not in the repository: made by a run, or of one's own.
NOT_IN_REPOSITORY = {
    *("demo", "model", "result", "report", "cache", "logs", "my_data", ".venv", "..", "~", ""),
    *(
        "task2",
        "dev_data",
        "fan",
        "train",
        "test",
        "ground_truth_data",
        "ground_truth_domain",
        "Label",
    ),
    "ground_truth_attributes",
    *("reproduce", "clips", "spectrograms", "maps", "pictures", "#!", "FILE-SYSTEM:"),
}
NOT_A_FILE = {"cluster.yaml", "ray_bootstrap_config.yaml", "comparison.md"}
# Names of functions, columns, files and values that look like settings.
NOT_A_SETTING = {
    *("ground_truth", "source_test", "target_test", "model_all"),
    *("harmonic_mean_auc", "harmonic_mean_pauc", "auc_source", "auc_target"),
    *("tf.nn.moments", "dev_data", "eval_data", "vel_6"),
    *("log_mel", "machine_type", "last_class", "ae_asd", "selective_mahalanobis"),  # values
    *("nearest_neighbour", "k_means", "local_density", "gaussian_mixture"),
    *("local_outlier_factor", "mean_and_deviation", "attributes_and_domain"),
    # Recipes of a release.
    *("dis_spec_scac_trainable", "dis_multispec_scac_trainable", "scac_fixed", "adacos_fixed"),
}
PLACEHOLDERS = {"key", "key.path", "KEY"}
OTHER_YAML = {"cluster_name"}  # the first key of a YAML block of another program

# Where names of Python are looked up: modules, and classes of modules.
PYTHON_NAMES = {
    "System": "models/base.py",
    "SystemSettings": "core/run_settings.py",
    "common": "common.py",
    "keras_model": "keras_model.py",
}

HOSTS = {"arxiv.org", "docs.ray.io", "github.com"}


class Passage(NamedTuple):
    """A sentence, a row of a table, or a logical line of a code block.

    page : from the root, "docs/data.md"
    line : where its paragraph or block begins, or the line of the block
    section : number of the heading that it stands under
    text : in Markdown; of a block the plain line
    code : the code spans, or the line of the block
    """

    page: str
    line: int
    section: int
    text: str
    code: tuple[str, ...]
    is_block: bool

    def at(self, problem: str) -> str:
        return f"{self.page}:{self.line}: {problem}"


class Page(NamedTuple):
    """A page. path : from the root; blocks, links : (line, text) of each."""

    path: str
    text: str
    passages: list[Passage]
    blocks: list[tuple[int, str]]
    links: list[tuple[int, str]]
    anchors: set[str]


@pytest.fixture(autouse=True)
def _no_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check settings against the classes, which other tests compare with baseline.yaml."""
    monkeypatch.setattr(settings, "BASELINE", ROOT / "no_baseline.yaml")


Rule = Callable[[list[Page]], Iterator[str]]


def read_page(path: str, text: str) -> Page:
    page = Page(path, text, [], [], [], set())
    section, row = 0, []
    tokens = MarkdownIt().enable("table").parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence":
            page.blocks.append((line, token.content))
            for number, code in logical_lines(token.content):
                page.passages.append(Passage(path, line + number, section, code, (code,), True))
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            page.passages.append(prose(path, row[0][0], section, " | ".join(t for _, t in row)))
        elif token.type == "inline":
            if before.type == "heading_open":
                section += 1
                page.anchors.add(anchor(token.content, page.anchors))
            page.links.extend(
                (line, child.attrs["href"]) for child in token.children if child.type == "link_open"
            )
            if before.type in ("td_open", "th_open"):
                row.append((line, token.content))
                continue
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z`\[*])", token.content):
                page.passages.append(prose(path, line, section, sentence))
    return page


def prose(path: str, line: int, section: int, text: str) -> Passage:
    spans = tuple(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))
    return Passage(path, line, section, text, spans, False)


def logical_lines(block: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a block; a shell loop's lines once per value."""
    values: dict[str, list[str]] = {}
    for number, line in enumerate(block.replace("\\\n", " ").splitlines(), start=1):
        if loop := re.match(r"for (\w+) in (.*?);", line):
            values = {loop[1]: loop[2].split()}
        used = [(name, words) for name, words in values.items() if f"${name}" in line]
        for name, words in used:
            yield from ((number, line.replace(f"${name}", word)) for word in words)
        if not used:
            yield number, line


def anchor(heading: str, taken: set[str]) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
    again = (f"{name}-{number}" for number in range(1, 100))
    return name if name not in taken else next(other for other in again if other not in taken)


@functools.cache
def pages() -> list[Page]:
    paths = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))]
    return [read_page(path, read(path)) for path in ["readme.md", *paths]]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def all_passages(pages: list[Page]) -> Iterator[Passage]:
    return (passage for page in pages for passage in page.passages)


class Parsed(Exception):
    """Carries the parser of a program out of its main."""


@functools.cache
def parser_of(program: str) -> argparse.ArgumentParser:
    """Return the parser of a program: its main runs until it would parse the command line."""

    def stop(parser: argparse.ArgumentParser, *_: Any) -> None:
        raise Parsed(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [program])
        if program.endswith(".py"):
            main = runpy.run_path(str(ROOT / program))["main"]
        else:
            is_package = (ROOT / program / "__main__.py").is_file()
            main = importlib.import_module(program + ".__main__" * is_package).main
        with pytest.raises(Parsed) as caught:
            main()
    return caught.value.args[0]


def options_of(program: str) -> set[str]:
    return set(parser_of(program)._option_string_actions)


def commands(passage: Passage) -> Iterator[tuple[str, list[str]]]:
    """Yield the program and the arguments of each command of ours in a passage."""
    for code in passage.code:
        for pattern in (r"python[\d.]*\s+(?:-m\s+)?([\w./]+)(.*)", r"(\d\d_\w+\.py)( -.*)"):
            command = re.search(pattern, code)
            if command and command[1] not in OTHER_MODULES and not command[1].endswith(".NAME"):
                yield command[1], shlex.split(command[2], comments=True)
                break


def named_programs(passage: Passage) -> set[str]:
    words = {word for code in passage.code for word in re.findall(r"[\w.]+", code)}
    return {program for program in PROGRAMS if program in words}


def options_in(code: str) -> list[str]:
    return re.findall(r"(?<![\w/.=*-])--[a-z][\w-]*|^-[a-z]$", re.sub(r"\s#.*", "", code))


def broken_links(pages: list[Page]) -> Iterator[str]:
    """Links to files and anchors that are not there."""
    by_path = {page.path: page for page in pages}
    for page in pages:
        for line, link in page.links:
            if re.match(r"https?://", link):
                continue
            file, _, part = link.partition("#")
            target = (ROOT / page.path).parent / file if file else ROOT / page.path
            if not target.exists():
                yield f"{page.path}:{line}: {link}: there is no such file"
                continue
            place = target.resolve().relative_to(ROOT).as_posix()
            if part and (place not in by_path or part not in by_path[place].anchors):
                yield f"{page.path}:{line}: {link}: there is no such heading"


def refused_commands(pages: list[Page]) -> Iterator[str]:
    """Commands that their program would refuse, or whose settings it would refuse."""
    for passage in all_passages(pages):
        for program, words in commands(passage):
            if program not in SCRIPTS and not importable(program):
                yield passage.at(f"{program}: there is no such script or module")
                continue
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                try:
                    args = parser_of(program).parse_args(words)
                except SystemExit as stop:
                    if stop.code:
                        yield passage.at(errors.getvalue().splitlines()[-1])
                    continue
            if program.startswith("benchmarks"):
                continue
            config = getattr(args, "config", None)
            if config and not (ROOT / config).is_file():
                yield passage.at(f"{config}: there is no such config")
            yield from map(passage.at, wrong_values(getattr(args, "set", [])))


def importable(program: str) -> bool:
    place = ROOT / program.replace(".", "/")
    return place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()


def unknown_options(pages: list[Page]) -> Iterator[str]:
    """Options that no program named in the sentence, else in the section, else at all, has."""
    for page in pages:
        in_section: dict[int, set[str]] = {}
        for passage in page.passages:
            in_section.setdefault(passage.section, set()).update(named_programs(passage))
        for passage in page.passages:
            if passage.is_block and list(commands(passage)):
                continue  # its parser has judged it
            programs = named_programs(passage) or in_section[passage.section] or PROGRAMS
            known = set().union(*map(options_of, programs))
            words = {word for code in passage.code for word in re.findall(r"[#\w]+", code)}
            for program in words & set(OTHER_OPTIONS):
                known |= set(OTHER_OPTIONS[program].split())
            for option in (option for code in passage.code for option in options_in(code)):
                if option not in known:
                    where = ", ".join(sorted(programs)) if len(programs) < 4 else "any program"
                    yield passage.at(f"{option} is no option of {where}")


def wrong_settings(pages: list[Page]) -> Iterator[str]:
    """Settings in code spans, after --set and in YAML blocks that core.settings refuses."""
    for page in pages:
        in_table = False
        for passage in page.passages:
            in_table = passage.text.startswith("key | ") or (in_table and " | " in passage.text)
            is_key = in_table and not passage.text.startswith("key | ")
            first = passage.text.partition(" | ")[0]
            for code in passage.code:
                values = assigned(code, passage.is_block)
                yield from map(passage.at, wrong_values(values))
                is_key_here = is_key and f"`{code}`" in first
                if not passage.is_block and (looks_like_key(code) or is_key_here):
                    yield from map(passage.at, unknown_keys(code))
        for line, block in page.blocks:
            yield from (f"{page.path}:{line}: {problem}" for problem in wrong_block(block))


def assigned(code: str, is_block: bool) -> Iterator[tuple[str, Any]]:
    """Yield keys and values that code sets: `--set a.b=1 c=2`; in a span also `a.b=1` or `a: 1`."""
    if match := re.search(r"--set ([^#]*)", code):
        words = shlex.split(match[1])
        stop = next((at for at, word in enumerate(words) if "=" not in word), len(words))
        yield from map(assignment, words[:stop])
    elif is_block:
        return
    elif re.fullmatch(r"[a-z]\w*(\.\w+)+=\S+", code):
        yield assignment(code)
    elif re.fullmatch(r"[a-z][\w.]*: \S.*", code):
        yield from yaml.safe_load(code).items()


def wrong_values(values: Any) -> list[str]:
    values = [(key, value) for key, value in values if key not in PLACEHOLDERS]
    try:
        settings.read_config(None, values) if values else None
    except BadInput as error:
        return str(error).splitlines()
    return []


def looks_like_key(code: str) -> bool:
    """Say whether a code span can only be a setting: it has a dot or an underscore."""
    is_name = re.fullmatch(r"[a-z]\w*(\.\w+)*", code) and re.search(r"[._]", code)
    is_file = re.search(r"\.(py|md|yaml|txt|csv|json|html|npz|png|pth|hdf5|log|tar|wav)$", code)
    others = {*system_classes(), *PROGRAMS, *NOT_A_SETTING}
    return bool(is_name and not is_file and not is_python_name(code) and code not in others)


def unknown_keys(key: str) -> list[str]:
    # Its value is of a wrong kind: an unknown key is another problem than a wrong value.
    return [line for line in wrong_values([(key, object())]) if "unknown key" in line]


def wrong_block(block: str) -> list[str]:
    try:
        tree = yaml.safe_load(block)
    except yaml.YAMLError:
        return []
    if not isinstance(tree, dict) or OTHER_YAML & set(tree):
        return []
    return wrong_values(tree.items())


def missing_files(pages: list[Page]) -> Iterator[str]:
    """Files and folders of the repository that are not there."""
    for passage in all_passages(pages):
        words = {word for code in passage.code for word in re.split(r"[\s\"'=()|&,]+", code)}
        paths = {word.rstrip(".:;") for word in words if "/" in word and "://" not in word}
        text = re.sub(r"\]\([^)]*\)", "", passage.text)  # links have a rule of their own
        paths |= set(re.findall(r"(?<![\w/.<>*{}-])[\w*-]+\.(?:py|yaml|md|txt)\b", text))
        for path in sorted(paths):
            first = path.removeprefix("./").partition("/")[0]
            if first in NOT_IN_REPOSITORY | NOT_A_FILE or re.search(r"[<>{}$]|^[A-Z]+/", path):
                continue
            if not list(ROOT.glob(path.rstrip("/"))):
                yield passage.at(f"{path}: there is no such file or folder")


def missing_names(pages: list[Page]) -> Iterator[str]:
    """Names of Python, such as `System.score`, that their module or class does not have."""
    for passage in all_passages(pages):
        for owner, name in (code.split(".", 1) for code in passage.code if is_python_name(code)):
            if not re.search(rf'(\bdef |^ *"?){name}\b', read(PYTHON_NAMES[owner]), re.M):
                yield passage.at(f"{owner}.{name}: {PYTHON_NAMES[owner]} has no such name")


def is_python_name(code: str) -> bool:
    owner, _, name = code.partition(".")
    return owner in PYTHON_NAMES and name.isidentifier() and name != "py"


def unknown_targets(pages: list[Page]) -> Iterator[str]:
    """Targets of make that the Makefile does not have."""
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.M))
    for passage in all_passages(pages):
        for code in passage.code:
            target = re.match(r"make ([\w-]+)", code)
            if target and target[1] not in targets:
                yield passage.at(f"make {target[1]}: there is no such target")


def other_hosts(pages: list[Page]) -> Iterator[str]:
    """Hosts other than those of papers, releases and manuals, such as those of packages."""
    for page in pages:
        for number, line in enumerate(page.text.splitlines(), start=1):
            for host in re.findall(r"\b(?:[\w-]+\.)+(?:org|com|io|net|dev|eu|de)\b", line):
                if host not in HOSTS:
                    yield f"{page.path}:{number}: {host}"


RULES = (
    *(broken_links, refused_commands, unknown_options, wrong_settings),
    *(missing_files, missing_names, unknown_targets, other_hosts),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_pages(rule: Rule) -> None:
    problems = list(rule(pages()))
    assert not problems, f"{rule.__doc__}\n  " + "\n  ".join(problems)


def test_the_readme_is_short() -> None:
    assert len(read("readme.md").splitlines()) <= MOST_README_LINES


def test_the_readme_explains_every_option_of_training_and_testing() -> None:
    options = options_of("00_train.py") | options_of("01_test.py")
    section = read("readme.md").partition("\n## Options\n")[2].partition("\n## ")[0]
    assert [option for option in sorted(options) if f"`{option}" not in section] == []


def test_every_setting_is_explained_on_its_page() -> None:
    shared = set(keys(SharedSettings()))
    assert sorted(not_explained(shared, "", "docs/settings.md")) == []
    for name, kind in system_classes().items():
        assert f"[`{name}`](docs/systems/{name}.md)" in read("readme.md")
        own = {*keys(kind())} - shared - {"system"}
        assert sorted(not_explained(own, f"{name}.", f"docs/systems/{name}.md")) == []


def keys(block: BaseModel, at: str = "") -> Iterator[str]:
    for name, value in block:
        inner = isinstance(value, BaseModel)
        yield from keys(value, f"{at}{name}.") if inner else [f"{at}{name}"]


def not_explained(keys: set[str], at: str, page: str) -> list[str]:
    return [at + key for key in keys if not re.search(rf"`{at}{key}[`:]", read(page))]


@pytest.mark.parametrize(
    ("rule", "line", "problem"),
    [
        (broken_links, "[a](docs/dat.md)", "docs/dat.md: there is no such file"),
        (broken_links, "[a](docs/data.md#nowhere)", "there is no such heading"),
        (refused_commands, "`python 00_train.py -d --sytem ae`", "arguments: --sytem"),
        (refused_commands, "`01_test.py -d --system ea`", "invalid choice: 'ea'"),
        (refused_commands, "```\npython -m tools.demo --to x\n```", "tools.demo: there is no"),
        (refused_commands, "`01_test.py -d --set fit.lrr=1`", "unknown key fit.lrr"),
        (refused_commands, "```\npython 00_train.py -d --set fit.lr=x\n```", "fit.lr is 'x'"),
        (refused_commands, "```\npython 00_train.py -d --config tools/no.yaml\n```", "tools/no"),
        (unknown_options, "`02_report.py` takes `--jobs N`.", "--jobs is no option of 02_report"),
        (unknown_options, "Give `--nosuch`.", "--nosuch is no option of any program"),
        (unknown_options, "```\nray start --heads\n```", "--heads is no option"),
        (wrong_settings, "The rate is `fit.lrr`.", "unknown key fit.lrr"),
        (wrong_settings, "Set `threshold_scopes`.", "unknown key threshold_scopes"),
        (wrong_settings, "Set `threshold_scope: sections`.", "threshold_scope is 'sections'"),
        (wrong_settings, "| key | meaning |\n|---|---|\n| `sed` | the seed |", "unknown key sed"),
        (wrong_settings, "```yaml\nfit:\n  epoch: 3\n```", "unknown key fit.epoch"),
        (wrong_settings, "```\n--set vae.fit.lrr=3\n```", "unknown key vae.fit.lrr"),
        (missing_files, "See `core/schemas.py`.", "core/schemas.py: there is no such file"),
        (missing_files, "CHANGES.md says more.", "CHANGES.md: there is no such file"),
        (missing_files, "```\npython x.py --config tools/no.yaml\n```", "tools/no.yaml: there is"),
        (missing_names, "`System.windowed_scores` does it.", "System.windowed_scores: models/base"),
        (missing_names, "Call `common.file_loads`.", "common.file_loads: common.py has no such"),
        (unknown_targets, "`make demos` does it.", "make demos: there is no such target"),
        (other_hosts, "See <https://packages.example.org>.", "packages.example.org"),
    ],
)
def test_the_rules_see_what_breaks_them(rule: Rule, line: str, problem: str) -> None:
    problems = list(rule([read_page("readme.md", f"# A\n\n{line}\n")]))
    assert any(problem in line for line in problems), problems
