"""Xylo's integers: one step by hand, the compiled form, and SynSense's own simulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from require import need
from xylo_chips import compiled_run, random_chip

from spikeport.snn.errors import SpikeportError
from spikeport.targets.xylo.chip import Channel, Chip, Neurons
from spikeport.targets.xylo.kernel import CEILING, CURRENT, FLOOR
from spikeport.targets.xylo.limits import FULL, HIDDEN_SPIKES
from spikeport.targets.xylo.simulator import simulator
from spikeport.targets.xylo.step import simulate


def one(**changes: Any) -> Chip:
    """A neuron with one input on its first synapse: dash 1, 3; weight 100."""
    whole = np.ones(1, dtype=np.int64)
    neuron: dict[str, Any] = {
        "name": "a", "dash_mem": 3 * whole, "dash_syn": np.array([[1, 2]]), "threshold": 70 * whole, "bias": 0 * whole,
        "v0": 0 * whole,
    }  # fmt: skip
    shift = changes.pop("shift", 0)
    weight = np.array([[[changes.pop("weight", 100), 0]]], dtype=np.int8)
    return Chip(
        neurons=(Neurons(**{**neuron, **{k: np.asarray(v).reshape(-1) for k, v in changes.items()}}),),
        channels=(Channel(source="x", index=0),), weights_in=weight, weights_rec=np.zeros((1, 1, 2), dtype=np.int8),
        shift_in=shift, shift_rec=0, counts={}, dt=1e-3,
    )  # fmt: skip


def test_a_step_by_hand() -> None:
    """i = 100 - 50; v = 50. Then i = 25, v = 50 - 6 + 25 = 69; then i = 13, v = 69 - 8 + 13 = 74: a spike leaves 4."""
    found = simulate(one(), np.array([[1], [0], [0], [0]]))
    assert found["i"][:, 0, 0].tolist() == [50, 25, 13, 7]
    assert found["z"][:, 0].tolist() == [0, 0, 1, 0]
    assert found["v"][:, 0].tolist() == [50, 69, 4, 10]


def test_a_current_never_sticks_and_a_negative_one_decays_faster() -> None:
    """5 >> 1 is 2, 1 >> 1 is 0 and takes 1; -5 >> 1 is -3."""
    up, down = (simulate(one(weight=w), np.array([[1], [0], [0], [0]]))["i"][:, 0, 0].tolist() for w in (5, -5))
    assert up == [3, 2, 1, 0]
    assert down == [-2, -1, 0, 0]


def test_at_the_largest_threshold_a_spike_resets_to_zero() -> None:
    """However far above: v saturates at 32767, and 32767 - 32767 is 0."""
    found = simulate(one(threshold=FULL, shift=7), np.full((8, 1), 15))
    assert found["z"].max() == 1
    assert found["z"].sum() == 2
    assert (found["v"][found["z"] == 1] == 0).all()


def test_a_neuron_spikes_31_times_in_a_step_at_most() -> None:
    found = simulate(one(threshold=1, shift=3), np.full((3, 1), 15))
    assert found["z"][:, 0].tolist() == [HIDDEN_SPIKES] * 3


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_the_compiled_step_gives_the_same_integers(seed: int) -> None:
    chip, spikes = random_chip(seed)
    slow, (fast, _) = simulate(chip, spikes), compiled_run(chip, spikes)
    for what, values in fast.items():
        np.testing.assert_array_equal(values, slow[what], err_msg=what)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_what_no_count_tells_of_fits_sixteen_bits(seed: int) -> None:
    """Where the compiled step counts nothing, a step without any saturation gives the same."""
    chip, spikes = random_chip(seed)
    quiet = replace(chip, shift_in=0, shift_rec=0)
    fast, over = compiled_run(quiet, np.minimum(spikes, 1))
    if over[[CURRENT, FLOOR, CEILING], 0].any():
        return
    np.testing.assert_array_equal(fast["v"], unbounded(quiet, np.minimum(spikes, 1)))


def unbounded(chip: Chip, spikes: Any) -> Any:
    """v of each step in Python's integers, which have no end; but at the largest threshold, where v stops there."""
    c = chip.neurons[0]
    i, v, z = np.zeros((chip.n, 2), dtype=object), c.v0.astype(object), np.zeros(chip.n, dtype=object)
    w_in, w_rec = chip.weights_in.astype(object), chip.weights_rec.astype(object)

    def taken(x: Any, k: Any) -> Any:
        return (x >> k) or (x > 0) - (x < 0)

    rows = []
    for now in spikes:
        i = i + np.tensordot(now.astype(object), w_in, 1) + np.tensordot(z, w_rec, 1)
        for n in range(chip.n):
            i[n] = [i[n, s] - taken(i[n, s], int(c.dash_syn[n, s])) for s in (0, 1)]
            v[n] += i[n].sum() - taken(v[n], int(c.dash_mem[n])) + int(c.bias[n])
            v[n] = min(v[n], FULL) if c.threshold[n] == FULL else v[n]
            z[n] = max(0, min(v[n] // int(c.threshold[n]), HIDDEN_SPIKES))
            v[n] -= z[n] * int(c.threshold[n])
        rows.append(v.copy())
    return np.array(rows, dtype=np.int64)


# SynSense's own simulator


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_xylosim_gives_the_same_spikes_and_states(first: int) -> None:
    """Random recurrent networks, from quiet ones to those in which everything saturates, read-out neurons included."""
    need("xylosim", resource="xylosim")
    spikes = 0
    for seed in range(first, first + 20):
        chip, counts = random_chip(seed, from_zero=True)
        ours, theirs = simulate(chip, counts), simulator(chip).evolve(counts)
        spikes += int(ours["z"].sum())
        for what, values in theirs.items():
            np.testing.assert_array_equal(ours[what], values, err_msg=f"seed {seed}: {what}")
    assert spikes > 1000


def test_xylosim_starts_at_zero() -> None:
    need("xylosim", resource="xylosim")
    with pytest.raises(SpikeportError, match=r"starts at v = 0\s+v0: up to 7"):
        simulator(one(v0=7))
