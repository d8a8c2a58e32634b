"""Small random spiking networks with every feature on and off, as a hypothesis strategy, and which features one has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from spikeport.snn.integrators import INTEGRATORS
from spikeport.snn.neurons import LIF, RESETS
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import (
    SAMPLINGS,
    HeldInput,
    Population,
    Projection,
    ReadOut,
    SpikeInput,
    SpikingNetwork,
    Uniform,
)
from spikeport.snn.synapses import Delta, DoubleExponential, Exponential, Synapse

SIZES = st.one_of(st.integers(1, 6), st.sampled_from([31, 32, 33, 64, 65, 70]))  # the engine's tiles are of 32


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network and the arguments of a run of it: the same for every simulator."""

    network: SpikingNetwork
    inputs: dict[str, Any]
    n_steps: int
    n_batch: int
    seed: int
    first_trial: int
    with_noise: bool

    def run(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("n_steps", "n_batch", "seed", "first_trial", "with_noise")}


@st.composite
def cases(draw: Any, *, max_steps: int = 48) -> Case:
    """A case; hypothesis chooses the structure, and a seed from which every number is drawn."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dt = draw(st.sampled_from([1e-3, 5e-4]))
    names = draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]
    populations = tuple(_population(draw, rng, name) for name in names)
    inputs = tuple(_held(draw, name, dt) for name in ("u", "w") if draw(st.booleans()))
    inputs += tuple(SpikeInput(name=name, n=draw(st.integers(1, 5))) for name in ("x", "y") if draw(st.booleans()))
    ranks = {name: draw(st.integers(0, 9)) for name in names}  # zero delay only from a lower rank to a higher one
    projections = tuple(_projections(draw, rng, populations, inputs, ranks))
    readouts = tuple(_readouts(draw, rng, populations))
    integrator = draw(st.sampled_from(sorted(INTEGRATORS)))
    network = SpikingNetwork(
        populations=populations, inputs=inputs, projections=projections, readouts=readouts, dt=dt, integrator=integrator
    )
    n_steps, n_batch = draw(st.integers(0, max_steps)), draw(st.integers(1, 3))
    return Case(
        network=network,
        inputs={i.name: _values(draw, rng, i, n_steps, n_batch) for i in inputs},
        n_steps=n_steps,
        n_batch=n_batch,
        seed=draw(st.sampled_from([0, 1, 2**40 + 7])),
        first_trial=draw(st.sampled_from([0, 5])),
        with_noise=draw(st.sampled_from([True, True, True, False])),
    )


def _population(draw: Any, rng: np.random.Generator, name: str) -> Population:
    n = draw(SIZES)

    def number(low: float, high: float) -> Any:
        return rng.uniform(low, high, n) if draw(st.booleans()) else float(rng.uniform(low, high))

    synapses: dict[str, Synapse] = {}
    for synapse in draw(st.lists(st.sampled_from(["s", "p", "q"]), max_size=3, unique=True)):
        kind = draw(st.sampled_from([DoubleExponential, Exponential, Delta]))
        if kind is DoubleExponential:
            synapses[synapse] = DoubleExponential(tau_rise=number(0.002, 0.004), tau_decay=number(0.004, 0.02))
        else:
            synapses[synapse] = Exponential(tau=number(0.003, 0.02)) if kind is Exponential else Delta()
    filtering = [s for s in synapses if not isinstance(synapses[s], Delta)]
    noisy = draw(st.booleans())
    return Population(
        name=name,
        n=n,
        neuron=LIF(
            tau_mem=number(0.004, 0.02),
            v_threshold=number(0.8, 1.2),
            v_reset=number(-0.5, 0.3),
            v_leak=draw(st.sampled_from([0.0, 0.2])),
            t_ref=draw(st.sampled_from([0.0, 0.002])) if draw(st.booleans()) else rng.integers(0, 5, n) * 1e-3,
            reset=draw(st.sampled_from(RESETS)),
        ),
        synapses=synapses,
        bias=number(0.4, 2.0),
        synaptic_bias={s: number(-0.3, 0.6) for s in filtering if draw(st.booleans())},
        noise_sd=number(0.05, 0.4) if noisy else 0.0,
        noise_while_refractory=draw(st.booleans()),
        spikes_while_refractory=draw(st.booleans()),
        v0=draw(st.sampled_from([0.5, Uniform(-0.5, 1.5)])) if draw(st.booleans()) else rng.uniform(-1, 2, n),
        ref0=draw(st.sampled_from([0, 4])) if draw(st.booleans()) else rng.integers(0, 6, n).astype(float),
        noise_key=draw(st.sampled_from([None, 3, 2**16 - 1])),
        unit_ids=rng.permutation(100_000)[:n].astype(float) if draw(st.booleans()) else None,
    )


def _held(draw: Any, name: str, dt: float) -> HeldInput:
    per_sample = draw(st.sampled_from([1, 2, 2.5, 5, 0.5]))
    return HeldInput(
        name=name, n=draw(st.integers(1, 3)), dt=per_sample * dt, sampling=draw(st.sampled_from(SAMPLINGS))
    )


def _projections(
    draw: Any,
    rng: np.random.Generator,
    populations: tuple[Population, ...],
    inputs: tuple[Any, ...],
    ranks: dict[str, int],
) -> Iterator[Projection]:
    for _ in range(draw(st.integers(0, 8))):
        source, target = draw(st.sampled_from([*populations, *inputs])), draw(st.sampled_from(populations))
        held = isinstance(source, HeldInput)
        allowed = [s for s, kind in target.synapses.items() if not (held and isinstance(kind, Delta))]
        synapse = draw(st.sampled_from([*allowed, None] if held else allowed)) if allowed or held else None
        if synapse is None and not held:
            continue
        loops = isinstance(source, Population) and ranks[source.name] >= ranks[target.name]
        delay = 0 if held else draw(st.integers(1 if loops else 0, 5))
        size = 0.5 if held else 0.01 / np.sqrt(min(source.n, 8))
        weight = rng.normal(0.2 * size, size, (target.n, source.n)) * (rng.random((target.n, source.n)) < 0.8)
        yield Projection(source=source.name, target=target.name, weight=weight, synapse=synapse, delay=delay)


def _readouts(draw: Any, rng: np.random.Generator, populations: tuple[Population, ...]) -> Iterator[ReadOut]:
    for name in ("o", "oo"):
        if draw(st.booleans()):
            source, outputs = draw(st.sampled_from(populations)), draw(st.integers(1, 3))
            tau = rng.uniform(0.005, 0.02, source.n)
            double = DoubleExponential(tau_rise=0.002, tau_decay=tau)
            yield ReadOut(
                name=name,
                source=source.name,
                weight=rng.normal(size=(outputs, source.n)) * 0.01,
                bias=rng.normal(size=outputs),
                synapse=double if draw(st.booleans()) else Exponential(tau=tau),
            )


def _values(draw: Any, rng: np.random.Generator, port: Any, n_steps: int, n_batch: int) -> Any:
    length = draw(st.sampled_from([n_steps, n_steps + 3, max(n_steps // 2, 1)]))
    if isinstance(port, HeldInput):
        return rng.normal(size=(max(length, 1), n_batch, port.n))
    counts = rng.poisson(0.3, (length, n_batch, port.n))
    return SpikeTrains.from_dense(counts) if draw(st.booleans()) else counts


def features(case: Case, recording: Recording) -> Iterator[str]:
    """What of the canonical step a case reaches, by name; those of FEATURES."""
    network = case.network
    yield f"integrator {network.integrator}"
    yield f"populations {len(network.populations)}"
    for p in network.populations:
        if recording.spikes[p.name].n_spikes == 0:
            continue  # a population that never spikes shows little
        yield "spikes"
        yield f"reset {p.neuron.reset}"
        yield f"tiles {-(-p.n // 32)}"
        yield "n = 1" if p.n == 1 else "n > 1"
        yield "t_ref" if np.any(np.asarray(p.neuron.t_ref) > 0) else "no t_ref"
        yield "ref0" if np.any(np.asarray(p.ref0) > 0) else "no ref0"
        yield f"v0 {'uniform' if isinstance(p.v0, Uniform) else 'per unit' if np.ndim(p.v0) else 'number'}"
        yield "tau per unit" if np.ndim(p.neuron.tau_mem) else "one tau"
        if np.any(np.asarray(p.noise_sd) > 0) and case.with_noise:
            yield f"noise, flags {int(p.noise_while_refractory)}{int(p.spikes_while_refractory)}"
            yield "unit ids" if p.unit_ids is not None else "own unit ids"
        yield "noise off" if not case.with_noise else "noise on"
        yield "synaptic bias" if p.synaptic_bias else "no synaptic bias"
        yield f"synapses {len(p.synapses)}"
    kinds = {i.name: type(i).__name__ for i in (*network.inputs, *network.populations)}
    for projection in network.projections:
        target = network.population(projection.target)
        via = "membrane" if projection.synapse is None else type(target.synapses[projection.synapse]).__name__
        yield f"{kinds[projection.source]} via {via}"
        yield f"delay {projection.delay}"
        yield "loop" if projection.source == projection.target else "no loop"
    yield from (f"sampling {i.sampling}" for i in network.held_inputs)
    yield from (f"read-out {type(r.synapse).__name__} of {r.weight.shape[0]}" for r in network.readouts)
    yield from (
        "counts above 1" for s in case.inputs.values() if isinstance(s, SpikeTrains) and s.count.max(initial=0) > 1
    )
    yield "zero steps" if case.n_steps == 0 else "steps"


_SPIKING = ("DoubleExponential", "Exponential", "Delta")
FEATURES = (
    *(f"integrator {name}" for name in INTEGRATORS), *(f"populations {n}" for n in (1, 2, 3)), "spikes",
    *(f"reset {reset}" for reset in RESETS), *(f"tiles {n}" for n in (1, 2, 3)), "n = 1", "n > 1", "t_ref", "no t_ref",
    "ref0", "no ref0", "v0 uniform", "v0 per unit", "v0 number", "tau per unit", "one tau",
    *(f"noise, flags {flags}" for flags in ("00", "01", "10", "11")), "unit ids", "own unit ids",
    "noise off", "noise on", "synaptic bias", "no synaptic bias", *(f"synapses {n}" for n in range(4)),
    *(f"{source} via {kind}" for source in ("Population", "SpikeInput") for kind in _SPIKING),
    *(f"HeldInput via {kind}" for kind in ("membrane", "DoubleExponential", "Exponential")),
    *(f"delay {d}" for d in range(6)), "loop", "no loop", *(f"sampling {s}" for s in SAMPLINGS),
    *(f"read-out {kind} of {n}" for kind in ("DoubleExponential", "Exponential") for n in (1, 2, 3)),
    "counts above 1", "zero steps", "steps",
)  # fmt: skip
