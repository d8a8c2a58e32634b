"""Fixtures that every test may use; `require.py` has the rule for what may be missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from require import missing, required

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    required()  # a wrong name in SPIKEPORT_REQUIRE stops the run before it starts


def pytest_report_header() -> str:
    return f"required resources: {', '.join(sorted(required())) or 'none (see tests/require.py)'}"


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of third-party models and recordings, read only."""
    folder = Path(os.environ.get("SPIKEPORT_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        missing("data", f"{folder} is not there")
    return folder
