"""Every target on every conformance network: it agrees with the reference, or refuses exactly what it lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance_networks import NETWORKS, Conformance
from require import missing

from spikeport.snn.errors import RefusedError
from spikeport.snn.recording import Recording
from spikeport.targets.base import Runner, RunOptions, Target
from spikeport.targets.checking import missing_modules
from spikeport.targets.registry import TARGETS, get_target
from spikeport.targets.replay import replay

RUNNERS = [name for name in TARGETS if isinstance(get_target(name), Runner)]
SLOW: dict[str, str] = {}  # target: why its networks run with -m slow


def installed(name: str) -> Target:
    target = get_target(name)
    if missing_modules(target):
        missing(name, f"{', '.join(missing_modules(target))} is not installed")
    return target


def refused(target: Target, case: Conformance) -> bool:
    """Does the target refuse the network? Then only for features that the network names."""
    features = {p.feature for p in target.problems(case.network)}
    assert features <= case.features, "it refuses what is not there"
    if not features:
        return False
    with pytest.raises(RefusedError) as refusal:
        target.lower(case.network)
    assert len(refusal.value.problems) == len(target.problems(case.network))
    return True


def options(case: Conformance, **changes: object) -> RunOptions:
    return replace(RunOptions(**case.run()), **changes)  # type: ignore[arg-type]


def assert_agrees(found: Recording, expected: Recording) -> None:
    assert {name: s.differing(found.spikes[name]) for name, s in expected.spikes.items()} == dict.fromkeys(
        expected.spikes, 0
    )
    for name, values in expected.outputs.items():
        np.testing.assert_allclose(found.outputs[name], values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_a_target_agrees_with_the_reference_or_refuses(case: Conformance, name: str) -> None:
    target = installed(name)
    assert isinstance(target, Runner)
    if refused(target, case):
        return
    lowering = target.lower(case.network)
    if lowering.losses:
        assert case.features, "a loss without a feature that would need it"
        return
    noisy = target.capabilities.keyed_noise
    found = target.run(lowering, case.inputs, options(case, with_noise=noisy))
    assert_agrees(found, case.expected(with_noise=noisy))


@pytest.mark.parametrize("name", RUNNERS)
@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_replay_differs_in_no_spike(case: Conformance, name: str) -> None:
    target = installed(name)
    assert isinstance(target, Runner)
    if refused(target, case):
        return
    try:
        found = replay(target, case.network, case.inputs, options(case))
    except RefusedError as refusal:  # a network that a target takes as it is, it must also take opened
        pytest.fail(str(refusal))
    assert (found.differing, found.compared > 0) == (0, case.spikes)


@pytest.mark.parametrize("name", RUNNERS)
def test_v_is_recorded_in_millivolts_before_the_reset(name: str) -> None:
    target, case = installed(name), NETWORKS["millivolts"]
    assert isinstance(target, Runner)
    found = target.run(target.lower(case.network), case.inputs, options(case, record=("a.v",)))
    np.testing.assert_allclose(found.traces["a.v"], case.expected().traces["a.v"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RUNNERS)
def test_a_given_v0_is_used(name: str) -> None:
    target, case = installed(name), NETWORKS["millivolts"]
    assert isinstance(target, Runner)
    v0 = {"a": np.random.default_rng(0).uniform(-64, -41, (case.n_batch, 5))}
    found = target.run(target.lower(case.network), case.inputs, options(case, v0=v0))
    assert_agrees(found, case.expected(v0=v0))
