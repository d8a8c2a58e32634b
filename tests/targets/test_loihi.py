"""Loihi as a target: how a network becomes integers, what that costs, and the table that it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance_networks import NETWORKS, plain, spread
from hypothesis import given, settings
from hypothesis import strategies as st
from loihi_lowering import WHOLE, lower, weights

from spikeport.snn import engine, reference
from spikeport.snn.errors import InvalidNetworkError, RefusedError, SpikeportError
from spikeport.snn.neurons import LIF
from spikeport.snn.recording import Recording
from spikeport.snn.spiking import HeldInput, Population, Projection, ReadOut, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential
from spikeport.targets.approximations import APPROXIMATIONS
from spikeport.targets.base import Lowering, RunOptions
from spikeport.targets.feed import read_out
from spikeport.targets.loihi import LOIHI
from spikeport.targets.loihi.bounds import bounds
from spikeport.targets.loihi.chip import EXCITATORY, INHIBITORY, MIXED, Compartments
from spikeport.targets.loihi.drive import LARGEST_BIAS, edge, fits, nearest_bias, round_bias
from spikeport.targets.loihi.host import fill_biases
from spikeport.targets.loihi.limits import V_MAX, V_MIN
from spikeport.targets.loihi.table import read_table
from spikeport.targets.outputs import read_out_fast

# how a network becomes integers


def test_sources_of_one_sign_have_eight_bits_and_mixed_ones_seven() -> None:
    w = np.array([[0.02, -0.01, 0.01], [0.01, -0.02, -0.01]])
    chip = lower(weights(w)).settings["chip"]
    modes = {s.mode: s for s in chip.synapses}
    assert set(modes) == {EXCITATORY, INHIBITORY, MIXED}
    assert modes[EXCITATORY].mantissa[:, 1:].max() == 0
    assert 128 <= modes[EXCITATORY].mantissa.max() <= 255
    assert -255 <= modes[INHIBITORY].mantissa.min() <= -128
    assert any((s.mantissa % 2).any() or s.mantissa.max() > 250 for s in chip.synapses if s.mode == EXCITATORY)
    assert (modes[MIXED].mantissa % 2 == 0).all()


def test_weights_that_fit_exactly_lose_nothing() -> None:
    """Powers of two and their sums to 8 bits: some threshold holds them all."""
    unit = 1e-5
    told = lower(weights(unit * np.array([[255.0, 128.0, 3.0], [1.0, 64.0, 200.0]])))
    loss = next(loss for loss in told.losses if loss.what == "weights of 8 bits")
    error = float(loss.how_much.split()[2])
    assert error < 0.3  # per cent; the decays' own rounding makes the rest


def test_the_effect_of_a_steady_spike_train_survives_the_rounding_of_decays() -> None:
    """A spike every step for 2 s: v settles where it did, within the weights' 8 bits."""
    network = replace(weights([[0.0004]]), integrator="exact")
    slow = replace(
        network, populations=(replace(network.populations[0], n=1, synapses={"s": Exponential(tau=0.0973)}),)
    )
    inputs = {"x": np.ones((2000, 1, 1), dtype=np.int64)}
    lowering = lower(slow)
    found = LOIHI.run(lowering, inputs, RunOptions(record=("a.v",))).traces["a.v"][-1, 0, 0]
    wished = reference.simulate(slow, inputs, record=("a.v",)).traces["a.v"][-1, 0, 0]
    assert 0.3 < wished < 0.5
    assert found == pytest.approx(wished, rel=2e-3)


def test_what_a_loss_says_of_weights_is_what_the_chip_has() -> None:
    network = NETWORKS["recurrent"].network
    lowering = lower(network)
    for index, j in enumerate(network.projections):
        told = lowering.network.projections[index].weight
        error = np.abs(told - j.weight).max()
        text = next(x.how_much for x in lowering.losses if x.where == f"projection {j.source}->{j.target}")
        assert f"largest {error:.2g} mV s" in text


def test_a_network_at_rest_on_its_threshold_stays_silent() -> None:
    """Kim's resting drive is the threshold: rounded up, every unit would spike for ever."""
    n = 50
    a = Population(name="a", n=n, neuron=LIF(tau_mem=np.linspace(0.005, 0.05, n), v_threshold=-40.0, v_reset=-65.0),
                   bias=-40.0, v0=-65.0)  # fmt: skip
    held = HeldInput(name="u", n=1, dt=1e-3)
    into = Projection(source="u", target="a", weight=np.ones((n, 1)))
    network = SpikingNetwork(populations=(a,), inputs=(held,), projections=(into,), dt=1e-3, integrator="exact")
    found = LOIHI.run(lower(network), {"u": np.zeros((3000, 1, 1))}, RunOptions())
    assert found.spikes["a"].n_spikes == 0
    lifted = LOIHI.run(lower(network), {"u": np.full((3000, 1, 1), 0.5)}, RunOptions())
    assert (lifted.spikes["a"].counts() > 0).all()


