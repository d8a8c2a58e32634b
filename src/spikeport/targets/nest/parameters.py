"""The canonical step as parameters of NEST's `iaf_psc_exp_multisynapse`, whose step is, with h its resolution,

    r = 0:  V[k] = P22 V[k-1] + P20 (I_e + I_dev[k]) + sum over receptors of P21 I[k-1];       r > 0:  r = r - 1
    I[k] = e^(-h/tau_syn) I[k-1] + arrivals[k];   spike where V[k] >= V_th, also while r > 0: V = V_reset, r = t_ref/h
    P22 = e^(-h/tau_m),   P20 = tau_m/C_m (1 - P22),   P21: what a current of 1 at the start of a step makes of V

(NEST 3.10, models/iaf_psc_exp_multisynapse.cpp, E_L = 0). V takes the current of the step before, ours the one after
arrivals, so I[k] has to be (b / P21) x[k+1], one step ahead:

    tau_m = -h / ln A,  C_m = tau_m,  I_e = v_leak + bias,  tau_syn = -h / ln d of every mode of the synapses
    delay d >= 2 steps:   weight  jump b / P21 w,     delay d - 1
    delay 1, B J = 0:     weight  d jump b / P21 w,   delay 1: s is unchanged at the arrival, so it may come a step late

A Delta is a current that is gone after one step: d = e^(-60), b = 1. Only ratios of times matter, so a step is 1 ms for
NEST: every dt is then on its grid, and every time a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeport.snn.neurons import Array
from spikeport.snn.spiking import Projection, SpikeInput, SpikingNetwork
from spikeport.targets.modes import split_double
from spikeport.targets.rewrites import at_or_above
from spikeport.targets.tables import PopulationStep, SynapseStep, population_steps

# The shortest time constant, ms: e^(-60) of a value is far below its last bit. Below some 1/700 NEST's P21 is wrong
# (for tau_syn 0.001 and tau_m 10 it is 1000 times too large, measured), because there its exponential underflows.
GONE = 1 / 60

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One population for NEST: (n,) each, times in steps.

    tau_syn: (n, receptors).  P20, P22, P21: coefficients of NEST's step, P21 (n, receptors).  receptors: synapse ->
    index from 1.  gain: synapse -> (n,), NEST's weight of a spike of weight 1.  decay: synapse -> (n,), d.
    """

    step: PopulationStep
    tau_m: Array
    tau_syn: Array
    P20: Array
    P22: Array
    P21: Array
    receptors: dict[str, int] = field(default_factory=dict)
    gain: dict[str, Array] = field(default_factory=dict)
    decay: dict[str, Array] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def n(self) -> int:
        return self.step.n

    @property
    def driven(self) -> tuple[SynapseStep, ...]:
        """The synapses with held values or a bias, which NEST cannot put into a receptor."""
        return tuple(s for s in self.step.synapses if s.held or s.bias.any())


@dataclass(frozen=True, kw_only=True)
class Link:
    """Connections of one projection: weight (n_target, n_source) in NEST's units, delay in steps."""

    source: str
    target: str
    receptor: int
    weight: Array
    delay: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network for NEST. given: from spike inputs, to be sent one step before the step at whose end they were."""

    cells: dict[str, Cell]
    links: tuple[Link, ...]
    given: tuple[Link, ...]

    @property
    def longest(self) -> int:
        """The longest delay, in steps."""
        return max([1, *(link.delay for link in (*self.links, *self.given))])


def plan(network: SpikingNetwork) -> Plan:
    """NEST's parameters of a network in which nothing is left that NEST lacks."""
    split = at_or_above(split_double(network))
    cells = {step.name: _cell(step) for step in population_steps(split)}
    names = {i.name for i in split.inputs if isinstance(i, SpikeInput)}
    links, given = [], []
    for j in split.projections:
        if j.source in names:
            # sent a step early, and one step longer on the way than the d - 1 between populations: delays are >= 1
            given.append(_link(cells[j.target], j, j.delay + 1))
        elif j.source in cells:
            links.append(_link(cells[j.target], j, j.delay - 1))
    return Plan(cells=cells, links=tuple(links), given=tuple(given))


