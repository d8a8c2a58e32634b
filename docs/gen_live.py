"""Writes the names that a loop's file may have into docs/live.md while the pages are built (a MkDocs hook).

They come from the tables that check a file, so the page cannot say anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MARK = "<!-- names -->"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """MkDocs calls this for each page; only live.md has the mark."""
    if page.file.src_uri != "live.md":
        return markdown
    if MARK not in markdown:
        raise ValueError(f"docs/live.md has lost its mark, {MARK}")
    return markdown.replace(MARK, reference())


def sections() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(title, fields) of all that a file may say."""
    from spikeport import live_guard, live_parts

    yield "The file", live_parts.TOP
    yield "`decoder`", {**live_parts.DECODER, **live_parts.AROUND}
    tables = {"source": live_parts.SOURCES, "sink": live_parts.SINKS, "clock": live_parts.CLOCKS}
    for name, table in tables.items():
        yield from ((f"`{name}`, `kind: {kind}`", part.fields) for kind, part in table.items() if part.fields)
    yield "`policy`", live_parts.POLICY
    yield "`record`", live_parts.RECORD
    yield "`guard`", live_parts.GUARD
    yield "`guard`, each of `stimuli`", live_guard.STIMULUS


def reference() -> str:
    """One table per section, as Markdown; what must be given is bold."""
    return "\n\n".join(
        "\n".join([f"### {title}\n", "| Name | Meaning |", "| --- | --- |", *map(row, fields.items())])
        for title, fields in sections()
    )


def row(field: tuple[str, Any]) -> str:
    name, about = field
    shown = f"**`{name}`**" if about.must else f"`{name}`"
    return f"| {shown} | {about.meaning.replace('|', '/')} |"
