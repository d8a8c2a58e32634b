"""The published transfer: what is taken over, what is scaled, the presets as data, and the losses with their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_networks import rate_network

from spikeport.convert.presets import PRESETS, Preset, get_preset
from spikeport.convert.sources import load_source
from spikeport.convert.transfer import discrete_area, losses, transfer
from spikeport.snn import engine, reference
from spikeport.snn.errors import SpikeportError
from spikeport.snn.integrators import get_integrator, synapse_table
from spikeport.snn.spiking import SpikingNetwork, Uniform
from spikeport.snn.synapses import DoubleExponential

# The facts that decide whether a rewrite is right, ../shared/data/README.md: field -> (published, the other choice)
FACTS: dict[str, tuple[Any, Any]] = {
    "integrator": ("kim2019", "exact"),
    "dt": (5e-5, 1e-4),
    "tau_mem": (0.010, 0.020),
    "tau_rise": (0.002, 0.001),
    "v_threshold": (-40.0, -50.0),
    "v_reset": (-65.0, -60.0),
    "bias": (-40.0, 0.0),
    "t_ref": (0.002, 0.001),
    "noise_sd": (0.1, 0.0),
    "v0": (Uniform(-65.0, 30.0), Uniform(-65.0, -40.0)),
    "at_threshold": (True, False),
    "noise_while_refractory": (True, False),
    "spikes_while_refractory": (True, False),
    "starts_refractory": (True, False),
    "sampling": ("nearest", "floor"),
    "keep_b_out": (False, True),
    "delay": (1, 2),
}
PUBLISHED = Preset(name="kim2019", **{field: published for field, (published, _) in FACTS.items()})


def only_population(network: SpikingNetwork) -> Any:
    (population,) = network.populations
    return population


def run(network: SpikingNetwork, n_steps: int = 4000) -> Any:
    u = np.zeros((101, 2, 1))
    u[5:15] = 1
    return engine.simulate(network, u, n_steps=n_steps, seed=3)


# The presets, as data


@pytest.mark.parametrize("field", FACTS)
def test_kim2019_states_the_published_value(field: str) -> None:
    published, other = FACTS[field]
    assert getattr(PRESETS["kim2019"], field) == published != other


def test_no_field_of_a_preset_is_without_a_published_fact() -> None:
    assert set(vars(PRESETS["kim2019"])) == {"name", *FACTS}


@pytest.mark.parametrize("field", sorted(set(FACTS) - {"keep_b_out", "at_threshold"}))
def test_each_quirk_of_kim2019_changes_the_spikes(field: str, published_like: Any) -> None:
    """A field that changed nothing could be wrong unseen."""
    flipped = replace(PUBLISHED, **{field: FACTS[field][1]})
    before = run(transfer(published_like, 30, preset=PUBLISHED)).spikes["rec"]
    n_steps = round(0.2 / flipped.dt)
    after = run(transfer(published_like, 30, preset=flipped), n_steps).spikes["rec"]
    assert before.n_spikes > 100
    assert before.shape != after.shape or before.differing(after) > 0


@pytest.fixture(scope="module")
def published_like(repo_root: Path) -> Any:
    """A trained network that fires, so that a changed neuron shows."""
    return load_source(repo_root / "examples" / "models" / "go_nogo.h5")


@pytest.mark.parametrize(("preset", "spikes"), [("kim2019", True), ("standard", False)])
def test_only_kim2019_fires_at_the_threshold_itself(preset: str, spikes: bool) -> None:
    """Without weights and noise v stays where it starts: v_leak + bias = -40 mV is the threshold."""
    quiet = rate_network(w_rec=np.zeros((6, 6)), w_in=np.zeros((6, 2)))
    network = transfer(
        quiet, 30, preset=replace(get_preset(preset), starts_refractory=False, integrator="euler", dt=2.0**-14)
    )
    v0 = {"rec": np.full((1, 6), -40.0)}
    done = reference.simulate(network, np.zeros((1, 1, 2)), n_steps=2, with_noise=False, v0=v0)
    assert (done.spikes["rec"].n_spikes > 0) == spikes


def test_standard_has_none_of_the_quirks() -> None:
    standard = get_preset("standard")
    assert standard.integrator == "exact"
    for field in ("at_threshold", "noise_while_refractory", "spikes_while_refractory", "starts_refractory"):
        assert not getattr(standard, field)
    assert standard.keep_b_out
    assert standard.sampling == "floor"
    assert standard.v0.high <= standard.v_threshold, "no unit starts above the threshold"


@pytest.mark.parametrize(
    ("settings", "steps"), [({}, 40), ({"t_ref": 0.004}, 80), ({"dt": 1e-3}, 2), ({"dt": 1e-3, "t_ref": 0.0}, 0)]
)
def test_units_of_kim2019_start_as_if_they_had_fired_at_zero_whatever_the_step(
    settings: dict[str, float], steps: int
) -> None:
    """The published code's time of the last spike is 0 s at the start, and t_ref counts from there."""
    network = transfer(rate_network(), 30, preset=replace(get_preset("kim2019"), **settings))
    assert only_population(network).ref0 == steps
    assert only_population(transfer(rate_network(), 30, preset=replace(get_preset("standard"), **settings))).ref0 == 0


