"""The search over lambda under a budget of spikes: its winner, with and without stopping candidates early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import follower, write_trials

from spikeport.convert import search
from spikeport.convert.evaluate import Part
from spikeport.convert.methods import searched
from spikeport.convert.presets import PRESETS
from spikeport.convert.transfer import Builder
from spikeport.snn.errors import SpikeportError
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import FileTask


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FileTask:
    return write_trials(tmp_path_factory.mktemp("trials") / "steps.h5", n=40)


class Drawn:
    """A search whose verdicts and spikes are given: right, spikes (candidates, trials)."""

    def __init__(self, right: np.ndarray, spikes: np.ndarray, task: FileTask) -> None:
        self.right, self.spikes, self.task = right, spikes, task
        self.grid = tuple(float(10 * (i + 1)) for i in range(len(right)))

    def parts(self, search: search.Search, networks: Sequence[SpikingNetwork], chunks: Any) -> Iterator[Part]:
        mine = [self.grid.index(n.provenance["inverse_lambda"]) for n in networks]
        for first, n in chunks:
            of = np.ix_(mine, range(first, first + n))
            yield Part(first=first, right=dict.fromkeys(self.task.rules, self.right[of]), spikes=self.spikes[of],
                       distance=np.full((len(mine), n), np.nan))  # fmt: skip

    def winner(self, max_rate: float | None, *, fast: bool) -> tuple[float | str, int]:
        """1/lambda, or the refusal; and how many trials were run."""
        source = follower(2)
        made = search.Search(build=Builder(source, PRESETS["standard"]), task=self.task, rule="mean", source=source,
                             trials=self.right.shape[1], n_jobs=1, fast=fast)  # fmt: skip
        with mock.patch.object(search, "CHUNK", 2), mock.patch.object(search, "_in_parallel", self.parts):
            try:
                found = searched(made, PRESETS["standard"], self.grid, None, max_rate)
            except SpikeportError as refusal:
                return str(refusal), 0
        return found.inverse_lambda, sum(c.trials for c in found.candidates)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), n=st.integers(1, 6), budget=st.sampled_from([None, 0.0, 0.5, 1.0, 2.0, 9.0]))
def test_the_winner_or_the_refusal_is_the_same_with_fast_whatever_the_budget(
    task: FileTask, seed: int, n: int, budget: float | None
) -> None:
    rng = np.random.default_rng(seed)
    right = rng.random((n, 12)) < rng.choice([0.2, 0.8, 1.0], (n, 1))
    spikes = rng.poisson(rng.choice([0.3, 1.0, 4.0], (n, 1)), (n, 12))
    drawn = Drawn(right, spikes, task)
    hz = None if budget is None else budget / (0.2 * 2)  # spikes a trial of 0.2 s and 2 units
    assert drawn.winner(hz, fast=True)[0] == drawn.winner(hz, fast=False)[0]


def test_fast_with_a_budget_still_stops_who_loses_to_one_within_it(task: FileTask) -> None:
    right, spikes = np.zeros((3, 12), dtype=bool), np.ones((3, 12), dtype=np.int64)
    right[1:], spikes[2] = True, 9
    drawn = Drawn(right, spikes, task)
    full, fast = (drawn.winner(2 / 0.4, fast=fast) for fast in (False, True))
    assert full == (20.0, 36)
    assert fast == (20.0, 12 + 12 + 8), "after 8 wrong ones, 4 cannot make up"
