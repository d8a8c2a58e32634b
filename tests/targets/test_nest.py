"""NEST: its equations are the reference's, told in its own words, and its kernel is left quiet and clean."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_networks import (
    BATCH,
    DOUBLE,
    NETWORKS,
    STEPS,
    N,
    neuron,
    noisy_and_refractory,
    plain,
    populated,
    recurrent,
    spikes,
)
from hypothesis import HealthCheck, assume, event, given, settings
from random_networks import Case, cases
from require import need

from spikeport.snn import reference
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.files import save_spiking_network
from spikeport.snn.neurons import per_unit
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import SpikingNetwork
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential
from spikeport.targets.base import RunOptions
from spikeport.targets.nest import NEST
from spikeport.targets.nest.kernel import quiet_nest
from spikeport.targets.nest.parameters import propagator

need("nest", resource="nest")
OPTIONS: dict[str, Any] = {"n_steps": STEPS, "n_batch": BATCH, "seed": 3}


def assert_same(network: SpikingNetwork, allow: tuple[str, ...] = (), **changes: Any) -> Recording:
    """NEST gives every spike, and every v, of the network that its losses leave."""
    lowering = NEST.lower(network, allow=allow)
    record = [f"{p.name}.v" for p in network.populations]
    found = NEST.run(lowering, spikes(), RunOptions(**{**OPTIONS, "record": record, **changes}))
    expected = reference.simulate(lowering.network, spikes(), record=record, **{**OPTIONS, **changes})
    assert {name: s.differing(found.spikes[name]) for name, s in expected.spikes.items()} == {"a": 0}
    assert expected.spikes["a"].n_spikes > 0
    for name in record:
        np.testing.assert_allclose(found.traces[name], expected.traces[name], rtol=0, atol=1e-12)
    return found


def features(network: SpikingNetwork) -> list[str]:
    return [p.feature for p in NEST.problems(network)]


@pytest.mark.parametrize("integrator", ["kim2019", "euler", "exact"])
@pytest.mark.parametrize("synapse", [Exponential(tau=0.005), DOUBLE, Delta()], ids=["single", "double", "delta"])
def test_v_is_the_reference_s_before_every_reset(integrator: str, synapse: Any) -> None:
    network = replace(populated(synapses={"s": synapse}, bias=0.9), integrator=integrator)
    assert_same(network)


@pytest.mark.parametrize("integrator", ["kim2019", "euler"])
def test_a_double_exponential_may_come_back_after_one_step(integrator: str) -> None:
    network = recurrent(1, integrator)
    network = replace(network, populations=(replace(network.populations[0], synapses={"s": DOUBLE}, bias=0.9),))
    assert features(network) == []
    assert_same(network)


@pytest.mark.parametrize(
    ("integrator", "synapse"),
    [("euler", Exponential(tau=0.005)), ("exact", Exponential(tau=0.005)), ("exact", DOUBLE), ("euler", Delta())],
)
def test_what_acts_in_the_step_of_its_arrival_needs_two_steps(integrator: str, synapse: Any) -> None:
    one, two = (recurrent(delay, integrator) for delay in (1, 2))
    one, two = (replace(n, populations=(replace(n.populations[0], synapses={"s": synapse}),)) for n in (one, two))
    assert (features(one), features(two)) == (["min_delay"], [])
    assert_same(two)
    lowering = NEST.lower(one, allow=["min_delay"])
    assert [(x.what, x.where, x.how_much) for x in lowering.losses] == [
        ("spikes act later", "projection a->a", "1 ms, 1 step")
    ]
    assert lowering.network.projections[-1].delay == 2
    assert_same(one, allow=("min_delay",))


def test_the_way_out_of_a_short_delay_is_named() -> None:
    with pytest.raises(RefusedError, match="delay 1 steps, at least 2") as refusal:
        NEST.lower(recurrent(1))
    assert "--allow min_delay" in refusal.value.hint


def test_equal_time_constants_of_membrane_and_synapse_are_taken() -> None:
    """NEST refuses them; one bit beside each other its propagator is right."""
    assert_same(replace(neuron(tau_mem=0.005), integrator="exact"))


def test_time_constants_far_shorter_than_a_step_are_taken() -> None:
    """There NEST's propagator underflows, and would be 1000 times too large."""
    short = populated(synapses={"s": Exponential(tau=1e-6)}, bias=0.9)
    assert_same(replace(short, integrator="exact"))


@pytest.mark.parametrize("tau_syn", [1 / 60, 0.3, 9.99, np.nextafter(10.0, 11.0), 400.0])
def test_the_propagator_is_the_integral_of_a_decaying_current(tau_syn: float) -> None:
    s = (np.arange(200_000) + 0.5) / 200_000
    expected = np.mean(np.exp(-(1 - s) / 10) * np.exp(-s / tau_syn)) / 10
    np.testing.assert_allclose(propagator(np.array([10.0]), np.array([tau_syn])), expected, rtol=1e-7)


@pytest.mark.parametrize("dt", [1e-3 / 3, 0.00123456789, 5e-5])
def test_any_dt_is_taken(dt: float) -> None:
    """NEST's clock counts microseconds, but here a step is 1 ms for it, whatever it is for us."""
    assert_same(replace(neuron(t_ref=3 * dt), dt=dt))


@pytest.mark.parametrize("allowed", [True, False])
def test_a_unit_that_starts_refractory_above_threshold_spikes_at_once_or_when_it_is_free(allowed: bool) -> None:
    v0, ref0 = np.linspace(-0.5, 3.0, N), np.arange(N) * 3
    network = populated(v0=v0, ref0=ref0, bias=0.9, spikes_while_refractory=allowed)
    found = assert_same(network).spikes["a"]
    first = [int(found.step[found.neuron == unit].min()) for unit in (2, 3, 4)]
    assert first == ([0, 0, 0] if allowed else [6, 9, 12])


