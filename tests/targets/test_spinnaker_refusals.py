"""What SpiNNaker refuses: each with the value found and the limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conformance_networks import NETWORKS, plain, populated, recurrent, spikes
from spinnaker_chips import lower, texts

from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import Projection, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.targets.base import RunOptions
from spikeport.targets.spinnaker import SPINNAKER


def weighted(w: float) -> SpikingNetwork:
    network = plain()
    return replace(network, projections=(replace(network.projections[0], weight=np.full((5, 3), w)),))


def test_integers_are_allowed_by_name() -> None:
    with pytest.raises(RefusedError, match=r"(?s)floating-point numbers, computes in integers.*--allow precision"):
        SPINNAKER.lower(plain())


def test_weights_that_could_move_v_too_far_are_refused_with_the_limit() -> None:
    """3 sources of 2.8 mV s a ms can move v by 8400 mV; 2.7 by 8100."""
    found = texts(weighted(2.8))["range"]
    assert "weights, all sources spiking as fast as they can: 8400 mV, limit 8192 mV" in found
    assert "range" not in texts(weighted(2.7))


def test_weights_that_no_ring_buffer_holds_are_refused_with_the_limit() -> None:
    """With tau = dt, 1/11 of a weight acts in its step and nothing later, so that weights are 11 times as large."""
    network = weighted(2.7)
    short = replace(network.populations[0], synapses={"s": Exponential(tau=0.001)})
    found = texts(replace(network, populations=(short,)))["range"]
    assert "weights that can arrive in one step: more than 65535 nA, limit 65535 nA" in found


def test_a_tau_that_no_decay_gives_is_refused_with_the_nearest() -> None:
    slow = texts(populated(neuron=LIF(tau_mem=70.0, v_threshold=1.0, v_reset=0.0)))["range"]
    assert "tau_mem: keeps" in slow
    assert "the nearest that is not too slow is tau = 32.768 s" in slow
    fast = texts(populated(synapses={"s": Exponential(tau=0.0004)}))["range"]
    assert "tau of synapse s: below dt = 0.001 s" in fast


def test_other_resets_and_noise_are_refused_by_name() -> None:
    assert "reset" in texts(NETWORKS["reset by subtraction"].network)
    assert texts(populated(noise_sd=0.1))["noise"] == "population a: noise_sd: 0.1 mV a step, not supported"


def test_a_step_that_is_no_whole_microsecond_is_refused() -> None:
    assert texts(plain(dt=1.0000005e-3))["dt"].endswith("a whole number of microseconds")
    assert "dt" not in texts(plain(dt=1e-4))


def test_a_refractory_unit_that_starts_above_its_threshold_is_refused_unless_it_may_spike() -> None:
    waits = populated(ref0=3, v0=1.5)
    assert "the chip spikes then" in texts(waits)["spikes_while_refractory"]
    assert "spikes_while_refractory" not in texts(populated(ref0=3, v0=1.5, spikes_while_refractory=True))
    lowering = lower(populated(ref0=3))
    with pytest.raises(RefusedError, match="starts above its threshold"):
        SPINNAKER.run(lowering, spikes(), RunOptions(v0={"a": np.full(5, 1.5)}))


def test_too_long_times_are_refused_with_the_limit() -> None:
    assert texts(recurrent(129))["delays"] == "projection a->a: delay 129 steps, limit 128"
    long = populated(neuron=LIF(tau_mem=0.01, v_threshold=1.0, v_reset=0.0, t_ref=70.0))
    assert texts(long)["range"] == "population a: t_ref: 70 s, limit 65.5 s"


def test_synapses_that_decay_differently_are_refused() -> None:
    network = populated(synapses={"s": Exponential(tau=0.005), "t": Exponential(tau=0.006)})
    more = Projection(source="x", target="a", weight=np.full((5, 3), 1e-3), synapse="t")
    network = replace(network, projections=(*network.projections, more))
    assert "s, t decay differently, both receptors have one tau here" in texts(network)["synapse"]


def test_several_spikes_of_a_channel_in_a_step_are_refused() -> None:
    with pytest.raises(RefusedError, match="several spikes of one channel in a step, limit 1"):
        SPINNAKER.run(lower(plain()), {"x": np.full((5, 1, 3), 2)}, RunOptions())


def test_held_values_that_no_current_holds_are_refused_with_the_limit() -> None:
    case = NETWORKS["held input on the membrane"]
    inputs = {**case.inputs, "u": case.inputs["u"] * 1e5}
    with pytest.raises(RefusedError, match=r"a current of .* nA for .* mV, limit"):
        SPINNAKER.run(lower(case.network), inputs, RunOptions())


def test_a_run_refuses_what_it_has_not() -> None:
    lowering = lower(plain())
    with pytest.raises(SpikeportError, match=r"no trace a.u, there are a.v"):
        SPINNAKER.run(lowering, spikes(), RunOptions(record=("a.u",)))
    with pytest.raises(SpikeportError, match="the chip adds no numbers to v"):
        SPINNAKER.run(lowering, spikes(), RunOptions(noise_values={"a": np.zeros((120, 2, 5))}))
    with pytest.raises(SpikeportError, match="dtype 'float32': target spinnaker has int"):
        SPINNAKER.run(lowering, spikes(), RunOptions(dtype="float32"))


def test_a_script_ends_in_py(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match=r"must end in \.py"):
        SPINNAKER.export(lower(plain()), tmp_path / "net.txt")
