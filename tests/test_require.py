"""No check can be skipped unseen: the mechanism of require.py, run by pytest inside pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A fresh project that has our conftest.py and require.py, and neither data nor requirements."""
    for name in ("conftest.py", "require.py"):
        pytester.path.joinpath(name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.delenv("SPIKEPORT_REQUIRE", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a second a run
    monkeypatch.setenv("SPIKEPORT_DATA", str(pytester.path / "nowhere"))
    return pytester


def run(inner: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    inner.makepyfile(test_inner=test)
    return inner.runpytest_subprocess("-ra", "-p", "no:cacheprovider", *arguments)


DATA_TEST = "def test_data(shared_data): assert shared_data.is_dir()"
MODULE_TEST = """
from require import need
absent = need("no_such_module_at_all", resource="train")
def test_never_runs(): assert False
"""


def test_an_unlisted_resource_that_is_missing_skips_with_the_reason(inner: pytest.Pytester) -> None:
    result = run(inner, DATA_TEST)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*nowhere is not there*SPIKEPORT_DATA*"])


def test_a_listed_resource_that_is_missing_fails(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPORT_REQUIRE", "train,data")
    result = run(inner, DATA_TEST)
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*SPIKEPORT_REQUIRE lists 'data', but *nowhere is not there*"])


def test_a_listed_resource_that_is_there_passes(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEPORT_REQUIRE", "data")
    inner.mkdir("nowhere")
    run(inner, DATA_TEST).assert_outcomes(passed=1)


def test_a_module_whose_import_is_missing_skips_whole(inner: pytest.Pytester) -> None:
    result = run(inner, MODULE_TEST)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(['SKIPPED*no_such_module_at_all is not installed*pip install "spikeport?train?"*'])


def test_a_module_whose_required_import_is_missing_fails(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKEPORT_REQUIRE", "train")
    result = run(inner, MODULE_TEST)
    result.assert_outcomes(errors=1)
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*SPIKEPORT_REQUIRE lists 'train', but no_such_module_at_all is not installed*"])


def test_a_module_that_is_there_but_does_not_import_is_an_error(inner: pytest.Pytester) -> None:
    inner.makepyfile(broken_library="raise ImportError('half installed')")
    result = run(inner, MODULE_TEST.replace("no_such_module_at_all", "broken_library"))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*half installed*"])


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist", "-n", "2")])
def test_an_unknown_name_stops_the_run(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SPIKEPORT_REQUIRE", "data,dsak")
    result = run(inner, "def test_fine(): pass", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*SPIKEPORT_REQUIRE lists dsak; there are: data, train, dask*"])


def test_a_test_that_asks_for_an_unknown_resource_fails(inner: pytest.Pytester) -> None:
    result = run(inner, "from require import missing\ndef test_typo(): missing('dsak', 'why')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*'dsak' is no resource*"])