def test_noise_is_the_reference_s_own() -> None:
    quiet, loud = (assert_same(populated(noise_sd=0.2), with_noise=w).spikes["a"] for w in (False, True))
    assert quiet.differing(loud) > 0


def test_given_noise_is_added_to_v() -> None:
    values = {"a": np.random.default_rng(0).normal(0, 0.2, (STEPS, BATCH, N))}
    assert_same(plain(), noise_values=values)


def test_given_noise_while_refractory_is_refused() -> None:
    """The network says no sd, so only the run can tell."""
    network = noisy_and_refractory()
    silent = replace(network, populations=(replace(network.populations[0], noise_sd=0.0),))
    values = {"a": np.ones((STEPS, BATCH, N))}
    with pytest.raises(SpikeportError, match="noise_values of a: it has noise while refractory"):
        NEST.run(NEST.lower(silent), spikes(), RunOptions(**OPTIONS, noise_values=values))


def test_currents_may_be_told_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeport.targets.nest.simulation.BLOCK", 7 * N * BATCH)
    assert_same(populated(noise_sd=0.2))


def test_noise_while_refractory_is_given_up_by_name_only() -> None:
    network = noisy_and_refractory()
    assert features(network) == ["noise_while_refractory"]
    assert_same(network, allow=("noise_while_refractory",))


def test_a_trial_does_not_depend_on_its_batch() -> None:
    lowering = NEST.lower(populated(noise_sd=0.2))
    both = NEST.run(lowering, spikes(), RunOptions(**OPTIONS)).spikes["a"]
    second = NEST.run(lowering, {"x": spikes()["x"][:, 1:]}, RunOptions(seed=3, first_trial=1)).spikes["a"]
    mine = both.batch == 1
    np.testing.assert_array_equal(both.step[mine], second.step)
    np.testing.assert_array_equal(both.neuron[mine], second.neuron)


@pytest.mark.parametrize(
    ("network", "feature", "text"),
    [
        (neuron(reset="subtract"), "reset", "'subtract', supports to_value"),
        (populated(synapses={"s": DoubleExponential(tau_rise=0.004, tau_decay=0.004)}), "synapse", "must differ"),
        (neuron(tau_mem=0.0009), "integrator", "decays by -0.111111 a step"),
        (populated(synapses={"s": Exponential(tau=0.0008)}), "integrator", "decays by -0.25 a step"),
    ],
)
def test_what_nest_cannot_say_is_refused(network: SpikingNetwork, feature: str, text: str) -> None:
    assert features(network) == [feature]
    with pytest.raises(RefusedError, match=text):
        NEST.lower(network)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"record": ("a.s",)}, "record 'a.s': there are a.v"),
        ({"dtype": "float32"}, "dtype 'float32': NEST computes in float64"),
        ({"device": "cuda"}, "device 'cuda': NEST runs on cpu"),
    ],
)
def test_an_option_that_nest_lacks_is_an_error(change: dict[str, Any], text: str) -> None:
    with pytest.raises(SpikeportError, match=text):
        NEST.run(NEST.lower(plain()), spikes(), RunOptions(**OPTIONS, **change))


def test_a_run_leaves_an_empty_kernel_and_its_verbosity() -> None:
    nest = quiet_nest()
    nest.verbosity = nest.VerbosityLevel.WARNING
    NEST.run(NEST.lower(plain()), spikes(), RunOptions(**OPTIONS))
    assert (nest.network_size, nest.verbosity) == (0, nest.VerbosityLevel.WARNING)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_random_networks_give_the_reference_s_spikes(case: Case) -> None:
    """What NEST lacks is given up first, by name; of the reset there is no way to."""
    populations = tuple(replace(p, neuron=replace(p.neuron, reset="to_value")) for p in case.network.populations)
    network = replace(case.network, populations=populations)
    lowering = NEST.lower(network, allow=("min_delay", "noise_while_refractory"))
    record = [f"{p.name}.v" for p in populations]
    expected = reference.simulate(lowering.network, case.inputs, record=record, **case.run())
    for p in populations:
        far = np.abs(expected.traces[f"{p.name}.v"] - per_unit(p.neuron.v_threshold, p.n))
        assume(np.min(far, initial=1.0) > 1e-9)
    found = NEST.run(lowering, case.inputs, RunOptions(**case.run(), record=record))
    event("spikes" if any(s.n_spikes for s in expected.spikes.values()) else "silence")
    assert {n: s.differing(found.spikes[n]) for n, s in expected.spikes.items()} == dict.fromkeys(expected.spikes, 0)
    for name in record:
        np.testing.assert_allclose(found.traces[name], expected.traces[name], rtol=1e-10, atol=1e-10)


def test_the_command_line_prints_nothing_of_nest_s(tmp_path: Path) -> None:
    """Neither its banner nor its messages, and its own options are not read from our command line."""
    save_spiking_network(NETWORKS["plain"].network, tmp_path / "net.h5")
    script = (
        "import sys, numpy as np\n"
        "from spikeport.snn.files import load_spiking_network\n"
        "from spikeport.targets.base import RunOptions\n"
        "from spikeport.targets.registry import get_target\n"
        "target = get_target('nest')\n"
        "lowering = target.lower(load_spiking_network(sys.argv[1]))\n"
        "found = target.run(lowering, {'x': np.ones((50, 1, 3), dtype=int)}, RunOptions())\n"
        "print('{\"spikes\": %d}' % found.spikes['a'].n_spikes)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "net.h5"), "--debug", "--verbosity=ALL"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["spikes"] > 0
    assert done.stderr == ""
