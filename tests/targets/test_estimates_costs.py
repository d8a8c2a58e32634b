"""Figures with their sources, what joules and seconds are made of, the host, the rate network, and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from estimate_runs import CHIPS, DT, STEPS, lowered, recorded, tiny, with_host
from example_networks import rate_network

from spikeport.snn.errors import RefusedError, SpikeportError
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.synapses import DoubleExponential, Exponential
from spikeport.targets.estimates import estimate, estimate_rate
from spikeport.targets.estimates.figures import DEVICES, FIGURES, Figure, figures, spread
from spikeport.targets.estimates.rate import count_rate
from spikeport.targets.estimates.stored import distance

# figures


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f"{f.device} {f.event} {f.unit} {f.source[:12]}")
def test_every_figure_has_a_source_with_a_year_and_a_place(figure: Figure) -> None:
    assert figure.problems() == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"source": ""}, "source: empty"),
        ({"source": "somebody said so"}, "ends with no year"),
        ({"where": " "}, "where: empty"),
        ({"verified": "surely"}, "must begin with one of quoted"),
        ({"unit": "kWh"}, "unit: 'kWh'"),
        ({"low": 2.0, "high": 1.0}, "must be 0 <= low <= high"),
    ],
)
def test_a_figure_without_source_is_a_problem(changed: dict[str, Any], problem: str) -> None:
    assert any(problem in found for found in replace(FIGURES[0], **changed).problems())


@pytest.mark.parametrize("device", CHIPS)
def test_an_event_of_a_chip_has_a_range_and_no_bare_number(device: str) -> None:
    for event in {f.event for f in FIGURES if f.device == device and f.unit == "J"}:
        low, high = spread(figures(device, event, "J"))
        assert low < high


def test_a_range_spans_all_figures() -> None:
    assert spread(figures("loihi", "synaptic event", "J")) == pytest.approx((23.6e-12, 35.5e-12))
    assert spread(figures("cpu", "multiply-accumulate", "J")) == pytest.approx((4.6e-12, 8.6e-9))


# joules and seconds


def test_the_energy_of_a_silent_network_is_that_of_its_neuron_updates() -> None:
    net, _, _ = tiny()
    silent = recorded({"a": np.zeros((STEPS, 2, 3), dtype=int), "b": np.zeros((STEPS, 2, 2), dtype=int)})
    found = estimate(lowered(net, "loihi"), silent, inputs={"x": np.zeros((STEPS, 2, 2), dtype=int)})
    updates = 5 * STEPS * 2
    assert found.joules == pytest.approx((updates * 51.2e-12, updates * 81e-12))
    # in each step the larger core, of 3 neurons, and the barrier
    assert found.seconds == pytest.approx((2 * STEPS * (3 * 5.3e-9 + 113e-9), 2 * STEPS * (3 * 9.7e-9 + 1.8e-6)))
    assert found.on == pytest.approx((2 * STEPS * DT * 0.029, 2 * STEPS * DT * 0.110))


def test_the_energy_is_the_sum_of_counts_times_figures() -> None:
    net, recording, inputs = tiny()
    found = estimate(lowered(net, "loihi"), recording, inputs=inputs)
    events, reads, updates, spikes, messages = 10, found.counts.total("reads"), 60, 7, 3
    assert found.joules == pytest.approx((
        events * 23.6e-12 + updates * 51.2e-12 + messages * 1.7e-12,
        reads * 35.5e-12 + updates * 81e-12 + spikes * 69.3e-12 + messages * 111e-12,
    ))  # fmt: skip
    assert sum(t.joules.low for t in found.terms) == pytest.approx(found.joules.low)
    assert found.left_out


def test_spinnaker_runs_in_real_time_at_1_ms_and_may_be_slower_below() -> None:
    net, recording, inputs = tiny()
    assert estimate(lowered(net, "spinnaker"), recording, inputs=inputs).seconds == pytest.approx((0.012, 0.012))
    fast = replace(net, dt=1e-4)
    found = estimate(lowered(fast, "spinnaker"), replace(recording, dt=1e-4), inputs=inputs)
    assert found.seconds == pytest.approx((0.0012, 0.024))
    assert any(f.event == "slow-down" for f in found.sources)


def test_hops_are_the_rows_and_columns_between_two_tiles() -> None:
    assert [distance(0, k) for k in (0, 3, 4, 15, 16, 20)] == [0, 0, 1, 3, 1, 2]
    assert all(distance(i, j) == distance(j, i) for i in range(0, 128, 7) for j in range(0, 128, 5))


def test_a_target_without_figures_has_counts_only_unless_another_device_is_named() -> None:
    net, recording, inputs = tiny()
    plain = estimate(net, recording, "engine", inputs=inputs)
    assert (plain.device, plain.joules, plain.seconds, plain.on) == (None, None, None, None)
    priced = estimate(net, recording, "engine", inputs=inputs, device="spinnaker2")
    assert priced.joules == pytest.approx((10 * 0.2e-9 + 60 * 2.19e-9, 10 * 0.45e-9 + 60 * 2.19e-9))
    assert priced.seconds is None


@pytest.mark.parametrize("target", ["engine", *CHIPS])
def test_an_estimate_is_strict_json_with_the_figures_that_it_used(target: str) -> None:
    net, recording, inputs = tiny()
    found = estimate(lowered(net, target), recording, inputs=inputs)
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert bool(told["figures"]) == (target in CHIPS)
    assert {t["event"] for t in told["terms"]} <= {f["event"] for f in told["figures"]}
    assert all(f["source"] for f in told["figures"])


# the host and the rate network


@pytest.mark.parametrize(
    ("synapse", "filters"),
    [
        (Exponential(tau=0.01), 1 * STEPS),  # behind the weights: one output, one state
        (DoubleExponential(tau_rise=2e-3, tau_decay=0.01), 3 * STEPS),  # two states, three coefficients
        (Exponential(tau=np.array([0.01, 0.02, 0.03])), 3 * STEPS + 2 * STEPS),  # one of each unit, weights every step
    ],
)
def test_what_is_left_to_the_host_is_counted(synapse: Any, filters: int) -> None:
    net, recording = with_host(synapse)
    c = estimate(net, recording, "engine").counts
    inputs, spikes = 3 * STEPS // 2, 2  # 3 weights a sample, a sample every second step; spikes of units 0 and 2
    assert c.total("host") == inputs + spikes + filters


def test_a_host_that_filters_held_inputs_works_and_writes_for_every_unit_in_every_step() -> None:
    net, recording = with_host(Exponential(tau=0.01))
    straight = estimate(lowered(net, "loihi"), recording).counts
    assert straight.writes == 3 * STEPS // 2  # at each sample
    into = replace(net.projections[0], synapse="s", weight=net.projections[0].weight * 1e-3)
    for target in CHIPS:
        filtered = estimate(lowered(replace(net, projections=(into,)), target), recording).counts
        assert filtered.writes == 3 * STEPS
        assert filtered.total("host") == straight.total("host") + 3 * STEPS
    assert estimate(replace(net, projections=(into,)), recording, "engine").counts.writes == 0


def test_the_host_is_priced_as_a_cpu_beside_the_chip() -> None:
    net, recording = with_host(Exponential(tau=0.01))
    found = estimate(lowered(net, "loihi"), recording)
    n = found.counts.total("host")
    assert found.host == pytest.approx((n * 4.6e-12, n * 8.6e-9))
    assert any((f.device, f.event) == ("cpu", "multiply-accumulate") for f in found.sources)


def test_the_rate_network_is_counted_by_its_own_steps() -> None:
    w = np.zeros((4, 4))
    w[0, 1] = w[2, 3] = w[3, 0] = 0.5
    net = rate_network(4, w_rec=w, w_in=np.ones((4, 2)), w_out=np.ones((1, 4)), tau=np.full(4, 0.05),
                       labels={})  # fmt: skip
    c = count_rate(net, 0.1)
    assert c.steps == 20
    assert c.macs == (3 + 8 + 4 + 2 * 4, 16 + 8 + 4 + 2 * 4)
    state = 4 * (6 * 4 + 2 + 1)
    assert c.bytes_moved == (min(28 * 4, 15 * 8) + state, 28 * 4 + state)
    assert (c.activations, c.draws) == (4, 4)
    found = estimate_rate(net, 0.1, "cpu", trials=3)
    assert found.joules == pytest.approx((60 * (23 * 4.6e-12 + c.bytes_moved[0] * 1.25e-12),
                                          60 * (36 * 8.6e-9 + c.bytes_moved[1] * 1.25e-12)))  # fmt: skip
    assert found.seconds is None
    assert found.on == pytest.approx((0.3 * 17.01, 0.3 * 28.48))


def test_a_dense_matrix_is_not_counted_as_a_sparse_one() -> None:
    c = count_rate(rate_network(6), 0.01)
    assert c.macs[0] == c.macs[1] == 36 + 12 + 6 + 12
    assert c.bytes_moved[0] == c.bytes_moved[1]  # an index for each weight would cost more


# refusals


def test_a_recording_of_another_network_is_refused_with_every_reason() -> None:
    net, recording, _ = tiny()
    wrong = replace(recording, dt=5e-4, spikes={"a": SpikeTrains.from_dense(np.zeros((STEPS, 2, 4), dtype=int))})
    with pytest.raises(SpikeportError, match="not one of this network") as caught:
        estimate(net, wrong, "engine")
    text = "\n".join(caught.value.problems)
    assert "population a: 4 units in the recording, 3 in the network" in text
    assert "population b: its spikes are not in the recording" in text
    assert "dt: 0.0005 s in the recording, 0.001 s in the network" in text
    assert "input x: its spikes are not in a recording" in text


def test_inputs_of_other_trials_are_refused() -> None:
    net, recording, inputs = tiny()
    with pytest.raises(SpikeportError, match="not one of this network") as caught:
        estimate(net, recording, "engine", inputs={"x": inputs["x"][:, :1]})
    assert caught.value.problems == ("input x: (1, 2) trials and channels, must be (2, 2)",)


def test_what_cannot_be_asked_is_refused() -> None:
    net, recording, inputs = tiny()
    with pytest.raises(SpikeportError, match="no target"):
        estimate(net, recording)
    with pytest.raises(SpikeportError, match="lowered to engine, not to loihi"):
        estimate(lowered(net, "engine"), recording, "loihi", inputs=inputs)
    with pytest.raises(SpikeportError, match="device 'abacus': has no published figures"):
        estimate(net, recording, "engine", inputs=inputs, device="abacus")
    with pytest.raises(SpikeportError, match="device 'xylo': no figure for a multiply-accumulate"):
        estimate_rate(rate_network(4), 1.0, "xylo")
    with pytest.raises(RefusedError, match="loihi: cannot take"):
        estimate(net, recording, "loihi", inputs=inputs)  # precision was not allowed


def test_devices_are_those_of_the_figures() -> None:
    assert {"loihi", "spinnaker", "xylo", "cpu", "gpu"} <= set(DEVICES)
