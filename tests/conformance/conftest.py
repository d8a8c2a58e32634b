"""Brian2 compiles code for every network: ten of them are in the quick run, the others in `-m slow`."""

from __future__ import annotations

import pytest

COMPILES = ("brian2",)
QUICK = ("plain", "kim2019", "exact", "double exponential", "recurrent, delay 4", "chain, delay 1", "bias", "noise",
         "refractory", "read-out")  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        case = getattr(item, "callspec", None)
        if case is None or case.params.get("name") not in COMPILES or "case" not in case.params:
            continue
        if case.id.removesuffix(f"-{case.params['name']}") not in QUICK and "refusal" not in item.name:
            item.add_marker(pytest.mark.slow)
