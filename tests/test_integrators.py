"""Integrators: their tables against formulas and expm, their order of convergence, the area of a filtered spike."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import expm

from spikeport.snn import reference
from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.integrators import INTEGRATORS, SynapseTable, get_integrator, synapse_table
from spikeport.snn.neurons import LIF
from spikeport.snn.spiking import HeldInput, Population, Projection, SpikeInput, SpikingNetwork
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential, Synapse

Array = NDArray[np.float64]
TAU_MEM = 0.01
EQUAL = {  # membrane, rise, decay: where the partial fractions of the closed form would divide by 0
    "all differ": (0.01, 0.002, 0.02),
    "rise = decay": (0.01, 0.005, 0.005),
    "decay = membrane": (0.01, 0.002, 0.01),
    "rise = membrane": (0.01, 0.01, 0.02),
    "all equal": (0.01, 0.01, 0.01),
    "almost equal": (0.01, 0.01 * (1 + 1e-9), 0.01 * (1 - 1e-9)),
}
TAU = st.floats(1e-3, 0.2)
DT = st.floats(1e-5, 5e-4)


def double_table(name: str, tm: float, tr: float, td: float, dt: float) -> SynapseTable:
    synapse = DoubleExponential(tau_rise=tr, tau_decay=td)
    assert synapse.problems(1) == []
    return synapse_table(get_integrator(name), synapse, np.array([tm]), dt)


# Tables


@given(tm=TAU, tr=TAU, td=TAU, dt=DT)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_kim2019_is_exponential_in_the_synapse_and_euler_in_coupling_and_membrane(
    tm: float, tr: float, td: float, dt: float
) -> None:
    table = double_table("kim2019", tm, tr, td, dt)
    np.testing.assert_allclose(table.D[0], [[np.exp(-dt / td), dt], [0, np.exp(-dt / tr)]], rtol=1e-14)
    np.testing.assert_allclose(table.B[0], [dt / tm, 0], rtol=1e-15)
    np.testing.assert_allclose(table.jump[0], [0, 1 / (tr * td)], rtol=1e-15)
    np.testing.assert_allclose(INTEGRATORS["kim2019"].decay(np.array([tm]), dt), 1 - dt / tm, rtol=1e-15)


@given(tm=TAU, tr=TAU, td=TAU, dt=DT)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_euler_is_the_identity_plus_dt_times_the_system(tm: float, tr: float, td: float, dt: float) -> None:
    table = double_table("euler", tm, tr, td, dt)
    np.testing.assert_allclose(table.D[0], [[1 - dt / td, dt], [0, 1 - dt / tr]], rtol=1e-14)
    np.testing.assert_allclose(table.B[0], [dt / tm, 0], rtol=1e-15)
    np.testing.assert_allclose(INTEGRATORS["euler"].decay(np.array([tm]), dt), 1 - dt / tm, rtol=1e-15)


def continuous_system(tm: float, tr: float, td: float) -> Array:
    """d/dt of (s, h, v): s' = -s/td + h, h' = -h/tr, v' = (-v + s)/tm."""
    m = np.array([[-1 / td, 1, 0], [0, -1 / tr, 0], [1 / tm, 0, -1 / tm]])
    assert np.linalg.det(m) < 0
    return m


@pytest.mark.parametrize("taus", EQUAL.values(), ids=EQUAL)
def test_exact_is_the_matrix_exponential_of_the_whole_system(taus: tuple[float, float, float]) -> None:
    dt = 1e-3
    table = double_table("exact", *taus, dt)
    whole = expm(dt * continuous_system(*taus))
    np.testing.assert_allclose(table.D[0], whole[:2, :2], rtol=1e-13, atol=1e-18)
    np.testing.assert_allclose(table.B[0], whole[2, :2], rtol=1e-13)
    np.testing.assert_allclose(INTEGRATORS["exact"].decay(np.array([taus[0]]), dt), whole[2, 2], rtol=1e-14)
    assert (table.B[0] > 0).all()  # both entries: h of the step's start already moves v


