"""The two NIR readers of chips, as written integer models: what they take, and what they do with it.

    spinnaker2  py-spinnaker2's s2_nir, create_populations, convert_CubaLIF and create_projection: weights times
                127/max|w| become 8-bit integers, thresholds and offsets are scaled alike and stay floating point.
    lava-dl     nir_to_lava_dl.py of the NIR paper's repository, on slayer's cuba.Neuron and leaky_integrator
                (scale 64, so 4096 to a threshold of 1; decays of 12 bits; products shifted toward 0).

Read from their public sources, not run: neither can be installed beside the tests. How py-spinnaker2 packs a weight is
not in what was read: both ways are modelled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from nir_peers import _flattened
from require import need

Rows = np.ndarray
SCALE, WHOLE = 64 * 64, 1 << 12  # cuba.Neuron: s_scale = scale (1 << 6), p_scale = 1 << 12
LARGEST = 127.0  # s2_nir: "w_scale = 127.0 / max_abs_weight"


def sources_of(name: str, edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(weight node, where its spikes come from) of all ways into a population."""
    return [(w, s) for w, to in edges if to == name for s, into in edges if into == w]


def spinnaker2(path: Path, rows: Rows, dt: float, reset: str, rounding: Callable[[Any], Any] = np.rint) -> Rows:
    """(time, batch, units) of s2_nir with IntegratorMethod.FORWARD, scale_weights=True, conn_delay=0."""
    nir = need("nir", resource="nir")
    graph = nir.read(path)
    order = sorted(name for name, node in graph.nodes.items() if isinstance(node, nir.CubaLIF))
    state = {n: [np.zeros((rows.shape[1], graph.nodes[n].r.size)) for _ in range(3)] for n in order}  # I, v, z
    told = {}
    for name in order:
        node, ways = graph.nodes[name], sources_of(name, graph.edges)
        w_scale = LARGEST / max(np.abs(graph.nodes[w].weight).max() for w, _ in ways)
        r_factor, w_in_factor = dt / node.tau_mem * node.r, dt / node.tau_syn * node.w_in
        scale = w_scale / (r_factor * w_in_factor)
        weights = [(rounding(graph.nodes[w].weight * w_scale), source) for w, source in ways]
        assert all(np.abs(w).max() <= LARGEST and (w == np.rint(w)).all() for w, _ in weights)
        offset = dt / node.tau_mem * node.v_leak * scale
        told[name] = (weights, 1 - dt / node.tau_syn, 1 - dt / node.tau_mem, node.v_threshold * scale, offset)
    last = next(a for a, b in graph.edges if b == "output")
    out = []
    for row in rows:
        before = {name: z for name, (_, _, z) in state.items()}
        for name, (weights, syn_decay, alpha_decay, threshold, offset) in told.items():
            i, v, _ = state[name]
            arrived = sum((row if source == "input" else before[source]) @ w.T for w, source in weights)
            i = syn_decay * i + arrived
            v = alpha_decay * v + i + offset
            z = v > threshold
            state[name] = [i, np.where(z, v - threshold if reset == "subtract" else 0.0, v), z.astype(float)]
        out.append(state[last][2])
    return np.stack(out)


def spinnaker2_refuses(graph: Any) -> list[str]:
    """Why s2_nir.from_nir would stop."""
    nir = need("nir", resource="nir")
    neurons, weights = (nir.LIF, nir.IF, nir.CubaLIF), (nir.Affine, nir.Linear)
    found = [f"{name}: NotImplementedError({type(node).__name__})" for name, node in graph.nodes.items()
             if not isinstance(node, (*neurons, *weights, nir.Input, nir.Output))]  # fmt: skip
    for a, b in graph.edges:
        one, other = graph.nodes[a], graph.nodes[b]
        if isinstance(one, weights) and isinstance(other, weights):
            found.append(f"{a}->{b}: two successive layers with weights")
        if isinstance(one, (*neurons, nir.Input)) and isinstance(other, neurons):
            found.append(f"{a}->{b}: a direct connection to neurons")
        if isinstance(one, weights) and not isinstance(other, neurons):
            found.append(f"{a}->{b}: weights that lead to no neurons")
        if isinstance(one, nir.Affine) and one.bias.any():
            found.append(f"{a}: its bias becomes an offset of the membrane")
    return found


