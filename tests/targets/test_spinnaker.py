"""SpiNNaker as a target: its arithmetic, its step, and how a network becomes its integers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conformance_networks import NETWORKS, plain, recurrent
from hypothesis import given, settings
from hypothesis import strategies as st
from spinnaker_chips import cells, compiled_run, lower, random_chip

from spikeport import load_source, transfer
from spikeport.resources import model_path
from spikeport.snn import engine, reference
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import HeldInput, Population, Projection, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Exponential
from spikeport.snn.tasks import get_task
from spikeport.targets.base import RunOptions
from spikeport.targets.spinnaker import SPINNAKER, arithmetic
from spikeport.targets.spinnaker.limits import WEIGHT_MAX
from spikeport.targets.spinnaker.step import simulate, start, step

# the constants of a step


@given(st.integers(arithmetic.GONE, 0))
@settings(deadline=None)
def test_the_chips_exponential_is_one_within_a_millionth(n: int) -> None:
    assert arithmetic.exponential(n) / 2**32 == pytest.approx(math.exp(n / 2**15), abs=1.5e-6)


def test_the_exponentials_tables_are_those_of_the_chips_source() -> None:
    """stdfix-exp.c of spinn_common: entries 0 to 2 of the lower end, e^0, and of the sixteenths 1, 2 and 15."""
    assert arithmetic._WHOLES[:1] + arithmetic._WHOLES[11:] == (4294967296, 71733, 26389, 9708)
    assert [arithmetic._SIXTEENTHS[i] for i in (1, 2, 15)] == [260218914, 504671961, 2613033936]
    assert arithmetic.exponential(arithmetic.GONE - 1) == 0


def test_constants_by_hand() -> None:
    """1 ms in 20 ms: 2^30 / 655360 = 1638.4 is 1638, and e^(-1638 / 32768) = 0.951241 is 31170.2 / 32768."""
    assert arithmetic.divide(32768, 655360) == 1638
    assert arithmetic.keep_v(32768, 655360) == 31170
    assert arithmetic.keep_i(32768, 655360) / 2**32 == pytest.approx(math.exp(-1638 / 32768), abs=1.5e-6)
    assert arithmetic.first(32768, 655360) / 2**32 == pytest.approx(20 * -math.expm1(-1638 / 32768), abs=3e-5)


@given(st.floats(0.001, 0.9999), st.sampled_from([3277, 32768]))
@settings(deadline=None)
def test_a_tau_is_chosen_whose_decay_is_at_least_as_near_as_that_of_the_rounded_one(keep: float, ts: int) -> None:
    chosen = arithmetic.nearest_tau(ts, keep, arithmetic.keep_v, arithmetic.ONE)
    plainly = max(1, round(-ts / math.log(keep)))
    off = [abs(arithmetic.keep_v(ts, tau) / arithmetic.ONE - keep) for tau in (chosen, plainly)]
    assert off[0] <= off[1]
    # half a step of the quotient, a step of the result, and the exponential's own; and a step of tau
    assert off[0] < 5e-5 + keep * math.log(keep) ** 2 / ts


@given(st.floats(math.exp(-3), math.exp(-1 / 2**15)), st.sampled_from([3277, 32768]))
@settings(deadline=None)
def test_a_spike_acts_with_the_mean_of_a_steps_decay(keep: float, ts: int) -> None:
    """tau/dt (1 - keep), however long tau is; long ones are coarse, since dt/tau has 15 bits."""
    tau = arithmetic.nearest_tau(ts, keep, arithmetic.keep_i, arithmetic.WHOLE)
    found, steps = arithmetic.first(ts, tau) / 2**32, -math.log(keep) * 2**15
    assert found == pytest.approx((1 - keep) / -math.log(keep), abs=0.001 + 0.6 / steps)


def test_the_chip_loses_the_spikes_of_some_long_time_constants() -> None:
    """tau of 2^15 / 32 steps: 1024 (1 - e^(-1/1024)) with the chip's exponential is 1.0005, and wraps."""
    assert arithmetic.first(32768, 1024 * 32768) / 2**32 < 0.001


def test_ring_shifts_are_those_that_the_tool_gave() -> None:
    """Read back from sPyNNaker 1!7.4.1: 0.02 shift 0; 1.0 shift 1, since it is not below 2^0; 20 of 1.5: 30 -> 5."""
    assert [arithmetic.ring_shift(w) for w in (0.0, 0.02, 0.999, 1.0, 1.5, 30.0, 32.0)] == [0, 0, 0, 1, 1, 5, 6]
    assert all(arithmetic.ring_shift(arithmetic.expected(shift)) == shift for shift in range(16))


