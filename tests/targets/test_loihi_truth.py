"""Loihi's integers against others' recordings and simulators, and by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loihi_chips import compiled_run, random_chip
from require import need

from spikeport.targets.loihi.chip import EXCITATORY, INHIBITORY, MIXED, Chip, Compartments, Synapses, actual_weight
from spikeport.targets.loihi.step import State, simulate, step

ZERO = np.zeros(1, dtype=np.int64)
ONE = Compartments(name="a", du=ZERO + 4095, dv=ZERO, vth=100, refractory=ZERO, bias=np.zeros(1), v0=ZERO)


def one_step(c: Compartments, u: int = 0, v: int = 0, arrivals: int = 0, bias: int = 0) -> tuple[int, int, int]:
    """(u, v before the reset, spike) after one step of one compartment."""
    before = State(u=np.array([[u]]), v=np.array([[v]]), ref=np.array([[0]]))
    after, z, seen = step(c, before, np.array([[arrivals]]), np.array([bias]))
    return int(after.u[0, 0]), int(seen[0, 0]), int(z[0, 0])


@pytest.mark.parametrize("run", [simulate, compiled_run], ids=["numpy", "compiled"])
def test_a_recorded_layer_differs_in_no_spike(run: Any, shared_data: Path) -> None:
    """lava-dl's own ground truth of a dense layer on Loihi: du 4095 (no memory), dv 415, vth 6, mixed weights."""
    truth = np.load(shared_data / "loihi" / "dense_256x200.npz", allow_pickle=False)
    w, given_, wanted = truth["weight"], truth["spikes_in"].T[:, None], truth["spikes_out"].T
    layer = Compartments(
        name="layer", du=np.full(256, 4095), dv=np.full(256, 415), vth=6, refractory=np.zeros(256, dtype=np.int64),
        bias=np.zeros(256), v0=np.zeros(256, dtype=np.int64),
    )  # fmt: skip
    dense = Synapses(source="x", target="layer", mantissa=w, exponent=0, mode=MIXED, delay=0)
    chip = Chip(compartments=(layer,), synapses=(dense,), inputs={"x": 200}, dt=1e-3)
    found = run(chip, {"x": given_.astype(np.int64)}, {"layer": np.zeros(256, dtype=np.int64)}, 2000, 1)
    z = found["layer"]["z"][:, 0]
    assert wanted.sum() == 1826
    assert np.count_nonzero(z[:-1] != wanted[1:]) == 0  # Lava shows a spike one step later


def test_u_decays_by_du_plus_one_and_v_by_dv() -> None:
    """1000 * (4096 - 100) / 4096 = 975.59; v: 1000 * (4096 - 99) / 4096 = 975.83."""
    c = replace(ONE, du=np.array([99]), dv=np.array([99]), vth=131071)
    assert one_step(c, u=1000) == (975, 975, 0)
    assert one_step(c, u=-1000) == (-975, -975, 0)
    assert one_step(c, v=1000) == (0, 975, 0)


def test_u_wraps_and_v_saturates() -> None:
    top = 2**23
    c = replace(ONE, vth=131071)
    assert one_step(c, arrivals=top + 10)[:2] == (-top + 10, -top + 10)
    assert one_step(c, arrivals=-top - 10)[:2] == (top - 10, top - 10)
    assert one_step(c, v=-top + 1, bias=-500)[1] == -top + 1
    assert one_step(c, v=top - 1, bias=500)[1:] == (top - 1, 1)  # the largest threshold is still below


def test_a_spike_is_above_the_threshold_and_not_at_it() -> None:
    assert one_step(ONE, bias=6400)[2] == 0
    assert one_step(ONE, bias=6401)[2] == 1


def test_after_a_spike_v_rests_and_u_goes_on() -> None:
    """du 2047 halves u: 8000, 4000, 2000, ...; v is 0 for two steps, then integrates what u still is."""
    c = replace(ONE, du=np.array([2047]), refractory=np.array([2]))
    pulse = np.zeros((5, 1, 1), dtype=np.int64)
    pulse[0] = 1
    big = Synapses(source="x", target="a", mantissa=np.array([[125]]), exponent=0, mode=EXCITATORY, delay=0)
    chip = Chip(compartments=(c,), synapses=(big,), inputs={"x": 1}, dt=1e-3)
    found = simulate(chip, {"x": pulse}, {"a": ZERO}, 5, 1)["a"]
    assert found["u"][:, 0, 0].tolist() == [8000, 4000, 2000, 1000, 500]
    assert found["v"][:, 0, 0].tolist() == [8000, 0, 0, 1000, 1500]
    assert found["z"][:, 0, 0].tolist() == [1, 0, 0, 0, 0]


def test_a_weight_is_mantissa_times_two_to_six_and_exponent() -> None:
    assert actual_weight(np.array([255, 256, -1]), 0, EXCITATORY).tolist() == [255 * 64, 255 * 64, 0]
    assert actual_weight(np.array([-255, 3]), 1, INHIBITORY).tolist() == [-255 * 128, 0]
    assert actual_weight(np.array([254, 7, -256]), 0, MIXED).tolist() == [254 * 64, 6 * 64, -256 * 64]
    assert actual_weight(np.array([7]), -1, EXCITATORY).tolist() == [3 * 64]  # 224, its lowest 6 bits cut
    assert actual_weight(np.array([255]), 7, EXCITATORY).tolist() == [255 * 2**13]  # 21 bits hold the largest


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_the_compiled_chip_is_the_plain_one(seed: int) -> None:
    """Random recurrent networks with every mode, exponents, delays, biases; u, v and spikes."""
    chip, given_, biases = random_chip(seed)
    n_steps, n_batch = next(iter(given_.values())).shape[:2]
    slow, fast = (run(chip, given_, biases, n_steps, n_batch) for run in (simulate, compiled_run))
    for name, parts in slow.items():
        for what, values in parts.items():
            np.testing.assert_array_equal(values, fast[name][what], err_msg=f"{name}.{what}")


def test_random_chips_spike_and_reach_their_edges() -> None:
    """So that the comparison above compares something."""
    found = [simulate(*random_chip(seed), 60, 2) for seed in range(20)]
    assert sum(int(p["z"].sum()) for f in found for p in f.values()) > 500
    assert any(np.abs(p["v"]).max() == 2**23 - 1 for f in found for p in f.values())


@pytest.mark.filterwarnings("ignore")  # of its import and of Brian2's: not ours
@pytest.mark.parametrize("seed", range(12))
def test_brian2_loihi_gives_the_same(seed: int) -> None:
    """Recurrent networks in its range: no bias, no wrap, no clip, one decay and delay a group; spikes, u and v."""
    need("brian2_loihi", resource="brian2-loihi")
    from loihi_peer import peer_run

    chip, given_ = random_chip(seed, common=True)[:2]
    n_steps = given_["x"].shape[0]
    found = simulate(chip, given_, {"a": np.zeros(chip.compartments[0].n, dtype=np.int64)}, n_steps, 1)["a"]
    assert np.abs(found["v"]).max() < 2**23 - 1
    z, u, v = peer_run(chip, given_["x"][:, 0], n_steps)
    assert z.sum() > 20
    np.testing.assert_array_equal(found["z"][:, 0], z)
    np.testing.assert_array_equal(found["u"][:, 0], u)
    np.testing.assert_array_equal(np.where(found["z"][:, 0], 0, found["v"][:, 0]), v)
