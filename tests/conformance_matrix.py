"""The conformance matrix: every target on every conformance network, as text and as the README's table.

    python tests/conformance_matrix.py            print it
    python tests/conformance_matrix.py --write    put it into README.md and docs/targets.md

    =   agrees with the reference, spike for spike
    ~   agrees where a named loss is allowed (--allow), spike for spike with the network that the loss leaves
    -   refuses, and says why

It is what the targets declare; tests/conformance/test_targets.py runs every entry and fails where one is not true.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from conformance_networks import NETWORKS, Conformance, subtracting

from spikeport.snn.errors import RefusedError
from spikeport.targets.approximations import APPROXIMATIONS
from spikeport.targets.base import Exporter, Lowering, Runner, Target
from spikeport.targets.registry import TARGETS, get_target

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- matrix: {} -->", "<!-- end of matrix -->"
AGREES, LOSS, REFUSES = "=", "~", "-"


def lowered(target: Target, case: Conformance, **choices: str) -> tuple[str, Lowering | None]:
    """What the target declares of a network, and the lowering that shows it."""
    try:
        plain = target.lower(case.network, **choices)
        return (LOSS if plain.losses else AGREES), plain
    except RefusedError:
        ways = {p.feature for p in target.problems(case.network, **choices)} & APPROXIMATIONS.keys()
    try:
        return LOSS, target.lower(case.network, allow=ways, **choices)
    except RefusedError:
        return REFUSES, None


def suited(target: Target, case: Conformance, **choices: str) -> Conformance:
    """The case, with resets by subtraction where the target refuses even the plain network for its reset to a value."""
    if {p.feature for p in target.problems(NETWORKS["plain"].network, **choices)} == {"reset"}:
        return replace(case, network=subtracting(case.network))
    return case


def columns() -> dict[str, tuple[Target, dict[str, str]]]:
    """Every target but the reference; then every reader of NIR."""
    found: dict[str, tuple[Target, dict[str, str]]] = {n: (get_target(n), {}) for n in TARGETS if n != "reference"}
    for name, (target, _) in list(found.items()):
        for reader in target.choices.get("reader", ()):
            found[f"{name} {reader}"] = (target, {"reader": reader})
    return found


def table(names: list[str]) -> str:
    """Markdown: a row for each network, a column for each of `names`."""
    chosen = {name: columns()[name] for name in names}
    titles = [name.removeprefix("nir ") for name in names]
    rows = [["network", *titles], ["---", *[":-:" for _ in names]]]
    for case in NETWORKS.values():
        cells = (lowered(t, suited(t, case, **choices), **choices)[0] for t, choices in chosen.values())
        rows.append([case.name, *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def summary() -> str:
    """Markdown: a row for each target, from what it declares and from its column."""
    rows = [
        ["target", "what it is", "run", "export", "arithmetic", "refuses", "with a named loss", "extra"],
        ["---"] * 8,
    ]
    for name, (target, choices) in columns().items():
        if choices:
            continue
        verdicts = {case.name: lowered(target, case)[0] for case in NETWORKS.values()}
        named = [[n for n, v in verdicts.items() if v == wanted] for wanted in (REFUSES, LOSS)]
        lists = ["every other" if len(names) > len(verdicts) / 2 else "; ".join(names) for names in named]
        if name == "nir":
            lists = ["by reader", "by reader"]
        runs = isinstance(target, Runner)
        on = ", ".join(d for d in target.capabilities.devices if d != "cpu")
        arithmetic = (
            ", ".join(target.capabilities.dtypes) + (f"; {on} declared, not tested" if on else "") if runs else "-"
        )
        rows.append([
            f"`{name}`", target.summary, "yes" if runs else "-", "yes" if isinstance(target, Exporter) else "-",
            arithmetic, *(text or "-" for text in lists), f"`{target.extra}`" if target.extra else "-",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def written(text: str, kind: str, content: str) -> str:
    """`text` with the table between its marks made anew."""
    begin = BEGIN.format(kind)
    before, mark, rest = text.partition(begin)
    assert mark, f"no mark for {kind}"
    assert END in rest, f"no end of {kind}"
    return f"{before}{begin}\n{content}\n{rest[rest.index(END) :]}"


def pages() -> dict[Path, str]:
    """The pages that hold a table, as they should be."""
    names = list(columns())
    targets, readers = [n for n in names if " " not in n], [n for n in names if " " in n]
    readme, page = ROOT / "README.md", ROOT / "docs" / "targets.md"
    every = written(page.read_text(encoding="utf-8"), "targets", table(targets))
    return {
        readme: written(readme.read_text(encoding="utf-8"), "summary", summary()),
        page: written(every, "readers", table(readers)),
    }


def main() -> int:
    if "--write" in sys.argv[1:]:
        for path, text in pages().items():
            path.write_text(text, encoding="utf-8")
        return 0
    print(table(list(columns())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
