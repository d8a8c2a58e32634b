"""Writes the command line's reference into docs/cli.md while the pages are built (a MkDocs hook).

Names, help texts and defaults come from the program itself, so the page cannot say anything else.
"""

from __future__ import annotations

import inspect
from typing import Any

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """MkDocs calls this for each page; only cli.md has the mark."""
    if page.file.src_uri != "cli.md":
        return markdown
    if MARK not in markdown:
        raise ValueError(f"docs/cli.md has lost its mark, {MARK}")
    return markdown.replace(MARK, reference())


def commands() -> dict[str, Any]:
    """The verbs of the command line, name -> command, in the order of `spikeport --help`; of a group, "live run"."""
    import typer.main

    from spikeport import cli

    group: Any = typer.main.get_command(cli.app)
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        parts = getattr(command, "commands", None)
        found |= {name: command} if parts is None else {f"{name} {part}": each for part, each in parts.items()}
    return {name: command for name, command in found.items() if not command.hidden}


def reference() -> str:
    """One section per verb, as Markdown."""
    return "\n\n".join(section(name, command) for name, command in commands().items())


def section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not getattr(p, "hidden", False)]
    usage = " ".join(["spikeport", name, *map(argument_name, arguments), *(["[OPTIONS]"] if options else [])])
    help_text = inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\f", "")
    return "\n\n".join(
        part
        for part in (
            f"## {name}",
            f"```text\n{usage}\n```",
            prose(help_text),
            table("Argument", [(f"`{argument_name(p)}`", p) for p in arguments]),
            table("Option", [(" ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)), p) for p in options]),
        )
        if part
    )


def prose(text: str) -> str:
    """The help text; a line that is a command becomes a block to copy."""
    blocks: list[str] = []
    for paragraph in text.split("\n\n"):
        lines = [line.strip().removeprefix("$ ") for line in paragraph.splitlines()]
        words = [line for line in lines if not line.startswith("spikeport ")]
        examples = [line for line in lines if line.startswith("spikeport ")]
        blocks += [" ".join(words)] if words else []
        blocks += ["\n".join(["```sh", *examples, "```"])] if examples else []
    return "\n\n".join(blocks)


def argument_name(parameter: Any) -> str:
    name = parameter.metavar or str(parameter.name).upper()
    return name if parameter.required else f"[{name.strip('[]')}]"


def table(title: str, rows: list[tuple[str, Any]]) -> str:
    if not rows:
        return ""
    head = [f"| {title} | Meaning | Default |", "| --- | --- | --- |"]
    return "\n".join([*head, *(f"| {name} | {cell(p.help or '')} | {default(p)} |" for name, p in rows)])


def default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required or value is None or value is False or value == () or callable(value):
        return "required" if parameter.required else ""
    return f"`{cell(str(getattr(value, 'value', value)))}`"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