# the step


def test_a_step_by_hand() -> None:
    """Weight 3 << 2 = 12 nA/32768 of which 1/2 acts: 6; R = 1/2: 3 above the rest 100; half of the way from 0: 52."""
    half = np.array([1 << 14])
    c = cells("a", 1, 0, keep_v=half, keep_i=np.array([1 << 31]), first=np.array([1 << 31]), rest=np.array([100]),
              threshold=np.array([52]), reset=np.array([-7]), v0=np.array([0]), refractory=np.array([2]),
              ref0=np.array([0]), gain=1, shifts=(2, 0))  # fmt: skip
    arrivals = np.array([3, 0])[:, None, None]
    state, z, v = step(c, start(c, 1), arrivals, np.zeros((1, 1), dtype=np.int64))
    # alpha = 103; alpha - nearest(103 / 2) = 103 - 52 = 51, since a half goes up
    assert (v.item(), z.item(), state.i[:, 0, 0].tolist()) == (51, False, [3, 0])
    state, z, v = step(c, state, arrivals, np.zeros((1, 1), dtype=np.int64))
    # i = 3 + 6 = 9, 9 / 2 goes up to 5; alpha = 105, 105 - 54 / 2 = 78 >= 52
    assert (v.item(), z.item(), state.v.item(), state.ref.item(), state.i[0].item()) == (78, True, -7, 2, 4)


def test_a_ring_buffer_saturates_at_sixteen_bits() -> None:
    c = cells("a", 1, 0, first=np.array([1 << 31]), keep_i=np.array([0]), shifts=(0, 3), ref0=np.array([0]))
    zero = np.zeros((1, 1), dtype=np.int64)
    full = step(c, start(c, 1), np.array([0, WEIGHT_MAX])[:, None, None], zero)[2]
    more = step(c, start(c, 1), np.array([0, 5 * WEIGHT_MAX])[:, None, None], zero)[2]
    assert full.item() == more.item()


@pytest.mark.parametrize("seed", range(6))
def test_the_compiled_step_gives_the_same_integers(seed: int) -> None:
    chip, spikes, currents = random_chip(seed)
    slow, fast = simulate(chip, spikes, currents, 60, 2), compiled_run(chip, spikes, currents)
    assert sum(parts["z"].sum() for parts in slow.values()) >= 5
    for name, parts in slow.items():
        for what, values in parts.items():
            np.testing.assert_array_equal(fast[name][what], values, err_msg=f"{name}.{what}")


# how a network becomes integers


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
@settings(deadline=None, max_examples=40)
def test_no_number_leaves_its_bits_even_if_every_source_spikes_in_every_step(seed: int, power: float) -> None:
    """Ring buffers, currents, alpha and v of any network that is taken; so nothing saturates or wraps unseen."""
    rng = np.random.default_rng(seed)
    tau = rng.uniform(0.0012, 0.05, 5)
    network = plain(integrator="exact")
    w = rng.normal(0, 10.0**power, (5, 3))
    p = replace(network.populations[0], synapses={"s": Exponential(tau=tau)})
    network = replace(network, populations=(p,), projections=(replace(network.projections[0], weight=w),))
    if {problem.feature for problem in SPINNAKER.problems(network)} - {"precision"}:
        return
    c = lower(network).settings["chip"]
    total = np.stack([
        sum((s.weight.sum(axis=1) for s in c.synapses if s.receptor == r), np.zeros(5, dtype=np.int64)) for r in (0, 1)
    ])  # fmt: skip
    assert total.max() <= WEIGHT_MAX
    state, zero = start(c.cells[0], 1), np.zeros((1, 5), dtype=np.int64)
    for _ in range(300):
        state, _, v = step(c.cells[0], state, total[:, None, :], zero)
        assert max(np.abs(state.i).max(), np.abs(v).max()) < 2**29  # sums of two, twice, are within 32 bits


