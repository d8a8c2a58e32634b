"""How each peer's own NIR reader is called, as its documentation says: a file and rows of input in, spikes out.

Each takes (path, rows (time, batch, columns), dt, reset) and gives (time, batch, units); one step a call with the state
passed back, where the reader has a step. `documented` is a model, for readers that cannot be installed.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from require import need

from spikeport.targets.brian2 import session

Rows = np.ndarray
Peer = Callable[[Path, Rows, float, str], Rows]


def _stepped(net: Any, rows: Rows) -> Rows:
    torch = need("torch", resource="readers")
    state, out = None, []
    with torch.no_grad():
        for row in torch.as_tensor(rows, dtype=torch.float32):
            z, state = net(row) if state is None else net(row, state)
            out.append(np.asarray(z))
    return np.stack(out)


def _quiet(call: Callable[[], Any]) -> Any:
    """`call`, without the warnings of packages about each other, which are not ours to mend."""
    with warnings.catch_warnings():
        for message in (
            "nirtorch.load is being deprecated",  # norse, sinabs and rockpool call it
            "The given NumPy array is not writable",  # torch.from_numpy of what nir read
            ".*torch.jit.* is deprecated",  # norse and sinabs compile with it
            ".*requires setting environment variable",  # jax looks for accelerators
            "__array__ implementation doesn't accept a copy keyword",  # rockpool with NumPy 2
            "Failed to find samna",  # rockpool looks for its hardware
        ):
            warnings.filterwarnings("ignore", message=message)
        return call()


def snntorch(path: Path, rows: Rows, dt: float, reset: str) -> Rows:
    nir, utils = need("nir", resource="nir"), need("snntorch.utils", resource="readers")
    reader = need("snntorch.import_nir", resource="readers")
    net = reader.import_from_nir(nir.read(path))
    utils.reset(net)
    return _stepped(net, rows)


def norse(path: Path, rows: Rows, dt: float, reset: str) -> Rows:
    nir = need("nir", resource="nir")
    package = _quiet(lambda: need("norse.torch", resource="readers"))
    resets = need("norse.torch.functional.reset", resource="readers")
    method = {"to_value": resets.reset_value, "subtract": resets.reset_subtract}[reset]
    return _stepped(_quiet(lambda: package.from_nir(nir.read(path), dt=dt, reset_method=method)), rows)


def spikingjelly(path: Path, rows: Rows, dt: float, reset: str) -> Rows:
    nir = need("nir", resource="nir")
    reader = _quiet(lambda: need("spikingjelly.activation_based.nir_exchange", resource="readers"))
    return _stepped(reader.import_from_nir(nir.read(path), dt=dt), rows)


def sinabs(path: Path, rows: Rows, dt: float, reset: str) -> Rows:
    nir = need("nir", resource="nir")
    reader = _quiet(lambda: need("sinabs.nir", resource="readers"))
    return _stepped(_quiet(lambda: reader.from_nir(nir.read(path), batch_size=rows.shape[1])), rows)


def rockpool(path: Path, rows: Rows, dt: float, reset: str) -> Rows:
    net = read_rockpool(path)
    torch = need("torch", resource="readers")
    with torch.no_grad():
        z, _ = net(torch.as_tensor(rows, dtype=torch.float32).swapaxes(0, 1))
    return np.asarray(z.swapaxes(0, 1))


def read_rockpool(path: Path) -> Any:
    """rockpool looks whether Brian2 can be imported, and hides what goes wrong: half an import would stay behind."""
    if importlib.util.find_spec("brian2") is not None:
        session.load()
    nir = need("nir", resource="nir")
    reader = _quiet(lambda: need("rockpool.nn.modules.torch.nir", resource="readers"))
    return _quiet(lambda: reader.from_nir(nir.read(path)))


def spyx(path: Path, rows: Rows, dt: float, reset: str) -> Rows:
    """One call more than steps: row k + 1 is step k."""
    return spyx_as_it_is(path, np.concatenate([rows, np.zeros_like(rows[:1])]), dt)[1:]


def spyx_as_it_is(path: Path, rows: Rows, dt: float) -> Rows:
    nir = need("nir", resource="nir")
    reader = _quiet(lambda: need("spyx.nir", resource="readers"))
    jnp = need("jax.numpy", resource="readers")
    _, z = _quiet(lambda: reader.from_nir(nir.read(path), jnp.asarray(rows, dtype=jnp.float32), dt=dt))
    return np.asarray(z)


def documented(*, at_or_above: bool, between: int, leak: bool) -> Peer:
    """A reader of CubaLIF and weights by forward Euler, in float64, from what its documents say.

    i = (1 - dt/tau_syn) i + (dt/tau_syn) w_in u,  v = (1 - dt/tau_mem) v + (dt/tau_mem) (r i + v_leak where `leak`)
    """

    def run(path: Path, rows: Rows, dt: float, reset: str) -> Rows:
        nir = need("nir", resource="nir")
        nodes, edges = _flattened(nir.read(path))
        order = sorted(name for name, node in nodes.items() if isinstance(node, nir.CubaLIF))
        n_batch = rows.shape[1]
        state = {name: [np.zeros((n_batch, nodes[name].r.size)) for _ in range(3)] for name in order}  # i, v, z
        last = next(a for a, b in edges if b == "output")
        out = []
        for row in rows:
            before = {name: z for name, (_, _, z) in state.items()}
            for name in order:
                node, u = nodes[name], np.zeros_like(state[name][0])
                for weight in (a for a, b in edges if b == name):
                    source = next(a for a, b in edges if b == weight)
                    late = source == name or between == 1
                    z = row if source == "input" else before[source] if late else state[source][2]
                    u = u + z @ nodes[weight].weight.T + getattr(nodes[weight], "bias", 0.0)
                i, v, _ = state[name]
                a, b = dt / node.tau_syn, dt / node.tau_mem
                i = (1 - a) * i + a * node.w_in * u
                assert leak or not node.v_leak.any()
                v = (1 - b) * v + b * (node.r * i + node.v_leak)
                z = v >= node.v_threshold if at_or_above else v > node.v_threshold
                after = v - node.v_threshold if reset == "subtract" else np.zeros_like(v)
                state[name] = [i, np.where(z, after, v), z.astype(float)]
            out.append(state[last][2])
        return np.stack(out)

    return run


def _flattened(graph: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes and edges without graphs in the graph: a loop's `lif` takes the name of its graph."""
    nir = need("nir", resource="nir")
    nodes, edges = dict(graph.nodes), list(graph.edges)
    for name, inner in graph.nodes.items():
        if isinstance(inner, nir.NIRGraph):
            nodes[name], nodes[f"{name}_rec"] = inner.nodes["lif"], inner.nodes["w_rec"]
            edges += [(name, f"{name}_rec"), (f"{name}_rec", name)]
    return nodes, edges


PEERS: dict[str, Peer] = {
    "any": documented(at_or_above=False, between=0, leak=False),  # the reference of the format
    "snntorch": snntorch,
    "norse": norse,
    "rockpool": rockpool,
    "spyx": spyx,
    "spikingjelly": spikingjelly,
    "sinabs": sinabs,
    "lava-dl": documented(at_or_above=False, between=0, leak=False),
    "spinnaker2": documented(at_or_above=False, between=1, leak=True),
}
