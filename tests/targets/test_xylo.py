"""Xylo as a target: how a network becomes integers, what that costs, and the table that it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_networks import NETWORKS, plain
from hypothesis import given, settings
from hypothesis import strategies as st
from require import need
from xylo_chips import fed, lower

from spikeport import load_source, transfer
from spikeport.resources import model_path
from spikeport.snn import engine, reference
from spikeport.snn.errors import InvalidNetworkError, RefusedError, SpikeportError
from spikeport.snn.neurons import LIF
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import HeldInput, Population, Projection, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import DoubleExponential, Exponential
from spikeport.snn.tasks import get_task
from spikeport.targets.approximations import APPROXIMATIONS
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import feed
from spikeport.targets.xylo import XYLO
from spikeport.targets.xylo.host import Counts
from spikeport.targets.xylo.kernel import FLOOR, memory, run, tables
from spikeport.targets.xylo.limits import FULL, INPUT_SPIKES, STATE_MIN
from spikeport.targets.xylo.simulator import simulator
from spikeport.targets.xylo.table import read_table

# how a network becomes integers


def test_time_constants_of_powers_of_two_lose_nothing() -> None:
    told = {loss.what for loss in lower(fed([[0.01]], tau=0.016)).losses}
    assert "decays are powers of two" not in told


def test_another_time_constant_is_told_with_the_nearest() -> None:
    told = [
        loss for loss in lower(replace(fed([[0.01]], tau=0.01), integrator="exact")).losses if "powers" in loss.what
    ]
    text = next(str(loss) for loss in told if "synapse s" in str(loss))
    assert "asked 10 ms, nearest 7.48888 ms: up to 31 % another decay a step" in text


def test_the_effect_of_a_steady_spike_train_survives_the_rounding_of_decays() -> None:
    """A spike every step for 2 s: v settles where it did, within 8 bits and the rounding that is told."""
    network = replace(fed([[0.0004]], tau=0.0973, tau_mem=0.011), integrator="exact")
    lowering, inputs = lower(network), {"x": np.ones((2000, 1, 1), dtype=np.int64)}
    found = states(lowering, inputs)[-1, 0, 0, 2] / FULL
    wished = reference.simulate(network, inputs, record=("a.v",)).traces["a.v"][-1, 0, 0]
    assert 0.3 < wished < 0.5
    assert found == pytest.approx(wished, abs=0.005 * wished + float(lowering.settings["rounding"]["a"][0]))


def states(lowering: Lowering, inputs: Any) -> Any:
    """(time, batch, n, 3): i_1, i_2 and v after every step, in the chip's integers."""
    chip, given_ = lowering.settings["chip"], feed(lowering, inputs, RunOptions())
    counts = Counts(chip, given_)(0, given_.n_steps)
    m = memory(np.zeros((given_.n_batch, chip.n)))
    z = np.zeros((given_.n_steps, given_.n_batch, chip.n), dtype=np.uint8)
    out = np.zeros((*z.shape, 3), dtype=np.int64)
    run(tables(chip), m, 0, counts, z, out)
    return out


def test_v_stays_within_the_rounding_that_is_told() -> None:
    """Of silent neurons, for currents of both signs, against the network that the losses leave."""
    rng = np.random.default_rng(0)
    w = rng.normal(0, 0.0007, (6, 4))
    for tau in (0.004, 0.032, DoubleExponential(tau_rise=0.002, tau_decay=0.06)):
        synapse = tau if isinstance(tau, DoubleExponential) else Exponential(tau=tau)
        network = fed(w)
        network = replace(network, populations=(replace(network.populations[0], synapses={"s": synapse}),))
        lowering, inputs = lower(network), {"x": (rng.random((400, 2, 4)) < 0.1).astype(np.int64)}
        expected = reference.simulate(lowering.network, inputs, record=("a.v",)).traces["a.v"]
        assert 0.05 < np.abs(expected).max() < 1
        off = np.abs(states(lowering, inputs)[..., 2] / FULL - expected).max(axis=(0, 1))
        assert (off <= lowering.settings["rounding"]["a"]).all()
        assert (off > 0).any()