def test_an_unknown_preset_is_refused_with_the_list() -> None:
    with pytest.raises(SpikeportError, match=r"preset 'kim' is unknown\n  known: standard, kim2019"):
        get_preset("kim")


# What is taken over and what is scaled


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("inverse_lambda", [1.0, 20.0, 33.3])
def test_the_recurrence_and_the_read_out_are_scaled_by_lambda_and_nothing_else_is(
    preset: str, inverse_lambda: float
) -> None:
    source = rate_network(b_rec=np.arange(6.0))
    network = transfer(source, inverse_lambda, preset=preset)
    w_in, w_rec = network.projections
    np.testing.assert_array_equal(w_in.weight, source.w_in)
    assert (w_in.source, w_in.synapse) == ("u", None), "the stimulus reaches the membrane unfiltered"
    np.testing.assert_allclose(w_rec.weight * inverse_lambda, source.w_rec, rtol=1e-15)
    np.testing.assert_allclose(network.readouts[0].weight * inverse_lambda, source.w_out, rtol=1e-15)
    for synapse in (only_population(network).synapses["rec"], network.readouts[0].synapse):
        np.testing.assert_array_equal(synapse.tau_decay, source.tau)
    np.testing.assert_array_equal(only_population(network).bias, -40.0 + source.b_rec)
    assert network.inputs[0].dt == source.dt


def test_the_read_outs_bias_is_kept_by_standard_and_dropped_by_kim2019_with_a_named_loss() -> None:
    source = rate_network(b_out=np.array([0.25]))
    kept, dropped = (transfer(source, 30, preset=p) for p in ("standard", "kim2019"))
    assert kept.readouts[0].bias.tolist() == [0.25]
    assert dropped.readouts[0].bias.tolist() == [0.0]
    assert not any("b_out" in text for text in kept.provenance["losses"])
    assert any("b_out dropped" in text and "0.25" in text for text in dropped.provenance["losses"])


def test_nothing_is_said_of_a_bias_that_is_zero() -> None:
    found = losses(rate_network(b_out=np.zeros(1), phi_max=None), get_preset("kim2019"))
    assert not any("b_out" in loss.what for loss in found)


def test_the_provenance_names_method_preset_lambda_and_source() -> None:
    found = transfer(rate_network(), 30, preset="kim2019").provenance
    assert (found["method"], found["preset"], found["inverse_lambda"]) == ("lambda", "kim2019", 30.0)
    assert found["source"]["file"] == "model.mat"


# The area of a filtered spike


def area(integrator: str, dt: float, rise: float = 0.002, decay: float = 0.05) -> float:
    synapse = DoubleExponential(tau_rise=rise, tau_decay=decay)
    table = synapse_table(get_integrator(integrator), synapse, np.array([0.01]), dt)
    return float(discrete_area(table.D, table.jump, dt)[0])


@pytest.mark.parametrize("integrator", ["kim2019", "euler", "exact"])
@pytest.mark.parametrize("dt", [5e-5, 5e-4])
def test_the_discrete_area_is_that_of_a_simulated_spike(integrator: str, dt: float) -> None:
    synapse = DoubleExponential(tau_rise=0.002, tau_decay=0.02)
    table = synapse_table(get_integrator(integrator), synapse, np.array([0.01]), dt)
    x, total = table.jump[0], 0.0
    for _ in range(round(0.6 / dt)):
        total, x = total + x[0] * dt, table.D[0] @ x
    assert discrete_area(table.D, table.jump, dt)[0] == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize(("dt", "stated", "tolerance"), [(5e-5, 1.014, 0.002), (1e-3, 1.29, 0.015)])
@pytest.mark.parametrize("decay", [0.02, 0.1])  # the ends of the trained time constants
def test_kim2019_has_the_stated_area(dt: float, stated: float, tolerance: float, decay: float) -> None:
    assert area("kim2019", dt, decay=decay) == pytest.approx(stated, abs=tolerance)


@pytest.mark.parametrize("dt", [5e-5, 1e-3])
def test_euler_has_unit_area_at_any_step(dt: float) -> None:
    assert area("euler", dt) == pytest.approx(1, rel=1e-12)


# Losses by name


def named(source: Any, preset: Preset) -> dict[str, str]:
    return {loss.what: loss.how_much for loss in losses(source, preset)}


def test_a_coarser_step_names_the_noise_and_the_area() -> None:
    found = named(rate_network(), replace(get_preset("kim2019"), dt=1e-3))
    noise = next(text for what, text in found.items() if "not scaled by dt" in what)
    assert "0.1 mV a step" in noise
    assert "at 5e-05 s" in noise
    assert "at dt 0.001 s" in next(text for what, text in found.items() if "area" in what)


