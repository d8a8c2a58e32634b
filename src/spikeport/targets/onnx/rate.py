"""The rate network as an ONNX graph, in the same two forms as the spiking one.

    x[k] = (1-a) x[k-1] + a (w_rec r[k-1] + w_in u[k] + b_rec) + noise,   a = dt / tau
    r[k] = phi(x[k]),    o[k] = w_out r[k] + b_out

u: (batch, n_inputs), a step is a sample; x: (batch, N), state; noise: (batch, N), added to x in this step, where the
network has noise; o: (batch, n_outputs); the step form also gives r. See simulate_rate in snn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spikeport.snn.errors import SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.targets.onnx.forms import Form, sequence_form, step_form
from spikeport.targets.onnx.graph import Graph
from spikeport.targets.onnx.model import to_model, version, write_model
from spikeport.targets.onnx.step import ALONE, BATCH, INPUT, NOISE, OUTPUT, TRACE, Builder, Step, Suffixes


def export_rate(
    network: RateNetwork, path: str | Path, *, form: str = "sequence", dtype: str = "float64", overwrite: bool = False
) -> Path:
    """Write `network` as an ONNX file; form: "sequence" or "step"; dtype: float64 or float32."""
    known = {"form": ("sequence", "step"), "dtype": ("float64", "float32")}
    wrong = [f"{name}: '{value}', must be one of {', '.join(known[name])}"
             for name, value in (("form", form), ("dtype", dtype)) if value not in known[name]]  # fmt: skip
    if wrong:
        raise SpikeportError("onnx: cannot do that", wrong, hint="spikeport targets")
    built = rate_form(network, form, dtype)
    return write_model(to_model(built.graph, _describe(network, built, form, dtype)), Path(path), overwrite)


def rate_form(network: RateNetwork, form: str, dtype: str) -> Form:
    """The graph of a rate network."""
    if form == "step":
        return step_form(lambda names: rate_step(network, dtype, names))
    return sequence_form(lambda names: rate_step(network, dtype, names), name="rate_network")


def rate_step(network: RateNetwork, dtype: str, suffixes: Suffixes) -> Step:
    """One Euler step."""
    g = Graph(name="step", dtype=dtype, doc="One step: x and this step's inputs in, outputs and the next x out.")
    b, n, a = Builder(graph=g, suffixes=suffixes), network.n_neurons, network.dt / network.tau
    u = b.take((INPUT, "u"), "u", network.n_inputs, "inputs in this step")
    noise = b.take((NOISE, ""), "noise", n, "noise added to x in this step") if network.noise_sd > 0 else None
    x = b.state("x", np.zeros(n), "x of every unit")
    before = _rates(g, network, x.before.name, "r_before")
    rec = g.new("Gemm", before, g.constant("w_rec", network.w_rec), to="w_rec r", doc="w_rec r[k-1]", transB=1)
    into = g.new("Gemm", u, g.constant("w_in", network.w_in), to="w_in u", doc="w_in u[k]", transB=1)
    drive = g.new("Add", rec, into, to="w_rec r + w_in u", doc="w_rec r + w_in u")
    if network.b_rec.any():
        drive = g.new("Add", drive, g.constant("b_rec", network.b_rec), to="drive", doc="w_rec r + w_in u + b_rec")
    new = b.total("x_new", [(1.0 - a, x.before.name), (a, drive)], "(1-a) x + a drive")
    assert new is not None  # tau is above dt, so neither factor is 0
    if noise is not None:
        new = g.new("Add", new, noise, to="x_noisy", doc="x + noise")
    b.keep(x, new)
    r = _rates(g, network, new, "r_now")
    w, bias = g.constant("w_out", network.w_out), g.constant("b_out", network.b_out)
    o = g.op("Gemm", r, w, bias, to=b.shown_as("o"), doc="o = w_out r + b_out", transB=1)
    b.show((OUTPUT, "o"), o, (BATCH, network.n_outputs), "outputs")
    if suffixes is ALONE:
        b.show_again((TRACE, "r"), "r", r, (BATCH, n), "rates of this step")
    return Step(graph=g, given=b.given, shown=b.shown, states=tuple(b.states))


def _rates(g: Graph, network: RateNetwork, x: str, to: str) -> str:
    """r = phi(x), at most phi_max."""
    r = {"sigmoid": _sigmoid, "softplus": _softplus, "relu": _relu, "retanh": _retanh}[network.phi](g, x, to)
    if network.phi_max is None:
        return r
    return g.new("Min", r, g.constant(f"{to}.phi_max", network.phi_max), to=f"{to}.clipped", doc="at most phi_max")


def _sigmoid(g: Graph, x: str, to: str) -> str:
    return g.new("Sigmoid", x, to=to, doc="r = 1 / (1 + exp(-x))")


def _relu(g: Graph, x: str, to: str) -> str:
    return g.new("Relu", x, to=to, doc="r = max(x, 0)")


def _retanh(g: Graph, x: str, to: str) -> str:
    return g.new("Relu", g.new("Tanh", x, to=f"{to}.tanh", doc="tanh(x)"), to=to, doc="r = max(tanh(x), 0)")


def _softplus(g: Graph, x: str, to: str) -> str:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)): the operator Softplus has no float64 in ONNX Runtime."""
    size = g.new("Neg", g.new("Abs", x, to=f"{to}.abs", doc="|x|"), to=f"{to}.minus_abs", doc="-|x|")
    one = g.constant(f"{to}.one", 1.0)
    small = g.new("Exp", size, to=f"{to}.exp", doc="exp(-|x|)")
    more = g.new("Add", small, one, to=f"{to}.one_more", doc="1 + exp(-|x|)")
    log = g.new("Log", more, to=f"{to}.log", doc="log(1 + exp(-|x|))")
    return g.new("Add", g.new("Relu", x, to=f"{to}.relu", doc="max(x, 0)"), log, to=to, doc="r = log(1 + exp(x))")


def _describe(network: RateNetwork, form: Form, kind: str, dtype: str) -> dict[str, Any]:
    noise = {"sd_per_step": network.noise_sd, "default": "none"}
    return {
        "spikeport": version(), "kind": "rate-network", "form": kind, "dtype": dtype, "dt": repr(network.dt),
        "integrator": "euler", "units": {"time": "s"}, "activation": network.phi,
        "inputs": {"u": {"kind": "held", "sample_dt_s": network.dt, "values": "a step is a sample"}},
        "noise": {form.given[NOISE, ""]: noise} if (NOISE, "") in form.given else {},
        "states": {s.before.name: s.after.name for s in form.states},
        "initial_state": {"x": {"normal": [0.0, network.x0_sd]} if network.x0_sd > 0 else 0.0},
        "provenance": dict(network.provenance),
    }  # fmt: skip
