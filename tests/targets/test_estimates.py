"""Counts of a run against counting by hand, one by one, and the laws that they keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from estimate_runs import CHIPS, DT, STEPS, joined, lowered, network, recorded, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.snn.recording import Recording, SpikeTrains, join
from spikeport.snn.spiking import SpikeInput, SpikingNetwork
from spikeport.targets.estimates import estimate
from spikeport.targets.estimates.counts import labels


@pytest.mark.parametrize("target", ["engine", *CHIPS])
def test_counts_are_those_counted_by_hand(target: str) -> None:
    net, recording, inputs = tiny()
    c = estimate(lowered(net, target), recording, inputs=inputs).counts.as_dict()
    assert c["spikes"] == {"a": 6, "b": 1}
    assert c["spikes_of_each_trial"] == [4, 3]
    assert c["input_spikes"] == {"x": 3}
    # x: every channel has 2 targets; a: unit 0 has 1, unit 1 none, unit 2 has 2
    assert c["synaptic_events"] == {"x->a": 3 * 2, "a->b": 2 * 1 + 1 * 2 + 3 * 0}
    assert c["neuron_updates"] == {"a": 3 * STEPS * 2, "b": 2 * STEPS * 2}
    assert (c["trials"], c["steps"], c["seconds"]) == (2, STEPS, pytest.approx(STEPS * DT))


def test_loihi_sends_a_message_to_every_core_that_a_spike_reaches() -> None:
    net, recording, inputs = tiny()
    c = estimate(lowered(net, "loihi"), recording, inputs=inputs).counts.as_dict()
    assert c["places"] == {"cores": 2, "tiles": 1}  # one for each population
    assert c["messages"] == 2 + 1  # from units 0 and 2 of a; b reaches nobody, and the host's are not the chip's
    assert c["hops"] == 0  # one tile


def test_spikes_of_a_channel_in_one_step_count_each() -> None:
    net, recording, inputs = tiny()
    more = {"x": 5 * inputs["x"]}
    assert estimate(lowered(net, "engine"), recording, inputs=more).counts.as_dict()["synaptic_events"]["x->a"] == 30


def test_an_input_that_goes_on_after_the_run_is_counted_to_its_end() -> None:
    net, recording, inputs = tiny()
    longer = {"x": np.concatenate([inputs["x"], np.ones((9, 2, 2), dtype=int)])}
    assert estimate(lowered(net, "engine"), recording, inputs=longer).counts.as_dict()["input_spikes"] == {"x": 3}


@pytest.mark.parametrize("target", CHIPS)
def test_a_weight_that_rounding_made_0_is_neither_stored_nor_an_event(target: str) -> None:
    w = np.full((40, 1), 2e-3)
    w[0] = 1e-12
    net = network(joined("x", "a", w), sizes={"a": 40}, inputs=(SpikeInput(name="x", n=1),))
    x = np.ones((STEPS, 1, 1), dtype=int)
    silent = recorded({"a": np.zeros((STEPS, 1, 40), dtype=int)})
    c = estimate(lowered(net, target), silent, inputs={"x": x}).counts
    assert c.total("events") == STEPS * 39
    assert estimate(lowered(net, "engine"), silent, inputs={"x": x}).counts.total("events") == STEPS * 40
    # Loihi: 40 synapses of 8 bits and 10 of header are 6 words of 64 bits, 39 with an index of 10 bits each would be 12
    assert c.total("reads") == STEPS * (40 if target == "loihi" else 39)
    assert c.memory["weights"] == (6 * 8 if target == "loihi" else 39 * 4)


def test_a_sparse_list_is_read_without_zeros() -> None:
    w = np.zeros((40, 1))
    w[3:5] = 2e-3
    net = network(joined("x", "a", w), sizes={"a": 40}, inputs=(SpikeInput(name="x", n=1),))
    silent = recorded({"a": np.zeros((STEPS, 1, 40), dtype=int)})
    c = estimate(lowered(net, "loihi"), silent, inputs={"x": np.ones((STEPS, 1, 1), dtype=int)}).counts
    assert c.total("reads") == c.total("events") == STEPS * 2


@st.composite
def runs(draw: Any) -> tuple[SpikingNetwork, Recording]:
    """Random recurrent networks of two populations, and random spikes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = {"a": draw(st.integers(1, 9)), "b": draw(st.integers(1, 9))}
    p = draw(st.sampled_from([0.1, 0.5, 1.0]))
    parts = [
        joined(i, j, rng.uniform(1e-3, 4e-3, (sizes[j], sizes[i])) * (rng.random((sizes[j], sizes[i])) < p)
               * rng.choice([-1, 1], sizes[i]), delay=int(rng.integers(1, 4)))
        for i in sizes for j in sizes if rng.random() < 0.7
    ]  # fmt: skip
    trials = draw(st.integers(1, 3))
    z = {k: (rng.random((STEPS, trials, n)) < 0.4).astype(int) for k, n in sizes.items()}
    return network(*parts, sizes=sizes), recorded(z)