def test_the_noise_loss_states_the_spread_of_v_that_a_simulation_has() -> None:
    """sd of v = noise_sd / sqrt(1 - A^2), on units without weights, far below threshold."""
    idle = rate_network(w_rec=np.zeros((6, 6)), w_in=np.zeros((6, 2)))
    preset = replace(get_preset("standard"), dt=1e-3, bias=-60.0, v0=Uniform(-60.0, -59.999))
    text = next(t for what, t in named(idle, preset).items() if "not scaled by dt" in what)
    stated = float(text.split("sd of v ")[1].split(" mV")[0])
    done = engine.simulate(transfer(idle, 30, preset=preset), np.zeros((1, 20, 2)), n_steps=2000, record=["rec.v"])
    assert done.traces["rec.v"][200:].std() == pytest.approx(stated, rel=0.03)


def test_the_published_step_names_no_noise_loss() -> None:
    assert not any("noise" in what for what in named(rate_network(), get_preset("standard")))


def test_a_refractory_period_below_half_a_step_is_named() -> None:
    preset = replace(get_preset("standard"), t_ref=2e-5)
    assert "t_ref 2e-05 s" in named(rate_network(), preset)["the refractory period is below half a step"]
    assert not any("refractory" in what for what in named(rate_network(), get_preset("standard")))


@pytest.mark.parametrize(
    ("t_ref", "dt", "runs"),
    [(6e-4, 1e-3, "0.001 s runs, 1 step"), (2.6e-3, 1e-3, "0.003 s runs, 3 steps"), (0.002, 3e-4, "0.0021 s runs, 7"),
     (0.002, 1e-3, None), (3e-4, 1e-4, None), (0.0, 1e-3, None), (0.002, 5e-5, None)],
)  # fmt: skip
def test_a_refractory_period_that_is_no_whole_number_of_steps_is_named_with_the_one_that_runs(
    t_ref: float, dt: float, runs: str | None
) -> None:
    found = named(rate_network(), replace(get_preset("standard"), t_ref=t_ref, dt=dt))
    text = found.get("the refractory period is rounded to whole steps")
    assert (text is None) == (runs is None)
    assert runs is None or runs in str(text)


@pytest.mark.parametrize(("phi_max", "is_named"), [(20.0, True), (None, False)])
def test_a_clip_of_the_activation_is_named(phi_max: float | None, is_named: bool) -> None:
    found = named(rate_network(phi_max=phi_max), get_preset("standard"))
    assert any("clip" in what for what in found) == is_named


# Refusals


@pytest.mark.parametrize("value", [0.0, -30.0, float("nan"), float("inf")])
def test_a_lambda_that_is_not_positive_is_refused(value: float) -> None:
    with pytest.raises(SpikeportError, match=r"1/lambda = .*must be positive"):
        transfer(rate_network(), value)


@pytest.mark.parametrize("dt", [0.0, -1e-4, float("nan"), float("inf")])
def test_a_step_that_is_not_positive_is_refused(dt: float) -> None:
    with pytest.raises(SpikeportError, match=r"dt .* must be positive"):
        transfer(rate_network(), 30, dt=dt)


@pytest.mark.parametrize("dt", [1e-9, 1e-300, 0.99e-6])
def test_a_step_with_which_a_conversion_would_not_end_is_refused_with_the_least(dt: float) -> None:
    with pytest.raises(SpikeportError, match=r"dt .* s, must be at least 1e-06 s: it takes .* times as many steps"):
        transfer(rate_network(), 30, dt=dt)
    assert transfer(rate_network(), 30, dt=1e-6).dt == 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t_ref": -1.0}, "t_ref: -1 s, must be 0 or more"),
        ({"t_ref": float("nan")}, "t_ref: nan s, must be 0 or more, and finite"),
        ({"t_ref": 1e300}, r"t_ref: 1e\+300 s, must be at most 1 s"),
        ({"noise_sd": -0.1}, "noise: -0.1 mV a step, must be 0 or more"),
        ({"dt": 0.0, "t_ref": -1.0}, r"(?s)dt 0.0 s, must be positive.*t_ref: -1 s"),
    ],
)
def test_a_preset_that_no_neuron_can_have_is_refused_with_every_reason(changes: dict[str, float], message: str) -> None:
    with pytest.raises(SpikeportError, match=message):
        replace(get_preset("standard"), **changes)  # type: ignore[arg-type]


def test_a_step_that_is_too_large_is_refused_with_every_reason() -> None:
    source = rate_network(tau=np.full(6, 0.02), dt=0.005)
    with pytest.raises(SpikeportError, match="cannot step this network") as refusal:
        transfer(source, 30, preset="kim2019", dt=0.02)
    problems = "\n".join(refusal.value.problems)
    assert len(refusal.value.problems) == 4
    for part in ("inputs would be skipped", "tau_mem is 0.01 s", "tau_rise is 0.002 s", "the smallest tau is 0.02 s"):
        assert part in problems


def test_exact_integration_takes_a_step_that_euler_cannot() -> None:
    assert transfer(rate_network(), 30, preset="standard", dt=0.003).dt == 0.003
    with pytest.raises(SpikeportError, match="tau_rise is"):
        transfer(rate_network(), 30, preset="kim2019", dt=0.003)