def test_a_bias_by_hand() -> None:
    """4095 fits with exponent 0; 4096 is 2048 * 2; 524,160 = 4095 * 2^7 is the largest."""
    found = nearest_bias([4095.0, 4096.0, 8191.0, -5000.4, 0.4, 524160.0, 1e9])
    assert found.mantissa.tolist() == [4095, 2048, 2048, -2500, 0, 4095, 4095]
    assert found.exponent.tolist() == [0, 1, 2, 1, 0, 7, 7]
    assert fits([524160.0, -524160.0])
    assert not fits([524400.0])
    assert LARGEST_BIAS == 524160


@given(st.floats(-524160, 524160))
@settings(deadline=None)
def test_a_bias_is_the_nearest_of_its_exponent_and_the_exponent_the_smallest(wanted: float) -> None:
    found = nearest_bias(wanted)
    mantissa, exponent = int(found.mantissa), int(found.exponent)
    assert abs(mantissa * 2**exponent - wanted) <= 2**exponent / 2
    assert abs(mantissa) <= 4095
    assert exponent == 0 or abs(round(wanted / 2 ** (exponent - 1))) > 4095


@given(st.integers(1, 131071), st.integers(1, 4095), st.floats(-3, 3))
@settings(deadline=None)
def test_rounding_moves_no_bias_across_the_threshold(vth: int, dv: int, off: float) -> None:
    """Whether v, coming from below, ever passes its threshold by the bias alone is what it is in real numbers."""
    whole = np.zeros(1, dtype=np.int64)
    c = Compartments(name="a", du=whole, dv=whole + dv, vth=vth, refractory=whole, bias=np.zeros(1), v0=whole)
    rest = c.scale * dv / 4096
    wanted = rest * (1 + off * 1e-3)
    if not fits(wanted):
        return
    value = int(round_bias(c, np.array([wanted])).value[0])
    assert (value <= int(edge(c)[0])) == (wanted <= rest)
    assert abs(value - wanted) <= 2 * 2 ** max(0, np.ceil(np.log2(max(abs(wanted), 1) / 4095)))


# what it costs


def test_fewer_bits_are_coarser_and_take_less_memory() -> None:
    network = weights(np.random.default_rng(1).uniform(-0.02, 0.02, (20, 30)))
    by_bits = {bits: LOIHI.lower(network, allow=WHOLE, bits=bits) for bits in ("8", "6", "4", "2")}
    told = {b: x.network.projections[0].weight for b, x in by_bits.items()}
    errors = [float(np.sqrt(np.mean((w - network.projections[0].weight) ** 2))) for w in told.values()]
    memory = [sum(core.synapse_bits for core in x.settings["cores"]) for x in by_bits.values()]
    assert errors == sorted(errors)
    assert errors[1] > 3 * errors[0]
    assert memory == sorted(memory, reverse=True)
    assert memory[-1] < memory[0] / 2
    chip = by_bits["4"].settings["chip"]
    assert all((s.mantissa % 32 == 0).all() for s in chip.synapses if s.mode == MIXED)
    assert any(loss.what == "weights of 4 bits" for loss in by_bits["4"].losses)


def test_fewer_bits_still_give_the_network_that_the_losses_leave() -> None:
    case = NETWORKS["recurrent"]
    lowering = LOIHI.lower(case.network, allow=WHOLE, bits="4")
    found = LOIHI.run(lowering, case.inputs, RunOptions(**case.run()))
    expected = reference.simulate(lowering.network, case.inputs, **case.run())
    assert expected.spikes["a"].n_spikes > 300
    assert found.spikes["a"].differing(expected.spikes["a"]) == 0


