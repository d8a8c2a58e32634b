"""The source: a trained rate network, and its forward pass.

    tau dx/dt = -x + w_rec r + w_in u + b_rec,    r = phi(x),    o = w_out r + b_out

by forward Euler at the network's own dt, as it was trained:

    x[k] = (1 - a) x[k-1] + a (w_rec r[k-1] + w_in u[k] + b_rec) + noise,     a = dt / tau
    r[k] = phi(x[k]),    o[k] = w_out r[k] + b_out

The noise of a step has standard deviation `noise_sd`, unscaled by dt, as published.
Source: Kim, Li & Sejnowski, PNAS 2019, Methods, and their code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.snn import noise
from spikeport.snn.blas import single_threaded
from spikeport.snn.errors import InvalidNetworkError, SpikeportError, UnsupportedError

Array = NDArray[np.float64]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda x: 0.5 * (1.0 + np.tanh(0.5 * x)),  # 1 / (1 + exp(-x)) without overflow
    "softplus": lambda x: np.logaddexp(0.0, x),
    "relu": lambda x: np.maximum(x, 0.0),  # clipped linear is relu with phi_max
    "retanh": lambda x: np.maximum(np.tanh(x), 0.0),
}
SIGNED = ("tanh", "linear", "identity", "htanh", "hardtanh", "softsign", "sin")  # r < 0 is no firing rate


@dataclass(frozen=True, kw_only=True)
class RateNetwork:
    """A rate network of N units; arrays are (post, pre), float64.

    tau: (N,) s.  w_rec: (N, N).  w_in: (N, n_inputs).  w_out: (n_outputs, N).  b_rec: (N,).  b_out: (n_outputs,).
    dt: s, of its own Euler step.  phi: a key of ACTIVATIONS.  phi_max: r is clipped to at most this, or None.
    noise_sd: of a step.  x0_sd: standard deviation of x at the start of a trial.
    labels: name -> (N,) bool, kinds of units (exc, inh, som).  provenance: where the numbers come from.
    """

    tau: Array
    w_rec: Array
    w_in: Array
    w_out: Array
    b_rec: Array
    b_out: Array
    dt: float
    phi: str
    phi_max: float | None = None
    noise_sd: float = 0.0
    x0_sd: float = 0.0
    labels: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.phi not in ACTIVATIONS:
            raise unsupported_activation(self.phi)
        problems = _problems(self)
        if problems:
            raise InvalidNetworkError(
                "rate network: its arrays contradict themselves", problems, hint="spikeport inspect FILE"
            )

    @property
    def n_neurons(self) -> int:
        return int(self.tau.shape[0])

    @property
    def n_inputs(self) -> int:
        return int(self.w_in.shape[1])

    @property
    def n_outputs(self) -> int:
        return int(self.w_out.shape[0])

    def activation(self, x: Array) -> Array:
        """r = phi(x), clipped to phi_max where there is one."""
        r = ACTIVATIONS[self.phi](x)
        return r if self.phi_max is None else np.minimum(r, self.phi_max)


@dataclass(frozen=True, kw_only=True)
class RateRecording:
    """What a rate network did: outputs (time, batch, n_outputs); x and r (time, batch, N) where asked for. dt in s."""

    dt: float
    outputs: Array
    x: Array | None = None
    r: Array | None = None


def simulate_rate(
    network: RateNetwork,
    inputs: Array,
    *,
    seed: int = 0,
    first_trial: int = 0,
    with_noise: bool = True,
    x0: Array | None = None,
    record_state: bool = False,
) -> RateRecording:
    """Run `network` on inputs (time, batch, n_inputs), one Euler step per sample; the equations of the module.

    Trial b draws its noise and its x0 by the key (seed, first_trial + b), so batches can be cut anywhere.
    x0: (batch, N), or None for the network's own distribution (0 where noise is off).
    """
    inputs = np.asarray(inputs, dtype=np.float64)
    if inputs.ndim != 3 or inputs.shape[2] != network.n_inputs:
        raise SpikeportError(
            f"rate network: inputs of shape {inputs.shape}, must be (time, batch, {network.n_inputs})",
            hint="spikeport inspect FILE   shows the channels a network takes",
        )
    n_steps, n_batch, _ = inputs.shape
    n = network.n_neurons
    a = network.dt / network.tau
    units = np.arange(n, dtype=np.uint64)
    trials = first_trial + np.arange(n_batch)
    with_noise = with_noise and network.noise_sd > 0
    scale = network.noise_sd / noise.NORMAL_SD
    if x0 is None:
        x: Array = np.zeros((n_batch, n))
        if network.x0_sd > 0 and with_noise:
            draw = noise.normal_integers(seed, "x0", 0, units, trials[:, None], 0)
            x = np.asarray(draw * (network.x0_sd / noise.NORMAL_SD), dtype=np.float64)
    else:
        x = np.array(x0, dtype=np.float64)
    r = network.activation(x)
    outputs = np.empty((n_steps, n_batch, network.n_outputs))
    xs = np.empty((n_steps, n_batch, n)) if record_state else None
    rs = np.empty((n_steps, n_batch, n)) if record_state else None
    block = np.empty((_NOISE_STEPS, n_batch, n)) if with_noise else None
    with single_threaded():
        for k in range(n_steps):
            drive = r @ network.w_rec.T + inputs[k] @ network.w_in.T + network.b_rec
            x = (1.0 - a) * x + a * drive
            if block is not None:
                if k % _NOISE_STEPS == 0:
                    _fill(block, units, trials, k, seed)
                x += block[k % _NOISE_STEPS] * scale
            r = network.activation(x)
            outputs[k] = r @ network.w_out.T + network.b_out
            if xs is not None and rs is not None:
                xs[k], rs[k] = x, r
    return RateRecording(dt=network.dt, outputs=outputs, x=xs, r=rs)


_NOISE_STEPS = 64  # steps of noise drawn at once; a multiple of noise.WORDS


def _fill(block: Array, units: NDArray[np.uint64], trials: NDArray[np.int64], step: int, seed: int) -> None:
    scratch = np.empty((noise.WORDS, units.size), dtype=np.uint32)
    one = np.empty((_NOISE_STEPS, units.size))
    stream = noise.STREAMS["rate"] << 16
    for b, trial in enumerate(trials):
        noise.fill_normal(one, _NOISE_STEPS, scratch, units, 0, units.size, stream, int(trial), step, np.uint64(seed))
        block[:, b] = one


def unsupported_activation(name: str) -> UnsupportedError:
    """The refusal of an activation, with its reason: unknown, or signed."""
    known = ", ".join(ACTIVATIONS)
    if name in ACTIVATIONS:
        return UnsupportedError(f"activation '{name}' can be converted, but not trained here")
    if name in SIGNED:
        exact = "a tanh network in an .npz or .safetensors file is read as the sigmoid network that it equals"
        return UnsupportedError(
            f"activation '{name}' is signed: r < 0 is no firing rate, so no spiking unit can follow it",
            [f"supported: {known}, each with an optional upper clip", *([exact] if name == "tanh" else [])],
            hint="retrain with one of these (spikeport train --phi sigmoid)",
        )
    return UnsupportedError(
        f"activation '{name}' is unknown", [f"supported: {known}, each with an optional upper clip"]
    )


def _problems(network: RateNetwork) -> list[str]:
    """Every contradiction in a network's arrays, a line each."""
    n = network.tau.shape[0] if network.tau.ndim == 1 else -1
    shapes = {
        "tau": ("(N,)", network.tau.ndim == 1),
        "w_rec": (f"({n}, {n})", network.w_rec.shape == (n, n)),
        "w_in": (
            f"({n}, n_inputs)",
            network.w_in.ndim == 2 and network.w_in.shape[0] == n and network.w_in.shape[1] > 0,
        ),
        "w_out": (
            f"(n_outputs, {n})",
            network.w_out.ndim == 2 and network.w_out.shape[1] == n and network.w_out.shape[0] > 0,
        ),
        "b_rec": (f"({n},)", network.b_rec.shape == (n,)),
        "b_out": (f"({network.w_out.shape[0]},)", network.b_out.shape == network.w_out.shape[:1]),
    }
    problems = [
        f"{name}: shape {getattr(network, name).shape}, must be {want}"
        for name, (want, good) in shapes.items()
        if not good
    ]
    for name in shapes:
        bad = ~np.isfinite(getattr(network, name))
        if bad.any():
            problems.append(
                f"{name}: {int(bad.sum())} values are NaN or infinite, "
                f"the first at {tuple(map(int, np.argwhere(bad)[0]))}"
            )
    for label, mask in network.labels.items():
        if mask.shape != (n,):
            problems.append(f"label {label}: shape {mask.shape}, must be ({n},)")
    if n == 1:
        problems.append("N = 1: a network of one unit, must be at least 2")
    if n == 0:
        problems.append("N = 0: a network without units")
    if not (np.isfinite(network.dt) and network.dt > 0):
        problems.append(f"dt: {network.dt} s, must be positive")
    elif n > 0 and np.isfinite(network.tau).all() and network.tau.min() <= network.dt:
        unit = int(network.tau.argmin())
        problems.append(
            f"tau: {network.tau.min():g} s at unit {unit}, must be above dt = {network.dt:g} s "
            "(Euler is unstable below, and tau is in seconds)"
        )
    for name in ("noise_sd", "x0_sd"):
        if not (np.isfinite(getattr(network, name)) and getattr(network, name) >= 0):
            problems.append(f"{name}: {getattr(network, name)}, must be 0 or more")
    if network.phi_max is not None and not network.phi_max > 0:
        problems.append(f"phi_max: {network.phi_max}, must be positive")
    return problems
