"""Every target on a network that others trained: spike for spike, in replay and freely.

    pytest -m slow tests/targets/test_published_network.py

Go-NoGo, N = 200, 1/lambda = 45, 1 s at 0.05 ms, float64, seed 0; SPIKES has how many spikes a replay compares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from require import missing

from spikeport import load_source, transfer
from spikeport.snn import engine
from spikeport.snn.measures.differences import differing
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.tasks import get_task
from spikeport.targets.base import Runner, RunOptions
from spikeport.targets.checking import missing_modules
from spikeport.targets.registry import TARGETS, get_target
from spikeport.targets.replay import replay

RUNNERS = [
    n for n in TARGETS  # chips round, and have tests of their own
    if n not in ("engine", "reference") and isinstance(get_target(n), Runner) and get_target(n).capabilities.precision
]  # fmt: skip
SPIKES = {"kim2019": 2229, "standard": 1894}  # of the reference in the two trials, noise off
ALLOW = {("nest", "kim2019"): ["noise_while_refractory"], ("nest", "standard"): ["min_delay"]}

pytestmark = pytest.mark.slow


def installed(name: str) -> Runner:
    target = get_target(name)
    assert isinstance(target, Runner)
    if missing_modules(target):
        missing(name, f"{', '.join(missing_modules(target))} is not installed")
    return target


@pytest.fixture(scope="module", params=SPIKES)
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def network(preset: str, shared_data: Path) -> SpikingNetwork:
    return transfer(load_source(shared_data / "kim" / "go_nogo_n200.mat"), 45, preset=preset)


@pytest.fixture(scope="module")
def inputs() -> Any:
    return get_task("go-nogo").trials(2, seed=0).inputs


@pytest.mark.parametrize("name", RUNNERS)
def test_replay_differs_in_no_spike(name: str, preset: str, network: SpikingNetwork, inputs: Any) -> None:
    found = replay(installed(name), network, inputs, RunOptions(seed=0))
    assert (found.differing, found.compared, found.silent_trials) == (0, SPIKES[preset], 0)
    assert not found.losses


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize("with_noise", [False, True], ids=["quiet", "noisy"])
def test_running_freely_differs_in_no_spike(
    name: str, with_noise: bool, preset: str, network: SpikingNetwork, inputs: Any
) -> None:
    """The noise is the reference's own, number by number. Where a loss is allowed: against the network it leaves."""
    target = installed(name)
    lowering = target.lower(network, allow=ALLOW.get((name, preset), []))
    found = target.run(lowering, inputs[:, :1], RunOptions(seed=0, with_noise=with_noise))
    expected = engine.simulate(lowering.network, inputs[:, :1], seed=0, with_noise=with_noise)
    assert expected.spikes["rec"].n_spikes > 500
    assert differing(expected, found) == 0
