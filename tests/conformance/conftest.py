"""The matrix of what ran, printed at the end of the run: target x network."""

from __future__ import annotations

from typing import Any

import pytest

LAW = "test_a_target_agrees_with_the_reference_or_refuses["
SEEN: dict[tuple[str, str], str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how each (network, target) came out; with workers, this runs where their reports come together."""
    _, found, rest = report.nodeid.partition(LAW)
    if not found or (report.when != "call" and report.passed):
        return
    network, _, target = rest.removesuffix("]").rpartition("-")
    words = dict(report.user_properties).get("verdict", "")
    SEEN[network, target] = {"passed": words, "failed": "FAILS", "skipped": "not installed"}[report.outcome]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not SEEN:
        return
    targets = sorted({t for _, t in SEEN})
    width = max(len(n) for n, _ in SEEN)
    terminalreporter.section("conformance: = agrees, ~ agrees with a named loss, - refuses")
    terminalreporter.write_line(f"{'':<{width}}  " + "  ".join(targets))
    for network in dict.fromkeys(n for n, _ in SEEN):
        cells = [f"{SEEN.get((network, t), ''):^{len(t)}}" for t in targets]
        terminalreporter.write_line(f"{network:<{width}}  " + "  ".join(cells))
