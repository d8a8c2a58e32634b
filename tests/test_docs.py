"""The documentation is tested against the program: verbs, options, README commands with their output, examples."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from require import need

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
QUICK = ("convert_and_run.py", "streaming.py", "live_files.py")  # the others take ten to thirty seconds each
PROGRAM = Path(sys.executable).parent / "spikeport"
NOT_RUN = re.compile(r"<!-- not run: \S.*-->\s*\Z")  # before a block: its reason, e.g. the minutes that it takes
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = re.compile(r"\d+(\.\d+)? (ms|s|seconds)\b")  # what differs from run to run


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    is_run: bool


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield Block(match[1], match[2], NOT_RUN.search(text[: match.start()]) is None)


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """(command, lines of output shown below it) of a shell block; only what starts with `spikeport` or `make demo`."""
    command, shown = "", list[str]()
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.removeprefix("$ ")
        if line.startswith("$ ") or stripped.startswith(("spikeport ", "make ", "pip ", "#")):
            if command:
                yield command, shown
            stripped = re.sub(r"^make demo\b", "spikeport demo", stripped)
            command, shown = stripped if stripped.startswith("spikeport ") else "", []
        elif line.strip():
            shown.append(line)
    if command:
        yield command, shown


def is_shell(block: Block) -> bool:
    return block.language in {"sh", "bash", "console", "shell"}


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gen_cli", ROOT / "docs" / "gen_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return load_generator()


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def environment() -> dict[str, str]:
    return os.environ | {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}


def test_every_verb_is_in_the_reference_with_an_example(generator: ModuleType) -> None:
    page = generator.reference()
    for name in generator.commands():
        section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert f"```sh\nspikeport {name}" in section, f"{name}: its help ends with one example to copy"


def test_every_option_says_what_it_does(generator: ModuleType) -> None:
    silent = [(n, p.name) for n, c in generator.commands().items() for p in c.params if not getattr(p, "help", "")]
    assert not [(name, option) for name, option in silent if option != "help"]


def test_every_verb_is_in_the_readme(generator: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in generator.commands() if f"spikeport {name}" not in readme]


def test_the_page_of_the_command_line_is_filled_in(generator: ModuleType) -> None:
    class Page:
        class file:
            src_uri = "cli.md"

    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    filled = generator.on_page_markdown(text, page=Page)
    assert generator.MARK not in filled
    assert filled.count("\n## ") >= len(generator.commands())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documents_exist(page: Path, generator: ModuleType) -> None:
    verbs = generator.commands()
    for block in filter(is_shell, blocks(page)):
        for command, _ in calls(block.text):
            words = shlex.split(command, comments=True)[1:]
            if words[0].startswith("-"):
                continue
            verb = words[0] if words[0] in verbs else " ".join(words[:2])  # of a group of verbs, its second word
            assert verb in verbs, command
            named = {word.partition("=")[0] for word in words if re.match(r"--\w", word)}
            assert named <= options(verbs[verb]), command


def test_the_readme_shows_what_the_program_prints(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for block in blocks(ROOT / "README.md"):
        if block.is_run and is_shell(block):
            for command, shown in calls(block.text):
                assert_prints(command, shown, tmp_path)
        elif block.is_run and block.language == "python":
            call = [sys.executable, "-c", block.text]
            done = subprocess.run(call, cwd=tmp_path, env=environment(), capture_output=True, text=True)
            assert done.returncode == 0, f"{block.text}\n{done.stderr}"


def assert_prints(command: str, shown: list[str], folder: Path) -> None:
    """`command` succeeds, and prints every shown line, in order; '...' stands for any number of lines."""
    words = [str(PROGRAM), *shlex.split(command, comments=True)[1:]]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    printed = iter([comparable(line) for line in (done.stdout + done.stderr).splitlines()])
    for line in shown:
        if line.strip() != "...":
            assert comparable(line) in printed, f"{command} does not print: {line}\nbut:\n{done.stdout}{done.stderr}"


def comparable(line: str) -> str:
    return " ".join(SECONDS.sub("_ s", line).split())


@pytest.mark.parametrize(
    "example",
    [pytest.param(e, marks=() if e.name in QUICK else pytest.mark.slow, id=e.name) for e in EXAMPLES],
)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    """In an empty folder: it needs nothing but what it makes. `# needs: train` names what it wants installed."""
    text = example.read_text(encoding="utf-8")
    for resource in re.findall(r"^# needs: (\w+)", text, re.MULTILINE):
        need({"train": "torch", "dask": "distributed"}.get(resource, resource), resource=resource)
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example prints what it found"


def test_there_are_examples() -> None:
    assert EXAMPLES