def test_a_double_exponential_starts_at_zero_and_keeps_its_area() -> None:
    """One spike: v after it, summed, is what the network's own synapse gives, and the first step is nearly none."""
    network = fed([[0.02]], tau_mem=0.008)
    synapse = DoubleExponential(tau_rise=0.004, tau_decay=0.032)
    network = replace(network, populations=(replace(network.populations[0], synapses={"s": synapse}),))
    lowering = lower(network)
    told = reference.simulate(lowering.network, {"x": one_spike()}, record=("a.v",)).traces["a.v"][:, 0, 0]
    asked = reference.simulate(network, {"x": one_spike()}, record=("a.v",)).traces["a.v"][:, 0, 0]
    assert told.sum() == pytest.approx(asked.sum(), rel=0.01)
    assert abs(told[0]) < 0.03 * told.max()
    chip = lowering.settings["chip"]
    assert np.sign(chip.weights_in[0, 0]).tolist() == [1, -1]
    assert chip.neurons[0].dash_syn.tolist() == [[5, 2]]


def one_spike() -> Any:
    return SpikeTrains.build([0], [0], [0], (600, 1, 1))


def test_a_network_at_rest_on_its_threshold_stays_silent() -> None:
    """Kim's resting drive is the threshold: rounded up, or with >= for >, every unit would spike for ever."""
    n = 50
    a = Population(name="a", n=n, neuron=LIF(tau_mem=np.linspace(0.003, 0.05, n), v_threshold=-40.0, v_reset=-65.0),
                   bias=-40.0, v0=-65.0)  # fmt: skip
    into = Projection(source="u", target="a", weight=np.ones((n, 1)))
    network = SpikingNetwork(populations=(a,), inputs=(HeldInput(name="u", n=1, dt=1e-3),), projections=(into,),
                             dt=1e-3, integrator="exact")  # fmt: skip
    assert XYLO.run(lower(network), {"u": np.zeros((3000, 1, 1))}, RunOptions()).spikes["a"].n_spikes == 0
    lifted = XYLO.run(lower(network), {"u": np.full((3000, 1, 1), 0.8)}, RunOptions())
    assert (lifted.spikes["a"].counts() > 0).all()


def test_a_reset_to_a_value_has_the_largest_threshold_and_subtraction_half_of_it() -> None:
    value, subtracts = (lower(fed([[0.01], [0.003]], reset=r)).settings["chip"] for r in ("to_value", "subtract"))
    assert (value.neurons[0].threshold == FULL).all()
    assert ((subtracts.neurons[0].threshold >= 2**14) & (subtracts.neurons[0].threshold <= 18432)).all()


def test_no_neuron_spikes_twice_in_a_step() -> None:
    for reset in ("to_value", "subtract"):
        found = XYLO.run(
            lower(fed([[0.02]], reset=reset), saturation="keep"), {"x": np.ones((200, 1, 1))}, RunOptions()
        )
        assert found.spikes["a"].count.max() == 1


def test_thresholds_are_searched_neuron_by_neuron() -> None:
    """Weights of one neuron share its threshold: with the search they are nearer than at one threshold for all."""
    network = fed(np.random.default_rng(3).normal(0, 0.004, (40, 6)), reset="subtract")
    told = lower(network)
    error = np.abs(told.network.projections[0].weight - network.projections[0].weight).mean()
    chip = told.settings["chip"]
    assert np.unique(chip.neurons[0].threshold).size > 5
    unit = 2.0**chip.shift_in / 2**14 * (8 / 1e3) * 8 * 7 / 8  # mV s of one weight at one threshold for all
    assert error < 0.8 * unit / 4  # a quarter of a step is the mean error of rounding