@pytest.mark.parametrize("target", ["engine", *CHIPS])
@settings(max_examples=12, deadline=None)
@given(run=runs())
def test_events_are_the_spikes_times_the_stored_synapses_one_by_one(target: str, run: Any) -> None:
    net, recording = run
    low = lowered(net, target)
    counted = estimate(low, recording).counts.as_dict()["synaptic_events"]
    for name, j, told in zip(labels(net), net.projections, low.network.projections, strict=True):
        dense, by_hand = recording.spikes[j.source].dense(), 0
        for step, trial, unit in np.argwhere(dense):
            by_hand += int(dense[step, trial, unit]) * sum(w != 0 for w in told.weight[:, unit])
        assert counted[name] == by_hand


def parts_of(recording: Recording) -> list[Recording]:
    return [
        replace(recording, n_batch=1, spikes={k: SpikeTrains.from_dense(s.dense()[:, b : b + 1])
                                              for k, s in recording.spikes.items()})
        for b in range(recording.n_batch)
    ]  # fmt: skip


def sums(found: Any) -> dict[str, Any]:
    """What adds up over trials."""
    c = found.counts.as_dict()
    return {"joules": list(found.joules or ()), "seconds": list(found.seconds or ()), "messages": c["messages"] or 0,
            "host": c["host_multiply_accumulates"],
            **{k: sum(c[k].values()) for k in ("spikes", "synaptic_events", "synaptic_reads", "neuron_updates")},
            }  # fmt: skip


@pytest.mark.parametrize("target", ["engine", *CHIPS])
@settings(max_examples=8, deadline=None)
@given(run=runs())
def test_counts_joules_and_seconds_add_up_over_trials(target: str, run: Any) -> None:
    net, recording = run
    low = lowered(net, target)
    each = [sums(estimate(low, one)) for one in parts_of(recording)]
    whole = sums(estimate(low, join(parts_of(recording))))
    for name, value in whole.items():
        assert value == pytest.approx(np.sum([e[name] for e in each], axis=0), rel=1e-12)


@settings(max_examples=12, deadline=None)
@given(run=runs(), seed=st.integers(0, 999))
def test_events_add_up_over_projections_that_share_the_weights(run: Any, seed: int) -> None:
    net, recording = run
    rng = np.random.default_rng(seed)
    halves = []
    for j in net.projections:
        mine = rng.random(j.weight.shape) < 0.5
        halves += [replace(j, weight=j.weight * mine), replace(j, weight=j.weight * ~mine)]
    split = replace(net, projections=tuple(halves))
    assert len(set(labels(split))) == len(halves)
    found = [estimate(n, recording, "engine").counts.total("events") for n in (net, split)]
    assert found[0] == found[1]


@pytest.mark.parametrize("target", ["engine", *CHIPS])
@settings(max_examples=8, deadline=None)
@given(run=runs(), seed=st.integers(0, 999))
def test_the_order_of_units_changes_nothing(target: str, run: Any, seed: int) -> None:
    net, recording = run
    rng = np.random.default_rng(seed)
    order = {p.name: rng.permutation(p.n) for p in net.populations}
    shuffled = replace(net, projections=tuple(
        replace(j, weight=j.weight[order[j.target]][:, order[j.source]]) for j in net.projections
    ))  # fmt: skip
    spikes = {k: SpikeTrains.from_dense(s.dense()[:, :, order[k]]) for k, s in recording.spikes.items()}
    one, other = (sums(estimate(lowered(n, target), r))
                  for n, r in ((net, recording), (shuffled, replace(recording, spikes=spikes))))  # fmt: skip
    for name, value in one.items():
        assert value == pytest.approx(other[name], rel=1e-12), name
