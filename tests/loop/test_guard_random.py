"""Random sessions against an independent judge: nothing that is given is above any limit."""

from __future__ import annotations

import random

import pytest
from guard_cases import pulse
from guard_checker import broken, read
from guard_random import Session, command_pool, play, random_limits, run_many
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.loop.guard import ledger
from spikeport.loop.guard.limits import SPECS, Limits

LIMITS = set(SPECS) - {"area_um2", "rate_window_s", "charge_window_s"}


@pytest.mark.parametrize("seed", range(2))
def test_no_random_session_is_given_anything_above_a_limit(seed: int) -> None:
    counts = run_many(seed, 1000)
    assert set(counts) >= LIMITS | {"state"}, "each limit refused something"
    assert min(counts[name] for name in ("pulse cut", "above the limit", "stopping", "not given")) > 0
    assert counts["pulses"] > counts["commands"] / 4
    assert counts["allowed"] > counts["commands"] / 10


def test_the_judge_finds_a_stop_that_leaves_a_pulse_unbalanced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeport.loop.guard.guard._AT_ONCE", ("trip", "reset", "stop", "end", "disarm", "exit"))
    with pytest.raises(AssertionError, match="imbalance_fraction"):
        run_many(0, 1000)


def test_the_judge_finds_what_a_trip_may_have_left_and_nobody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger.SiteLedger, "cut", lambda self, at_ns: None)
    with pytest.raises(AssertionError, match="net_charge_nC"):
        run_many(5, 3000)


def test_the_judge_finds_that_a_device_began_later_than_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger.SiteLedger, "begun", lambda self, by_ns: setattr(self, "last_end_ns", by_ns + 10**6))
    with pytest.raises(AssertionError, match=r"rate_hz|window_charge_nC"):
        run_many(0, 3000)


def test_what_no_window_reaches_any_more_is_forgotten_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is given back in blocks; here after every pulse."""
    monkeypatch.setattr(ledger, "_COMPACT", 1)
    counts = run_many(7, 600)
    assert min(counts[name] for name in ("rate_hz", "window_charge_nC", "session_charge_nC")) > 0


def test_a_ledger_holds_no_more_than_its_windows() -> None:
    book = ledger.SiteLedger()
    for number in range(10_000):
        book.add(pulse(), number * 10**6, 0)
        book.forget((number - 100) * 10**6)
        assert book.count_since((number - 100) * 10**6) == min(100, number + 1)
        assert book.charge_since((number - 50) * 10**6) == min(50, number + 1) * 4 * 10**9
    assert len(book.onsets) == len(book.before_aC) < 100 + 4097


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_no_session_of_a_million_is_given_anything_above_a_limit(seed: int) -> None:
    counts = run_many(seed, 50_000)
    print(seed, dict(counts))
    assert set(counts) >= LIMITS | {"state"}


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_a_session_without_its_refused_commands_gives_the_same(seed: int, n: int) -> None:
    """A refusal uses up nothing, whatever was refused."""
    rng = random.Random(seed)
    limits = Limits(**(random_limits(rng) | {"rate_window_s": 1}))
    pool = command_pool(rng, 30)
    whole, thinned = Session(limits), Session(limits)
    gaps = [rng.choice((0, 500_000, 10_000_000, 100_000_000)) for _ in range(n)]
    for gap in gaps:
        command = rng.choice(pool)
        whole.ask(command)
        if whole.asked[-1][2]:
            thinned.ask(command)
        for session in (whole, thinned):
            session.station.service()
            session.go_on(gap, 0, rng)
    for session in (whole, thinned):
        session.go_on(10**9, 0, rng)
    assert read(whole.records) == read(thinned.records)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_limits_hold_in_longer_sessions(seed: int, n: int) -> None:
    rng = random.Random(seed)
    made = random_limits(rng) | {"rate_window_s": 1}
    session = play(rng, Limits(**made), command_pool(rng, 20), 4 * n)
    assert broken(read(session.records), made) == set()
