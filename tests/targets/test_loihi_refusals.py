"""What Loihi refuses: each with the value found and the limit, before a run where that is possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance_networks import NETWORKS, plain, populated
from loihi_lowering import WHOLE, fed, lower, texts, weights

from spikeport.snn import reference
from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import Population, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import RunOptions
from spikeport.targets.loihi import LOIHI


def test_integers_are_allowed_by_name() -> None:
    with pytest.raises(RefusedError, match=r"(?s)floating-point numbers, computes in integers.*--allow precision"):
        LOIHI.lower(plain())
    assert lower(plain()).losses


def test_too_many_neurons_are_refused_with_the_limit() -> None:
    a = replace(plain().populations[0], n=131073)
    network = replace(plain(), populations=(a,), projections=())
    assert texts(network)["neurons"] == "network: neurons: 131073, limit 131072"


def test_too_many_cores_are_refused_with_the_limit() -> None:
    """32 decays to a core: 4,097 different ones take 129."""
    n = 4160
    du = np.arange(n) % 4000 + 64
    mem = np.where(np.arange(n) < 4000, 0.01, 0.02)
    a = Population(name="a", n=n, neuron=LIF(tau_mem=mem, v_threshold=1.0, v_reset=0.0),
                   synapses={"s": Exponential(tau=1e-3 * 4096 / du)})  # fmt: skip
    network = fed(a, np.full((n, 1), 0.01))
    assert texts(network)["neurons"] == "network: cores: 130, a chip has 128"


def test_too_much_fan_in_is_refused_with_the_limit() -> None:
    assert texts(weights(np.full((2, 4097), 1e-6)))["fan_in"] == "population a: in-axons of a core: 4097, limit 4096"
    assert "fan_in" not in texts(weights(np.full((2, 4096), 1e-6)))


def test_too_large_weights_are_refused_with_the_limit() -> None:
    """At threshold mantissa 1, the largest weight is 255 * 2^13 of the threshold's 2^6: 32,640 thresholds a spike."""
    a_threshold = 0.005 * 0.01 / 1e-3  # Euler: a spike of this weight adds 1 to u
    found = texts(weights(np.full((1, 1), 32768 * a_threshold)))["range"]
    assert "thresholds, limit 3.2" in found  # a little less, since rounded weights may add up to more
    assert "range" not in texts(weights(np.full((1, 1), 32000 * a_threshold)))


def test_a_tau_that_no_decay_gives_is_refused_with_the_nearest() -> None:
    slow = texts(populated(neuron=LIF(tau_mem=20.0, v_threshold=1.0, v_reset=0.0)))["range"]
    assert "tau_mem" in slow
    assert "the slowest is 4095/4096, tau 4.096 s" in slow
    fast = texts(populated(synapses={"s": Exponential(tau=0.0005)}))["range"]
    assert "tau of synapse s: below dt = 0.001 s" in fast
    assert "nearest that is not negative is tau = 0.001 s" in fast


def test_a_refractory_period_beyond_the_chips_is_refused_with_the_limit() -> None:
    long = populated(neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=0.063))
    assert texts(long)["range"] == "population a: t_ref: 63 steps, limit 62 steps"
    assert "range" not in texts(populated(neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=0.062)))


def test_a_delay_beyond_the_chips_is_refused_with_the_limit() -> None:
    def delayed(steps: int) -> SpikingNetwork:
        return replace(plain(), projections=(replace(plain().projections[0], delay=steps),))

    assert "delay 64 steps, limit 63" in texts(delayed(64))["delays"]
    assert "delays" not in texts(delayed(63))


def test_a_bias_beyond_the_chips_is_refused_with_the_limit() -> None:
    assert "bias and held inputs: 1e+06 thresholds" in texts(populated(bias=1e6))["range"]
    assert "range" not in texts(populated(bias=1e4))