def _link(cell: Cell, j: Projection, delay: int) -> Link:
    assert j.synapse is not None  # of spikes, checked when the network was made
    gain = cell.gain[j.synapse] * (cell.decay[j.synapse] if delay == 0 else 1.0)
    return Link(
        source=j.source,
        target=j.target,
        receptor=cell.receptors[j.synapse],
        weight=j.weight * gain[:, None],
        delay=max(delay, 1),
    )


def _cell(step: PopulationStep) -> Cell:
    tau_m = _tau(step.A)
    tau_syn, P21 = np.empty((2, step.n, max(1, len(step.synapses))))
    tau_syn[:], P21[:] = 1.0, 0.0  # NEST's model has one receptor at least
    cell = Cell(step=step, tau_m=tau_m, tau_syn=tau_syn, P20=-np.expm1(-1 / tau_m), P22=np.exp(-1 / tau_m), P21=P21)
    for i, synapse in enumerate(step.synapses):
        table = synapse.table
        d, b = (table.D[:, 0, 0], table.B[:, 0]) if synapse.n_states else (np.zeros(step.n), np.ones(step.n))
        tau = _tau(d)
        # NEST refuses equal ones; one bit beside them its P21 is right (2e-16, measured)
        tau_syn[:, i] = np.where(tau == tau_m, np.nextafter(tau, np.inf), tau)
        P21[:, i] = propagator(tau_m, tau_syn[:, i])
        cell.receptors[synapse.name] = i + 1
        cell.gain[synapse.name] = table.jump[:, 0] * (b / P21[:, i])
        cell.decay[synapse.name] = d
    return cell


def _tau(decay: Array) -> Array:
    """tau with e^(-1/tau) = decay, ms where a step is 1 ms."""
    return np.asarray(-1 / np.log(np.maximum(decay, np.exp(-1 / GONE))))


def propagator(tau_m: Array, tau_syn: Array) -> Array:
    """P21 for h = 1 and C_m = tau_m: (e^(-1/tau_syn) - e^(-1/tau_m)) / (1/tau_m - 1/tau_syn) / tau_m, or its limit."""
    slow, apart = np.minimum(1 / tau_m, 1 / tau_syn), np.abs(1 / tau_m - 1 / tau_syn)
    with np.errstate(invalid="ignore"):
        inner = np.where(apart == 0, 1.0, -np.expm1(-apart) / apart)
    return np.asarray(np.exp(-slow) * inner / tau_m)


def acts_at_once(network: SpikingNetwork, j: Projection) -> bool:
    """Does an arrival through this projection move v in its own step, B J != 0? NEST's comes one step later."""
    step = next(s for s in population_steps(network) if s.name == j.target)
    synapse = next(s for s in step.synapses if s.name == j.synapse)
    if synapse.n_states == 0:  # a Delta
        return True
    return bool(np.einsum("ni,ni->n", synapse.table.B, synapse.table.jump).any())


def shortest(network: SpikingNetwork, j: Projection) -> int:
    """The shortest delay, in steps, that a projection from a population may have."""
    return 2 if acts_at_once(network, j) else 1


def decays(network: SpikingNetwork) -> list[tuple[str, str]]:
    """(where, value) of every decay per step that is no e^(-dt/tau): steps too long for Euler."""
    found = []
    for step in population_steps(network):
        if (step.A <= 0).any():
            found.append((f"population {step.name}: tau_mem", f"v decays by {step.A.min():g} a step"))
        for s in step.synapses:
            d = np.diagonal(s.table.D, axis1=1, axis2=2)
            if (d < 0).any():
                found.append((f"population {step.name}: synapse {s.name}", f"decays by {d.min():g} a step"))
    return found


def frozen_above(cell: Cell, v0: Array) -> Bools:
    """(batch, n): units that start refractory above threshold and must not spike until they are free."""
    waits = not cell.step.population.spikes_while_refractory
    return waits & (cell.step.ref0 > 0) & (v0 >= cell.step.threshold)