@given(st.lists(st.floats(-600000, 600000), min_size=4, max_size=4), st.integers(1, 131071), st.integers(1, 4095))
@settings(deadline=None)
def test_the_hosts_compiled_biases_are_the_plain_ones(wanted: list[float], vth: int, dv: int) -> None:
    whole = np.zeros(4, dtype=np.int64)
    c = Compartments(name="a", du=whole, dv=whole + dv, vth=vth, refractory=whole, bias=np.zeros(4), v0=whole)
    near = np.array([c.scale * dv / 4096, *wanted[1:]])
    row, none, out = np.zeros((1, 1), dtype=np.int64), np.zeros((0, 1, 4)), np.empty((1, 1, 4), dtype=np.int64)
    x, rest = np.zeros((0, 1, 4)), float(c.scale) * c.dv
    largest = fill_biases(near[None], row, np.zeros((0, 4)), none, x, rest, edge(c), out)
    np.testing.assert_array_equal(out[0, 0], round_bias(c, near).value)
    assert largest == np.abs(near).max()


def test_the_host_filters_what_comes_through_a_synapse() -> None:
    """Held values and a constant through a slow exponential: v follows the float network to the biases' rounding."""
    network = replace(NETWORKS["held input through a synapse, exact"].network)
    a = replace(network.populations[0], synaptic_bias={"s": spread(-0.2, 0.4)},
                neuron=LIF(tau_mem=0.01, v_threshold=50.0, v_reset=0.0))  # fmt: skip
    silent = replace(network, populations=(a,))
    inputs = NETWORKS["held input through a synapse, exact"].inputs
    lowering = lower(silent)
    found = LOIHI.run(lowering, inputs, RunOptions(record=("a.v",))).traces["a.v"]
    expected = reference.simulate(silent, inputs, record=("a.v",)).traces["a.v"]
    assert expected.max() > 1
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.01)


def test_bounds_by_hand() -> None:
    """Two sources, D = 1/2: one may spike every step (2 in all), one every second (4/3)."""
    w = np.array([[3.0, -1.0]])
    found = bounds([(w, np.array([1.0, 2.0]))], np.array([0.5]), np.array([0.1]), np.array([-0.2]))
    assert found.arrivals == 3.0
    assert found.current == pytest.approx(6.0)
    assert found.below == pytest.approx((4 / 3 + 0.2) / 0.1)


def random_network(seed: int) -> tuple[SpikingNetwork, dict[str, Any]]:
    """A population with anything from hopeless to harmless in it, and its inputs."""
    rng = np.random.default_rng(seed)
    n, channels, steps = int(rng.integers(1, 6)), int(rng.integers(1, 4)), 60

    def log(low: float, high: float, size: Any = None) -> Any:
        return 10 ** rng.uniform(np.log10(low), np.log10(high), size)

    synapse = rng.choice([Exponential(tau=log(1e-3, 10, n)), Exponential(tau=log(2e-3, 0.1)), Delta()])
    neuron = LIF(tau_mem=log(1e-3, 10, n), v_threshold=rng.uniform(0.1, 30), v_reset=rng.uniform(-30, 0.05),
                 v_leak=rng.uniform(-30, 20), t_ref=rng.integers(0, 70) * 1e-3 * rng.integers(0, 2))  # fmt: skip
    size = log(1e-5, 30)
    a = Population(name="a", n=n, neuron=neuron, synapses={"s": synapse}, bias=rng.normal(0, log(0.1, 1e4), n),
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
        values["u"] = rng.normal(0, log(0.1, 20), (12, 2, 1))
    network = SpikingNetwork(
        populations=(a,), inputs=inputs, projections=tuple(projections), dt=1e-3, integrator="exact"
    )
    return network, values


def told_or_refused(seed: int) -> set[str]:
    """Assert that a random network overflows nowhere without being told; what it was told."""
    network, inputs = random_network(seed)
    problems = {p.feature for p in LOIHI.problems(network)} - APPROXIMATIONS.keys()
    if problems:
        with pytest.raises(RefusedError, match=r"^loihi: cannot take"):
            LOIHI.lower(network, allow=tuple(APPROXIMATIONS))
        return {"refused"}
    lowering = LOIHI.lower(network, allow=tuple(APPROXIMATIONS))
    told = {loss.what for loss in lowering.losses}
    found = outcome(lowering, inputs)
    if isinstance(found, RefusedError):  # without a loss that says so, only held values can be too large
        assert "u may overflow" in told or "u" in inputs
        return told | {"refused in the run"}
    chip = lowering.settings["chip"].compartments[0]
    low = lowering.forward_v("a", found.traces["a.v"]).min(initial=0)
    assert np.rint(low * chip.scale) > V_MIN or "v stops at its floor" in told
    return told | {"ran"}


def outcome(lowering: Lowering, inputs: dict[str, Any]) -> Recording | RefusedError:
    """A run, or its refusal."""
    try:
        return LOIHI.run(lowering, inputs, RunOptions(record=("a.v",)))
    except RefusedError as refusal:
        return refusal


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_no_network_that_passes_check_overflows_without_being_told(seed: int) -> None:
    assert told_or_refused(seed)


@pytest.mark.slow
def test_many_random_networks_overflow_nowhere_without_being_told() -> None:
    """And the random networks are of every kind."""
    kinds = ("refused", "u may overflow", "v stops at its floor", "refused in the run", "ran")
    seen = [told_or_refused(seed) for seed in range(400)]
    count = {kind: sum(kind in told for told in seen) for kind in kinds}
    assert min(count.values()) >= 5, count


def test_the_fast_read_out_is_the_slow_one() -> None:
    rng = np.random.default_rng(3)
    tau = spread(0.01, 0.1)
    for synapse in (Exponential(tau=tau), DoubleExponential(tau_rise=0.002, tau_decay=tau)):
        weight, bias = rng.normal(size=(2, 5)), rng.normal(size=2)
        readout = ReadOut(name="o", source="a", weight=weight, bias=bias, synapse=synapse)
        network = replace(plain(integrator="exact"), readouts=(readout,))
        spikes = engine.simulate(network, NETWORKS["plain"].inputs).spikes
        slow, fast = read_out(network, spikes)["o"], read_out_fast(network, spikes)["o"]
        np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-12)