def test_exact_agrees_with_the_partial_fractions() -> None:
    tm, tr, td, dt = 0.01, 0.002, 0.02, 1e-3
    em, er, ed = np.exp(-dt / tm), np.exp(-dt / tr), np.exp(-dt / td)
    rise = 1 / (1 / tr - 1 / td)  # s(t) = rise (e^(-t/td) - e^(-t/tr)) of h(0) = 1

    def through_membrane(tau: float, e: float) -> float:
        return tau / (tau - tm) * (e - em)

    table = double_table("exact", tm, tr, td, dt)
    np.testing.assert_allclose(table.D[0], [[ed, rise * (ed - er)], [0, er]], rtol=1e-13)
    coupling = [through_membrane(td, ed), rise * (through_membrane(td, ed) - through_membrane(tr, er))]
    np.testing.assert_allclose(table.B[0], coupling, rtol=1e-11)
    single = synapse_table(get_integrator("exact"), Exponential(tau=np.array([td, tm])), np.array([tm, tm]), dt)
    np.testing.assert_allclose(single.B[:, 0], [through_membrane(td, ed), dt / tm * em], rtol=1e-12)
    np.testing.assert_allclose(single.D[:, 0, 0], [ed, em], rtol=1e-14)


@given(tm=TAU, tr=TAU, td=TAU, dt=DT)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_two_exact_half_steps_are_one_exact_step(tm: float, tr: float, td: float, dt: float) -> None:
    half, whole = double_table("exact", tm, tr, td, dt / 2), double_table("exact", tm, tr, td, dt)
    a = float(INTEGRATORS["exact"].decay(np.array([tm]), dt / 2)[0])
    np.testing.assert_allclose(half.D[0] @ half.D[0], whole.D[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(a * half.B[0] + half.B[0] @ half.D[0], whole.B[0], rtol=1e-10)


def test_all_integrators_agree_in_the_limit_of_small_steps() -> None:
    exact = double_table("exact", 0.01, 0.002, 0.02, 1e-6)
    for name in ("kim2019", "euler"):
        table = double_table(name, 0.01, 0.002, 0.02, 1e-6)
        np.testing.assert_allclose(table.D, exact.D, atol=1e-6)
        np.testing.assert_allclose(table.B[:, 0], exact.B[:, 0], rtol=1e-3)


def test_a_delta_has_no_state_and_moves_v_by_one_over_tau_mem() -> None:
    for integrator in INTEGRATORS.values():
        table = synapse_table(integrator, Delta(), np.array([0.01, 0.02]), 1e-3)
        assert table.D.shape == (2, 0, 0)
        np.testing.assert_array_equal(table.jump, [[1 / 0.01], [1 / 0.02]])


def test_an_unknown_integrator_is_refused_with_the_list() -> None:
    with pytest.raises(InvalidNetworkError, match=r"'heun' is unknown\n.*kim2019, euler, exact"):
        get_integrator("heun")


# Area


def stretch(x: float) -> float:
    """x / (1 - e^(-x)): how much longer a sampled exponential is than its time constant."""
    assert x > 0
    return float(x / -np.expm1(-x))


def table_area(table: SynapseTable, dt: float) -> float:
    """dt times the sum of x_0 over all steps from the spike's arrival on, x = D^k jump, by the geometric series."""
    assert np.abs(np.linalg.eigvals(table.D[0])).max() < 1
    return float(dt * np.linalg.solve(np.eye(table.D.shape[1]) - table.D[0], table.jump[0])[0])


def sampled_area(tr: float, td: float, dt: float) -> float:
    """dt times the sum over the grid of (e^(-t/td) - e^(-t/tr)) / (td - tr)."""
    return dt / (td - tr) * (1 / -np.expm1(-dt / td) - 1 / -np.expm1(-dt / tr))


@given(tr=st.floats(1e-3, 5e-3), td=st.floats(6e-3, 0.2), dt=DT)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_area_of_a_filtered_spike_is_the_closed_form_of_each_integrator(tr: float, td: float, dt: float) -> None:
    expected = {"euler": 1.0, "kim2019": stretch(dt / tr) * stretch(dt / td), "exact": sampled_area(tr, td, dt)}
    for name, closed_form in expected.items():
        assert table_area(double_table(name, 0.01, tr, td, dt), dt) == pytest.approx(closed_form, rel=1e-9), name
    assert expected["exact"] == pytest.approx(1, abs=dt**2 / tr / td)  # of second order: s starts and ends at 0


@pytest.mark.parametrize(("dt", "stated", "tolerance"), [(5e-5, 1.014, 0.002), (1e-3, 1.29, 0.015)])
@pytest.mark.parametrize("tau_decay", [0.02, 0.03, 0.06, 0.1])  # the published range of tau
def test_kim2019_has_the_area_that_the_design_states(
    dt: float, stated: float, tolerance: float, tau_decay: float
) -> None:
    found = table_area(double_table("kim2019", 0.01, 0.002, tau_decay, dt), dt)
    assert found == pytest.approx(stated, abs=tolerance)


def silent(
    integrator: str, dt: float, synapse: Synapse, *, n: int = 1, bias: float = 0, v0: float = 0
) -> SpikingNetwork:
    """Neurons that never spike, each with the same spike input through `synapse`."""
    neuron = LIF(tau_mem=TAU_MEM, v_threshold=1e9, v_reset=0.0)
    population = Population(name="n", n=n, neuron=neuron, synapses={"s": synapse}, bias=bias, v0=v0)
    assert neuron.problems(n) == []
    return SpikingNetwork(
        populations=(population,),
        inputs=(SpikeInput(name="x", n=1),),
        projections=(Projection(source="x", target="n", weight=np.ones((n, 1)), synapse="s"),),
        dt=dt,
        integrator=integrator,
    )


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("synapse", [DoubleExponential(tau_rise=0.002, tau_decay=0.01), Exponential(tau=0.01), Delta()])
def test_a_simulated_spike_and_its_mark_on_v_have_the_area_of_the_table(integrator: str, synapse: Synapse) -> None:
    dt, w = 1e-3, 1.0
    spike = np.zeros((400, 1, 1), dtype=int)
    spike[0] = 1
    run = reference.simulate(silent(integrator, dt, synapse), spike, record=["n.v", "n.s"])
    if isinstance(synapse, Delta):
        filtered = w  # no filter; v decays by A a step
        gain = dt / 0.01 / (1 - INTEGRATORS[integrator].decay(np.array([0.01]), dt)[0])
    else:
        table = synapse_table(get_integrator(integrator), synapse, np.array([0.01]), dt)
        filtered = table_area(table, dt)
        assert run.traces["n.s"].sum() * dt == pytest.approx(filtered, rel=1e-9)
        gain = 1.0
        if integrator == "exact":  # B takes v through the step: its own sampled sum
            system = np.block(
                [[table.D[0], np.zeros((synapse.n_states, 1))], [table.B[0] @ table.D[0], np.exp([[-0.1]])]]
            )
            start = np.append(table.jump[0], table.B[0] @ table.jump[0])
            filtered = dt * np.linalg.solve(np.eye(synapse.n_states + 1) - system, start)[-1]
    assert run.traces["n.v"].sum() * dt == pytest.approx(w * filtered * gain, rel=1e-9)


@pytest.mark.parametrize(
    ("integrator", "via"),
    [(i, via) for i in ("kim2019", "euler", "exact") for via in (None, "single", "double")],
)
def test_a_held_input_settles_at_w_u_times_the_area_of_its_synapse(integrator: str, via: str | None) -> None:
    dt, w, u = 1e-3, 1.5, -0.4
    synapses = {"double": DoubleExponential(tau_rise=0.002, tau_decay=0.01), "single": Exponential(tau=0.005)}
    area_of = {None: 1.0, "double": stretch(dt / 0.002) * stretch(dt / 0.01), "single": stretch(dt / 0.005)}
    gain = area_of[via] if integrator == "kim2019" else 1.0  # there a held input is a spike train of that mass
    population = Population(
        name="n", n=1, neuron=LIF(tau_mem=0.01, v_threshold=1e9, v_reset=0.0), synapses=synapses, bias=0.25
    )
    network = SpikingNetwork(
        populations=(population,),
        inputs=(HeldInput(name="u", n=1, dt=dt),),
        projections=(Projection(source="u", target="n", weight=np.full((1, 1), w), synapse=via),),
        dt=dt,
        integrator=integrator,
    )
    run = reference.simulate(network, np.full((1, 1, 1), u), n_steps=500, record=["n.v", "n.single", "n.double"])
    at_start = (
        () if integrator == "exact" else synapses
    )  # under exact x is above w u at a step's start, below at its end
    for synapse in at_start:
        settled = w * u * gain if synapse == via else 0.0
        assert run.traces[f"n.{synapse}"][-1, 0, 0] == pytest.approx(settled, rel=1e-12), f"x of {synapse}"
    assert run.traces["n.v"][-1, 0, 0] == pytest.approx(0.25 + w * u * gain, rel=1e-12)


# Order of convergence


GRID = 4e-4  # s, the coarsest dt, on whose points all are compared
SPIKES = {0.004: 1, 0.010: 2, 0.018: 1}  # s: count, on that grid
TIMES = GRID * np.arange(5, 81, 5)
BIAS, V0 = 0.7, -0.3


def true_v(taus: tuple[float, float, float], synapse: Synapse) -> Array:
    """v at TIMES, by superposition of the continuous system's responses."""
    tm, tr, td = taus
    systems = {  # with the state after a spike; v is the last
        DoubleExponential: (continuous_system(*taus), [0, 1 / (tr * td), 0]),
        Exponential: (np.array([[-1 / td, 0], [1 / tm, -1 / tm]]), [1 / td, 0]),
        Delta: (np.array([[-1 / tm]]), [1 / tm]),
    }
    system, start = systems[type(synapse)]
    v = BIAS + (V0 - BIAS) * np.exp(-TIMES / tm)
    for t, count in SPIKES.items():
        since = np.maximum(TIMES - t, 0)
        acts = TIMES > t - GRID / 2 if isinstance(synapse, Delta) else TIMES > t + GRID / 2
        v += count * acts * (expm(since[:, None, None] * system) @ start)[:, -1]
    return np.asarray(v)


def simulated_v(integrator: str, synapse: Synapse, dt: float) -> Array:
    """v (times, n) at TIMES; a filtered spike acts from its time on, a Delta's at the end of its arrival's step."""
    rows = np.round(TIMES / dt).astype(int) - 1
    spikes = np.zeros((rows[-1] + 1, 1, 1), dtype=int)
    for t, count in SPIKES.items():
        spikes[round(t / dt) - (1 if isinstance(synapse, Delta) else 0)] = count
    network = silent(integrator, dt, synapse, n=len(EQUAL), bias=BIAS, v0=V0)
    v = reference.simulate(network, spikes, record=["n.v"]).traces["n.v"][rows, 0]
    assert v.shape == (TIMES.size, len(EQUAL))
    return v


RISE, DECAY = (np.array([taus[i] for taus in EQUAL.values()]) for i in (1, 2))
KINDS = {
    "double": lambda rise, decay: DoubleExponential(tau_rise=rise, tau_decay=decay),
    "single": lambda rise, decay: Exponential(tau=decay),
    "delta": lambda rise, decay: Delta(),
}


@lru_cache
def all_true_v(kind: str) -> Array:
    """(times, n): a unit for each set of time constants."""
    v = np.stack([true_v(taus, KINDS[kind](*taus[1:])) for taus in EQUAL.values()], axis=1)
    assert v.shape == (TIMES.size, len(EQUAL))
    return v


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_subthreshold_trajectory_converges_with_the_declared_order(integrator: str, kind: str) -> None:
    truth = all_true_v(kind)
    synapse = KINDS[kind](RISE, DECAY)
    found = [simulated_v(integrator, synapse, dt) for dt in (GRID, GRID / 2, GRID / 4)]
    errors = [np.sqrt(((v - truth) ** 2).mean(axis=0)) for v in found]
    order = INTEGRATORS[integrator].order
    if order is None:
        assert np.max(errors) < 1e-12 * np.abs(truth).max()  # rounding
    else:
        np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), order, atol=0.1)