def test_projections_that_share_a_current_are_one() -> None:
    """Two of half the weight are the one of the whole, in the chip and in the network that it is told as."""
    network = fed([[0.012, -0.004]])
    half = replace(network.projections[0], weight=network.projections[0].weight / 2)
    one, two = lower(network), lower(replace(network, projections=(half, half)))
    np.testing.assert_array_equal(one.settings["chip"].weights_in, two.settings["chip"].weights_in)
    assert len(two.network.projections) == 1
    np.testing.assert_array_equal(one.network.projections[0].weight, two.network.projections[0].weight)
    assert one.losses == two.losses


# held values


@given(st.lists(st.floats(-6, 6), min_size=5, max_size=60), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_counts_of_held_values_are_never_off_by_more_than_half_a_spike(values: list[float], channels: int) -> None:
    into = Projection(source="u", target="a", weight=np.full((1, channels), 0.3))
    network = replace(fed([[0.001]]), inputs=(HeldInput(name="u", n=channels, dt=1e-3),), projections=(into,))
    lowering = lower(network)
    u = np.stack([np.roll(values, c) for c in range(channels)], axis=1)[:, None]
    given_ = feed(lowering, {"u": u}, RunOptions())
    chip = lowering.settings["chip"]
    counts = Counts(chip, given_)(0, len(values))
    assert counts.max(initial=0) <= INPUT_SPIKES
    for c in range(channels):
        for sign in (1, -1):
            mine = [k for k, row in enumerate(chip.channels) if (row.index, row.sign) == (c, sign)]
            wished = np.maximum(sign * u[:, 0, c], 0) * chip.counts["u"]
            off = np.cumsum(counts[:, 0, mine].sum(axis=1) - wished)
            assert np.abs(off).max() <= 0.5 + 1e-9


def test_a_value_that_finds_no_room_is_refused_in_the_run() -> None:
    case = NETWORKS["held input on the membrane"]
    with pytest.raises(RefusedError, match=r"input u, channel 0: .* spikes wait for the next step, limit"):
        XYLO.run(lower(case.network), case.inputs | {"u": np.full((5, 2, 2), 50.0)}, RunOptions())


def test_a_held_value_moves_v_as_in_the_network() -> None:
    """It settles within the weights' 8 bits, positive or negative."""
    into = Projection(source="u", target="a", weight=np.array([[0.3]]))
    network = replace(fed([[0.001]]), inputs=(HeldInput(name="u", n=1, dt=1.0),), projections=(into,))
    for value in (2.0, -2.0):
        v = states(lower(network), {"u": np.full((1, 1, 1), value)})[-1, 0, 0, 2] / FULL
        assert v == pytest.approx(0.3 * value, rel=0.01)


def test_spikes_of_an_input_with_a_delay_come_later() -> None:
    network = fed([[0.02]])
    late = replace(network, projections=(replace(network.projections[0], delay=1),))
    first = [int(np.argmax(states(lower(n), {"x": one_spike()})[:, 0, 0, 2] > 0)) for n in (network, late)]
    assert first == [0, 1]


# what it costs


def test_what_a_loss_says_of_weights_is_what_the_chip_has() -> None:
    network = NETWORKS["recurrent"].network
    lowering = lower(network)
    for index, j in enumerate(network.projections):
        error = np.abs(lowering.network.projections[index].weight - j.weight).max()
        text = next(x.how_much for x in lowering.losses if x.where == f"projection {j.source}->{j.target}")
        assert f"largest {error:.2g} mV s" in text


def test_weights_beyond_eight_bits_and_a_shift_are_told() -> None:
    told = {loss.what: loss.how_much for loss in lower(NETWORKS["saturation"].network).losses}
    assert told["weights stop at the largest"].endswith("limit 16256")


def random_network(seed: int) -> tuple[SpikingNetwork, dict[str, Any]]:
    """A population with anything from hopeless to harmless in it, and its inputs."""
    rng = np.random.default_rng(seed)
    n, channels, steps = int(rng.integers(1, 6)), int(rng.integers(1, 4)), 60

    def log(low: float, high: float, size: Any = None) -> Any:
        return 10 ** rng.uniform(np.log10(low), np.log10(high), size)

    synapse = [Exponential(tau=log(1e-3, 10, n)), Exponential(tau=log(2e-3, 0.1)),
               DoubleExponential(tau_rise=log(1e-3, 0.01), tau_decay=log(0.011, 0.2, n))][rng.integers(3)]  # fmt: skip
    neuron = LIF(tau_mem=log(1e-3, 10, n), v_threshold=rng.uniform(0.1, 30), v_reset=rng.uniform(-30, 0.05),
                 v_leak=rng.uniform(-30, 20), reset=str(rng.choice(["to_value", "subtract"])))  # fmt: skip
    size = log(1e-5, 1)
    a = Population(name="a", n=n, neuron=neuron, synapses={"s": synapse}, bias=rng.normal(0, log(0.1, 1e3), n),
                   v0=rng.uniform(-40, 30, n))  # fmt: skip
    projections = [
        Projection(source="x", target="a", synapse="s", weight=rng.normal(rng.normal(), 1, (n, channels)) * size),
        Projection(source="a", target="a", synapse="s", weight=rng.normal(0, 1, (n, n)) * size, delay=1),
    ]
    inputs: tuple[Any, ...] = (SpikeInput(name="x", n=channels),)
    values = {"x": (rng.random((steps, 2, channels)) < rng.random()).astype(np.int64)}
    if rng.random() < 0.5:
        inputs += (HeldInput(name="u", n=1, dt=5e-3),)
        projections.append(Projection(source="u", target="a", weight=rng.normal(size=(n, 1)) * log(0.1, 100)))
        values["u"] = rng.normal(0, log(0.1, 10), (12, 2, 1))
    network = SpikingNetwork(
        populations=(a,), inputs=inputs, projections=tuple(projections), dt=1e-3, integrator="exact"
    )
    return network, values


def told_or_refused(seed: int) -> set[str]:
    """Assert that a random network saturates nowhere without being told; what it was told."""
    network, inputs = random_network(seed)
    problems = {p.feature for p in XYLO.problems(network)} - APPROXIMATIONS.keys()
    if problems:
        with pytest.raises(RefusedError, match=r"^xylo: cannot take"):
            XYLO.lower(network, allow=tuple(APPROXIMATIONS))
        return {"refused"}
    lowering = XYLO.lower(network, allow=tuple(APPROXIMATIONS))
    told = {loss.what for loss in lowering.losses}
    found = outcome(lowering, inputs)
    if isinstance(found, RefusedError):  # without a loss that says so, only held values can be too large
        assert told & {"a current may saturate", "v stops at its ceiling"} or "do not fit" in str(found)
        return told | {"refused in the run"}
    try:
        low = states(lowering, inputs)[..., 2].min(initial=0)
    except RefusedError:  # pragma: no cover - the run above had it
        raise AssertionError("a run differs from itself") from None
    assert low > STATE_MIN or "v stops at its floor" in told
    return told | {"ran"}


def outcome(lowering: Lowering, inputs: dict[str, Any]) -> Recording | RefusedError:
    try:
        return XYLO.run(lowering, inputs, RunOptions())
    except RefusedError as refusal:
        return refusal


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_no_network_that_passes_check_saturates_without_being_told(seed: int) -> None:
    assert told_or_refused(seed)


@pytest.mark.slow
def test_many_random_networks_saturate_nowhere_without_being_told() -> None:
    """And the random networks are of every kind."""
    saturates = ("a current may saturate", "v stops at its floor", "v stops at its ceiling")
    kinds = ("refused", "refused in the run", "ran", *saturates)
    seen = [told_or_refused(seed) for seed in range(400)]
    count = {kind: sum(kind in told for told in seen) for kind in kinds}
    assert min(count.values()) >= 5, count


def test_saturation_can_be_kept_and_is_told() -> None:
    network, inputs = fed([[0.4]], tau=0.064), {"x": np.ones((200, 1, 1), dtype=np.int64)}
    with pytest.raises(RefusedError, match=r"population a, unit 0: a current.*limit 32767; \d+ times so far"):
        XYLO.run(lower(network), inputs, RunOptions())
    lowering = lower(network, saturation="keep")
    assert "saturation is kept" in {loss.what for loss in lowering.losses}
    assert XYLO.run(lowering, inputs, RunOptions()).spikes["a"].n_spikes > 10
    assert FLOOR == 1


# the whole way


def test_xylosim_gives_the_spikes_of_a_lowered_network() -> None:
    """The shipped Go-NoGo network on a Go trial: what the table tells XyloSim, and what our run gives."""
    need("xylosim", resource="xylosim")
    task, network = get_task("go-nogo"), transfer(load_source(model_path("go-nogo")), 40, dt=1e-3)
    network = replace(network, populations=(replace(network.populations[0], v0=-65.0),))
    lowering, trials = lower(network, "noise", "refractory"), task.trials(4, seed=1)
    ours = XYLO.run(lowering, trials.inputs, RunOptions(seed=1)).spikes["rec"].dense()
    given_ = feed(lowering, trials.inputs, RunOptions())
    counts = Counts(lowering.settings["chip"], given_)(0, given_.n_steps)
    assert ours.sum() > 500
    for trial in range(4):
        theirs = simulator(lowering.settings["chip"]).evolve(counts[:, trial])["z"]
        assert int((theirs != ours[:, trial]).sum()) == 0


def test_the_shipped_network_answers_on_the_chip_as_in_float_at_the_same_step() -> None:
    task, network = get_task("go-nogo"), transfer(load_source(model_path("go-nogo")), 40, dt=1e-3)
    lowering, trials = lower(network, "noise", "refractory"), task.trials(60, seed=1)

    def right(run_: Any) -> Any:
        out = run_.outputs[network.readouts[0].name]
        return task.judge(out, trials, dt=network.dt, kind="spiking", rule=task.rules[0])

    chip = right(XYLO.run(lowering, trials.inputs, RunOptions(seed=1)))
    float_ = right(engine.simulate(network, trials.inputs, seed=1, with_noise=False))
    assert (chip.mean(), float_.mean()) == (1.0, 1.0)


def test_a_trial_comes_out_alike_alone_and_in_a_batch() -> None:
    network = replace(plain(), projections=(replace(plain().projections[0], weight=plain().projections[0].weight / 6),))
    inputs = NETWORKS["plain"].inputs
    both = XYLO.run(lower(network), inputs, RunOptions()).spikes["a"].dense()
    alone = XYLO.run(lower(network), {k: v[:, 1:] for k, v in inputs.items()}, RunOptions()).spikes["a"].dense()
    assert alone.sum() > 20
    np.testing.assert_array_equal(both[:, 1:], alone)


# where it goes


def test_a_table_comes_back_as_the_same_chip(tmp_path: Path) -> None:
    lowering = lower(NETWORKS["held input through a synapse"].network)
    chip, path = lowering.settings["chip"], XYLO.export(lowering, tmp_path / "net.npz")
    found = read_table(path)
    for name in ("shift_in", "shift_rec", "channels", "dt"):
        assert getattr(found, name) == getattr(chip, name)
    assert dict(found.counts) == dict(chip.counts)
    np.testing.assert_array_equal(found.weights_in, chip.weights_in)
    np.testing.assert_array_equal(found.weights_rec, chip.weights_rec)
    for a, b in zip(chip.neurons, found.neurons, strict=True):
        assert (a.name, a.synapses) == (b.name, b.synapses)
        for name in ("dash_mem", "dash_syn", "threshold", "bias", "v0"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    with pytest.raises(SpikeportError, match="exists already"):
        XYLO.export(lowering, path)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    a, b = (XYLO.export(lower(plain()), tmp_path / name) for name in ("a.npz", "b.npz"))
    assert a.read_bytes() == b.read_bytes()


def test_another_npz_is_no_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", description=np.array('{"format": "other"}'))
    with pytest.raises(InvalidNetworkError, match="format 'other', must be spikeport-xylo-1"):
        read_table(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", a=np.zeros(3))
    with pytest.raises(InvalidNetworkError, match="no table of Xylo's integers"):
        read_table(tmp_path / "y.npz")