# where it goes


def test_cores_are_counted_by_hand() -> None:
    """100 neurons of 70 decays: 32 to a core, so 3; dense 8-bit lists of 3 channels onto 100 neurons fit in one."""
    one = weights(np.full((100, 3), 0.01))
    assert len(lower(one).settings["cores"]) == 1
    core = lower(one).settings["cores"][0]
    # 64 synapses: 10 + 64 * 8 bits in words of 64 is 576; the other 36: 298 in 320
    assert (core.compartments, core.in_axons, core.synapse_bits, core.profiles) == (100, 3, 3 * (576 + 320), 1)
    taus = 4e-3 + 1e-4 * (np.arange(100) % 70)
    many = replace(one, populations=(replace(one.populations[0], synapses={"s": Exponential(tau=taus)}),))
    cores = lower(many).settings["cores"]
    assert len(cores) == 3
    assert sorted(np.concatenate([c.neurons["a"] for c in cores]).tolist()) == list(range(100))


def test_synaptic_memory_splits_a_population() -> None:
    """520 neurons, all to all: 270,400 synapses of 8 bits and more are 2.2 Mbit, and a core has 1 Mbit."""
    n = 520
    network = weights(np.random.default_rng(0).uniform(1e-5, 1e-4, (n, n)))
    cores = lower(network).settings["cores"]
    assert len(cores) >= 3
    assert all(c.synapse_bits <= 2**20 for c in cores)
    assert sum(c.compartments for c in cores) == n


def test_a_table_comes_back_as_the_same_chip(tmp_path: Path) -> None:
    case = NETWORKS["held input through a synapse"]
    lowering = lower(case.network)
    chip, path = lowering.settings["chip"], LOIHI.export(lowering, tmp_path / "net.npz")
    found = read_table(path)
    assert (found.dt, dict(found.inputs), len(found.synapses)) == (chip.dt, dict(chip.inputs), len(chip.synapses))
    for a, b in zip(chip.compartments, found.compartments, strict=True):
        for name in ("du", "dv", "vth", "refractory", "bias", "v0"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        for f, g in zip(a.filters, b.filters, strict=True):
            assert f.synapse == g.synapse == "s"
            np.testing.assert_array_equal(f.keep, g.keep)
            np.testing.assert_array_equal(f.constant, g.constant)
            np.testing.assert_array_equal(f.weights["u"], g.weights["u"])
    for s, t in zip(chip.synapses, found.synapses, strict=True):
        np.testing.assert_array_equal(s.mantissa, t.mantissa)
        assert replace(s, mantissa=t.mantissa) == t
    with pytest.raises(SpikeportError, match="exists already"):
        LOIHI.export(lowering, path)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    a, b = (LOIHI.export(lower(plain()), tmp_path / name) for name in ("a.npz", "b.npz"))
    assert a.read_bytes() == b.read_bytes()


def test_another_npz_is_no_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", description=np.array('{"format": "other"}'))
    with pytest.raises(InvalidNetworkError, match="format 'other', must be spikeport-loihi-1"):
        read_table(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", a=np.zeros(3))
    with pytest.raises(InvalidNetworkError, match="no table of Loihi's integers"):
        read_table(tmp_path / "y.npz")


def test_the_largest_state_is_the_largest_threshold_and_a_little() -> None:
    assert 131071 << 6 < V_MAX
