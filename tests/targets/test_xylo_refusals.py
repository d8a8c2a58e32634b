"""What Xylo refuses: each with the value found and the limit, before a run where that is possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conformance_networks import NETWORKS, plain, populated
from xylo_chips import fed, lower, texts

from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import HeldInput, Projection, SpikingNetwork
from spikeport.snn.synapses import DoubleExponential, Exponential
from spikeport.targets.base import RunOptions
from spikeport.targets.nir import NIR
from spikeport.targets.xylo import XYLO


def test_integers_are_allowed_by_name() -> None:
    with pytest.raises(RefusedError, match=r"(?s)floating-point numbers, computes in integers.*--allow precision"):
        XYLO.lower(plain())
    assert lower(plain()).losses


def test_held_values_are_allowed_by_name_where_a_host_makes_spikes_of_them() -> None:
    held = NETWORKS["held input on the membrane"].network
    with pytest.raises(RefusedError, match=r"(?s)held values via membrane, takes spikes only.*--allow held_via"):
        XYLO.lower(held, allow=("precision",))
    with pytest.raises(RefusedError) as refusal:
        NIR.lower(held, reader="spinnaker2")
    assert "held_via" not in refusal.value.hint


def wide(n: int, fan_out: int) -> SpikingNetwork:
    """n neurons, each of which reaches the next fan_out ones."""
    network = fed(np.full((n, 1), 1e-4))
    w = sum(1e-6 * np.roll(np.eye(n), k, axis=0) for k in range(1, fan_out + 1))
    recurrent = Projection(source="a", target="a", weight=np.asarray(w), synapse="s", delay=1)
    return replace(network, projections=(*network.projections, recurrent))


def test_too_many_neurons_are_refused_with_the_limit() -> None:
    assert texts(wide(1001, 1))["neurons"] == "network: neurons: 1001, limit 1000"
    assert "neurons" not in texts(wide(1000, 1))


def test_too_much_fan_out_is_refused_with_the_limit() -> None:
    assert texts(wide(80, 65))["fan_out"] == "population a: fan-out: 65 (80 units), limit 64"
    assert "fan_out" not in texts(wide(80, 64))


def test_too_many_recurrent_synapses_are_refused_with_the_limit() -> None:
    assert texts(wide(1000, 33))["fan_out"] == "network: recurrent synapses: 33000, limit 32000"
    assert "fan_out" not in texts(wide(1000, 32))


def test_too_many_input_channels_are_refused_with_the_limit() -> None:
    assert texts(fed(np.full((2, 17), 1e-3)))["inputs"] == "network: input channels: 17, limit 16"
    assert "inputs" not in texts(fed(np.full((2, 16), 1e-3)))
    held = replace(plain(), inputs=(*plain().inputs, HeldInput(name="u", n=7, dt=1e-3)))
    assert texts(held)["inputs"] == "network: input channels: 17, two for each of 7 held values, limit 16"


def test_a_tau_that_no_decay_gives_is_refused_with_the_nearest() -> None:
    slow = texts(populated(neuron=LIF(tau_mem=50.0, v_threshold=1.0, v_reset=0.0)))["range"]
    assert "tau_mem" in slow
    assert "the slowest is 1 - 2^-15, tau 32.768 s" in slow
    fast = texts(populated(synapses={"s": Exponential(tau=0.0012)}))["range"]
    assert "tau of synapse s: keeps 0.167 of its state" in fast
    assert "the fastest keeps 0.5, tau 0.002 s" in fast
    assert "swings" in texts(populated(neuron=LIF(tau_mem=0.0005, v_threshold=1.0, v_reset=0.0)))["range"]


def test_a_bias_beyond_sixteen_bits_is_refused_with_the_limit() -> None:
    assert "bias: 409588" in texts(populated(bias=1e2))["range"]
    assert "limit 32767" in texts(populated(bias=1e2))["range"]
    assert "range" not in texts(populated(bias=7.0))


def test_a_v0_beyond_sixteen_bits_is_refused() -> None:
    assert "v0: 1.7 thresholds from its reset, 16 bits hold 1" in texts(populated(v0=1.7))["initial_v"]
    with pytest.raises(RefusedError, match="16 bits hold 32767"):
        XYLO.run(lower(plain()), NETWORKS["plain"].inputs, RunOptions(v0={"a": np.full(5, 2.0)}))


def test_a_threshold_at_its_reset_is_refused() -> None:
    assert "v_threshold = v_reset" in texts(populated(neuron=LIF(tau_mem=0.01, v_threshold=0.0, v_reset=0.0)))["range"]


def test_a_third_decay_is_refused_and_two_are_taken() -> None:
    def several(*taus: float) -> SpikingNetwork:
        synapses = {f"s{k}": Exponential(tau=tau) for k, tau in enumerate(taus)}
        network = plain()
        into = tuple(replace(network.projections[0], synapse=name) for name in synapses)
        a = replace(network.populations[0], synapses=synapses)
        return replace(network, projections=into, populations=(a,))

    assert "s0, s1, s2 decay differently, a neuron has 2" in texts(several(0.004, 0.008, 0.016))["synapse"]
    assert "synapse" not in texts(several(0.004, 0.016))
    assert "synapse" not in texts(several(0.0078, 0.008, 0.016))  # alike on the chip


def test_a_double_exponential_of_equal_time_constants_is_refused() -> None:
    equal = populated(synapses={"s": DoubleExponential(tau_rise=0.004, tau_decay=0.004)})
    assert "tau_rise = tau_decay in 5 units" in texts(equal)["synapse"]
    assert lower(equal, "synapse").losses


def test_noise_and_refractory_periods_are_refused_by_name() -> None:
    found = texts(populated(noise_sd=0.1, neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=0.002)))
    assert "0.1 mV a step" in found["noise"]
    assert "2 ms (2 steps)" in found["refractory"]


def test_a_delay_is_one_step() -> None:
    assert "delay 4 steps, limit 1" in texts(NETWORKS["recurrent, delay 4"].network)["delays"]


def test_more_than_fifteen_spikes_of_a_channel_in_a_step_are_refused() -> None:
    with pytest.raises(RefusedError, match="input x: 16 spikes of one channel in a step, limit 15"):
        XYLO.run(lower(fed([[1e-4]])), {"x": np.full((3, 1, 1), 16)}, RunOptions())


def test_what_a_run_cannot_do_is_refused() -> None:
    lowering, inputs = lower(plain()), NETWORKS["plain"].inputs
    with pytest.raises(SpikeportError, match=r"record: no trace a\.v; v saturates at its threshold"):
        XYLO.run(lowering, inputs, RunOptions(record=("a.v",)))
    with pytest.raises(SpikeportError, match="dtype 'float32': target xylo has int"):
        XYLO.run(lowering, inputs, RunOptions(dtype="float32"))
    with pytest.raises(SpikeportError, match="noise_values: of a"):
        XYLO.run(lowering, inputs, RunOptions(noise_values={"a": np.zeros((120, 2, 5))}))