def toward_0(product: Any, bits: int = 12) -> Any:
    """slayer.utils.int_utils.right_shift_to_zero."""
    return np.sign(product) * (np.abs(product) >> bits)


def lava_dl(path: Path, rows: Rows, dt: float, reset: str) -> Rows:
    """(time, batch, units): every block is a cuba.Recurrent behind a Dense."""
    nir = need("nir", resource="nir")
    graph = nir.read(path)
    assert lava_dl_refuses(graph, dt) == []
    assert reset == "to_value"
    nodes, _ = _flattened(graph)
    here, spikes = "input", rows
    following = dict(graph.edges)
    while following[here] != "output":
        weight = nodes[following[here]]
        here = following[following[here]]
        spikes = block(nodes[here], nodes[f"{here}_rec"].weight, spikes @ weight.weight.T + weight.bias, dt)
    return spikes


def block(node: Any, w_rec: Rows, z: Rows, dt: float) -> Rows:
    """custom_recurrent: z (time, batch, n) is what the Dense gives."""
    keep_u, keep_v = (
        WHOLE - int(np.rint(np.float32(WHOLE * dt / np.unique(t)[0]))) for t in (node.tau_syn, node.tau_mem)
    )
    threshold = int(np.unique(node.v_threshold)[0] * 64) / 64 * SCALE + 0.01  # threshold_eps = 0.01 / s_scale
    u = v = np.zeros(z.shape[1:], dtype=np.int64)
    s, out = np.zeros(z.shape[1:]), []
    for arrived in z:
        u = toward_0(u * keep_u) + ((arrived + s @ w_rec.T) * SCALE).astype(np.int64)
        v = toward_0(v * keep_v) + u
        fired = v >= threshold
        v, s = np.where(fired, 0, v), fired.astype(float)
        out.append(s)
    return np.stack(out)


def lava_dl_refuses(graph: Any, dt: float) -> list[str]:
    """Why import_from_nir_to_lava_dl would stop, or build a block that nothing can go through."""
    nir = need("nir", resource="nir")
    found, successors = [], [a for a, _ in graph.edges]
    found += [f"{a}: branching networks are not supported" for a in set(successors) if successors.count(a) > 1]
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Linear):
            found.append(f"{name}: torch.zeros_like of a tuple")
        elif isinstance(node, nir.CubaLIF):
            found.append(f"{name}: a CubaLIF alone becomes a block of 7 units")
        elif isinstance(node, nir.NIRGraph):
            found += [f"{name}: {why}" for why in _subgraph(node, dt)]
        elif not isinstance(node, (nir.Input, nir.Output, nir.Affine)):
            found.append(f"{name}: {type(node).__name__}")
    return found


def _subgraph(graph: Any, dt: float) -> list[str]:
    """_parse_rnn_subgraph and what becomes of it."""
    nir = need("nir", resource="nir")
    lifs = [n for n in graph.nodes.values() if isinstance(n, nir.CubaLIF)]
    loops = [n for n in graph.nodes.values() if isinstance(n, (nir.Affine, nir.Linear))]
    if len(graph.nodes) != 4 or len(lifs) != 1 or len(loops) != 1:
        return ["only 4-node RNN allowed in subgraph"]
    lif, loop, found = lifs[0], loops[0], []
    found += [] if loop.weight.shape == (lif.r.size, lif.r.size) else ["w_rec shape mismatch"]
    found += [] if np.allclose(lif.v_leak, 0) else ["v_leak not supported"]
    found += [] if np.allclose(lif.r, lif.tau_mem / dt) else ["r not supported in CubaLIF"]
    for what, values in (("cur_decay", lif.tau_syn), ("vol_decay", lif.tau_mem), ("v_thr", lif.v_threshold)):
        found += [] if np.unique(values).size == 1 else [f"{what} must be same for all neurons"]
    return found