@pytest.mark.parametrize("dt", [1e-3, 1e-4])
def test_the_effect_of_a_steady_spike_train_survives_the_rounding_of_decays(dt: float) -> None:
    a = replace(plain().populations[0], n=1, synapses={"s": Exponential(tau=0.0973)})
    into = Projection(source="x", target="a", weight=np.array([[0.4 * dt]]), synapse="s")
    network = SpikingNetwork(populations=(a,), inputs=(SpikeInput(name="x", n=1),), projections=(into,), dt=dt,
                             integrator="exact")  # fmt: skip
    inputs = {"x": np.ones((int(1.5 / dt), 1, 1), dtype=np.int64)}
    found = SPINNAKER.run(lower(network), inputs, RunOptions(record=("a.v",))).traces["a.v"][-1, 0, 0]
    wished = reference.simulate(network, inputs, record=("a.v",)).traces["a.v"][-1, 0, 0]
    assert 0.3 < wished < 0.5
    assert found == pytest.approx(wished, abs=0.004)  # s16.15: 0.003 mV where v stops, and of the current


def test_a_network_at_rest_on_its_threshold_stays_silent() -> None:
    """Kim's resting drive is the threshold: rounded up, or with >= for >, every unit would spike for ever."""
    n = 50
    a = Population(name="a", n=n, neuron=LIF(tau_mem=np.linspace(0.005, 0.05, n), v_threshold=-40.00001, v_reset=-65.0),
                   bias=-40.00001, v0=-65.0)  # fmt: skip
    into = Projection(source="u", target="a", weight=np.ones((n, 1)))
    network = SpikingNetwork(populations=(a,), inputs=(HeldInput(name="u", n=1, dt=1e-3),), projections=(into,),
                             dt=1e-3, integrator="exact")  # fmt: skip
    found = SPINNAKER.run(lower(network), {"u": np.zeros((3000, 1, 1))}, RunOptions())
    assert found.spikes["a"].n_spikes == 0
    lifted = SPINNAKER.run(lower(network), {"u": np.full((3000, 1, 1), 0.5)}, RunOptions())
    assert (lifted.spikes["a"].counts() > 0).all()


def test_what_a_loss_says_of_weights_is_what_the_chip_has() -> None:
    network = replace(NETWORKS["recurrent"].network, integrator="euler")
    lowering = lower(network)
    for index, j in enumerate(network.projections):
        error = np.abs(lowering.network.projections[index].weight - j.weight).max()
        text = next(x.how_much for x in lowering.losses if x.where == f"projection {j.source}->{j.target}")
        assert f"largest {error:.2g} mV s" in text


def test_every_rounding_is_a_named_loss() -> None:
    named = {loss.what for name in ("recurrent", "held input through a synapse") for loss in
             lower(NETWORKS[name].network).losses}  # fmt: skip
    assert named == {
        "weights of 16 bits", "decays as the chip computes them", "potentials in s16.15",
        "states in s16.15, rounded in every step", "held values become step currents in s16.15",
    }  # fmt: skip


def test_a_trial_comes_out_alike_alone_and_in_a_batch() -> None:
    case = NETWORKS["held input through a synapse"]
    lowering = lower(case.network)
    both = SPINNAKER.run(lowering, case.inputs, RunOptions(record=("a.v",)))
    alone = SPINNAKER.run(lowering, {k: v[:, 1:] for k, v in case.inputs.items()}, RunOptions(record=("a.v",)))
    np.testing.assert_array_equal(both.traces["a.v"][:, 1:], alone.traces["a.v"])


def test_the_shipped_network_answers_on_the_chip_as_in_float_at_the_same_step() -> None:
    task, network = get_task("go-nogo"), transfer(load_source(model_path("go-nogo")), 40, dt=1e-3)
    lowering, trials = lower(network, "noise", "synapse"), task.trials(60, seed=1)

    def right(run: Any) -> Any:
        out = run.outputs[network.readouts[0].name]
        return task.judge(out, trials, dt=network.dt, kind="spiking", rule=task.rules[0])

    chip = right(SPINNAKER.run(lowering, trials.inputs, RunOptions(seed=1)))
    float_ = right(engine.simulate(network, trials.inputs, seed=1, with_noise=False))
    assert (chip.mean(), float_.mean()) == (1.0, 1.0)


def test_delays_and_recurrence_agree_with_the_network_that_is_told() -> None:
    network = recurrent(4, "exact")
    inputs = NETWORKS["recurrent"].inputs
    lowering = lower(network)
    expected = reference.simulate(lowering.network, inputs)
    assert expected.spikes["a"].differing(SPINNAKER.run(lowering, inputs, RunOptions()).spikes["a"]) == 0
