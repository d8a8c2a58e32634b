"""Integrators: from time constants and dt to the coefficients of a step.

A step of the canonical update (reference.py) is linear between spikes, so it is a handful of tables per synapse:

    x = D x + jump J + held H,        v = A v + B x + (1 - A) (...)

    kim2019   D: exp(-dt/tau) on the diagonal, dt beside it; A = 1 - dt/tau_mem; B = [dt/tau_mem, 0]
              what the published code does: exponential in the synapse, Euler in coupling and membrane
    euler     D = 1 + dt M, A and B as above
    exact     the blocks of expm(dt M') with M' the system of (x, v); both entries of B nonzero

held: what a constant input of weight 1 adds per step: jump dt (a spike train of that mass) under kim2019 and euler;
under exact (1 - D) x_inf (1 - A) / (B x_inf), so that v settles exactly where the continuous system does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spikeport.snn.errors import InvalidNetworkError
from spikeport.snn.neurons import Array
from spikeport.snn.synapses import Synapse

FLUSH_EVERY = 16  # steps
# At the end of every 16th step, a state this small becomes 0. Else what decays for long turns into a subnormal number,
# on which processors compute many times slower: after 90 time constants in float32. A threshold is tens of millivolts,
# and 1e-30 is far below the last bit of either precision there.
TINY = 1e-30  # mV (or mV/s)


@dataclass(frozen=True, kw_only=True)
class SynapseTable:
    """Coefficients of one synapse for n units and d states: D (n, d, d), B, jump and held (n, d)."""

    D: Array
    B: Array
    jump: Array
    held: Array


@dataclass(frozen=True, kw_only=True)
class Integrator:
    """A way to step: its tables, and its declared order of convergence on a subthreshold trajectory (None: exact)."""

    name: str
    order: int | None
    decay: Callable[[Array, float], Array]  # (tau_mem, dt) -> A
    synapse: Callable[[Array, Array, Array, float], SynapseTable]  # (M, jump, tau_mem, dt)


def _kim2019(m: Array, jump: Array, tau_mem: Array, dt: float) -> SynapseTable:
    rows = np.arange(m.shape[1])
    d = m * dt
    d[:, rows, rows] = np.exp(m[:, rows, rows] * dt)
    return SynapseTable(D=d, B=_euler_coupling(m, tau_mem, dt), jump=jump, held=jump * dt)


def _euler(m: Array, jump: Array, tau_mem: Array, dt: float) -> SynapseTable:
    return SynapseTable(D=np.eye(m.shape[1]) + dt * m, B=_euler_coupling(m, tau_mem, dt), jump=jump, held=jump * dt)


def _exact(m: Array, jump: Array, tau_mem: Array, dt: float) -> SynapseTable:
    states = jump.shape[1]
    block = _flow(m.tobytes(), tau_mem.tobytes(), m.shape, dt)
    d, b = block[:, :states, :states], block[:, states, :states]
    settled = np.linalg.solve(-m, jump[:, :, None])
    gain = (1 - block[:, states, states]) / np.einsum("ni,ni->n", b, settled[:, :, 0])
    held = ((np.eye(states) - d) @ settled)[:, :, 0] * gain[:, None]
    return SynapseTable(D=d, B=b, jump=jump, held=held)


@functools.lru_cache(
    maxsize=64
)  # candidates of a search share their time constants, and expm takes a millisecond a unit
def _flow(m: bytes, tau_mem: bytes, shape: tuple[int, int, int], dt: float) -> Array:
    """expm(dt M') of the system of (x, v), v' = (-v + x[0]) / tau_mem: (n, d + 1, d + 1), read-only."""
    from scipy.linalg import expm  # here, because importing it takes longer than all else in this package

    n, states, _ = shape
    tau = np.frombuffer(tau_mem)
    system = np.zeros((n, states + 1, states + 1))
    system[:, :states, :states] = np.frombuffer(m).reshape(shape)
    system[:, states, 0] = 1 / tau
    system[:, states, states] = -1 / tau
    block = np.asarray(
        expm(system * dt), dtype=np.float64
    )  # no special case where two tau are equal: expm takes the limit
    block.flags.writeable = False
    return block


def _euler_coupling(m: Array, tau_mem: Array, dt: float) -> Array:
    b = np.zeros(m.shape[:2])
    b[:, 0] = dt / tau_mem
    return b


INTEGRATORS = {
    i.name: i
    for i in (
        Integrator(name="kim2019", order=1, decay=lambda tau, dt: 1 - dt / tau, synapse=_kim2019),
        Integrator(name="euler", order=1, decay=lambda tau, dt: 1 - dt / tau, synapse=_euler),
        Integrator(name="exact", order=None, decay=lambda tau, dt: np.exp(-dt / tau), synapse=_exact),
    )
}


def get_integrator(name: str) -> Integrator:
    """The integrator of that name; an unknown one is refused with the list."""
    if name not in INTEGRATORS:
        raise InvalidNetworkError(f"integrator '{name}' is unknown", [f"known: {', '.join(INTEGRATORS)}"])
    return INTEGRATORS[name]


def synapse_table(integrator: Integrator, synapse: Synapse, tau_mem: Array, dt: float) -> SynapseTable:
    """The table of `synapse` on units of `tau_mem` (n,) s. A Delta has no states: its jump is 1 / tau_mem, of v."""
    n = tau_mem.shape[0]
    if synapse.n_states == 0:
        empty = np.zeros((n, 0))
        return SynapseTable(D=np.zeros((n, 0, 0)), B=empty, jump=(1 / tau_mem)[:, None], held=empty)
    m, jump = synapse.system(n)
    return integrator.synapse(m, jump, tau_mem, dt)