def test_a_threshold_at_its_reset_is_refused() -> None:
    flat = populated(neuron=LIF(tau_mem=0.01, v_threshold=0.0, v_reset=0.0))
    assert "v_threshold = v_reset" in texts(flat)["range"]


def test_noise_and_soft_resets_are_refused_by_name() -> None:
    noisy = populated(noise_sd=0.1, neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, reset="subtract"))
    found = texts(noisy)
    assert "0.1 mV a step" in found["noise"]
    assert "'subtract', supports to_value" in found["reset"]


def test_two_currents_are_refused_and_two_of_one_decay_are_one() -> None:
    def two(tau: float) -> SpikingNetwork:
        network = populated(synapses={"s": Exponential(tau=0.005), "p": Exponential(tau=tau)})
        again = replace(network.projections[0], synapse="p", weight=network.projections[0].weight[:, ::-1].copy())
        return replace(network, projections=(*network.projections, again))

    assert "s, p decay differently, a compartment has one current" in texts(two(0.01))["synapse"]
    same = two(0.005)
    assert set(texts(same)) == set(WHOLE)
    lowering, inputs = lower(same), NETWORKS["plain"].inputs
    found = LOIHI.run(lowering, inputs, RunOptions())
    assert found.spikes["a"].n_spikes > 100
    assert found.spikes["a"].differing(reference.simulate(lowering.network, inputs).spikes["a"]) == 0


def test_a_run_that_overflows_u_is_refused_and_check_says_so_before() -> None:
    """64 sources into a current that hardly decays: worst case far above 24 bits, and here it comes."""
    n = 64
    a = Population(name="a", n=1, neuron=LIF(tau_mem=4.0, v_threshold=1.0, v_reset=0.0, t_ref=0.05),
                   synapses={"s": Exponential(tau=4.0)}, bias=100.0)  # fmt: skip
    network = fed(a, 2000 * np.geomspace(1, 1e-3, n)[None])
    lowering = lower(network)
    told = [str(loss) for loss in lowering.losses if loss.what == "u may overflow"]
    assert "a run in which it does is refused" in told[0]
    inputs = {"x": np.ones((3000, 1, n), dtype=np.int64)}
    with pytest.raises(RefusedError, match=r"(?s)population a, unit 0: u is \d+ at step \d+ of trial 0, limit 8388607"):
        LOIHI.run(lowering, inputs, RunOptions())


def test_several_spikes_of_one_channel_in_a_step_are_refused() -> None:
    inputs = {"x": np.full((3, 1, 3), 2)}
    with pytest.raises(RefusedError, match="input x: several spikes of one channel in a step, limit 1"):
        LOIHI.run(lower(plain()), inputs, RunOptions())


def test_a_held_value_that_no_bias_holds_is_refused_in_the_run() -> None:
    case = NETWORKS["held input on the membrane"]
    with pytest.raises(RefusedError, match=r"bias with u .*limit 524160"):
        LOIHI.run(lower(case.network), case.inputs | {"u": np.full((1, 2, 2), 1e6)}, RunOptions())


def test_a_v0_beyond_24_bits_is_refused() -> None:
    with pytest.raises(RefusedError, match="24 bits hold 8388607"):
        LOIHI.run(lower(plain()), NETWORKS["plain"].inputs, RunOptions(v0={"a": np.full(5, 1e6)}))


def test_what_a_run_cannot_do_is_refused() -> None:
    lowering, inputs = lower(plain()), NETWORKS["plain"].inputs
    with pytest.raises(SpikeportError, match=r"record: no trace a\.s"):
        LOIHI.run(lowering, inputs, RunOptions(record=("a.s",)))
    with pytest.raises(SpikeportError, match="dtype 'float32': target loihi has int"):
        LOIHI.run(lowering, inputs, RunOptions(dtype="float32"))
    with pytest.raises(SpikeportError, match="noise_values: of a"):
        LOIHI.run(lowering, inputs, RunOptions(noise_values={"a": np.zeros((120, 2, 5))}))
