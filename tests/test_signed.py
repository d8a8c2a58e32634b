"""A tanh network is a sigmoid network in other units, to rounding; what has no such form is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_files import plain, write_npz
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeport.convert.signed import REWRITTEN, from_tanh
from spikeport.convert.sources import load_source
from spikeport.snn import noise
from spikeport.snn.errors import InvalidNetworkError, UnsupportedError
from spikeport.snn.rate import SIGNED, RateNetwork, simulate_rate


def arrays(n: int, seed: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "tau": rng.uniform(0.02, 0.1, n), "w_rec": rng.normal(0, 1 / np.sqrt(n), (n, n)),
        "w_in": rng.normal(size=(n, 2)), "w_out": rng.normal(size=(3, n)), "b_rec": rng.normal(size=n),
        "b_out": rng.normal(size=3), "dt": 0.005, **changes,
    }  # fmt: skip


def simulate_tanh(a: dict[str, Any], u: np.ndarray, seed: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """The tanh network by its own equations, with the noise that the key (seed, trial) names: outputs and x."""
    n, clip = a["tau"].size, a.get("phi_max") or np.inf
    units, trials, step = np.arange(n), first + np.arange(u.shape[1])[:, None], a["dt"] / a["tau"]
    x = noise.normal_integers(seed, "x0", 0, units, trials, 0) * a.get("x0_sd", 0.0) / noise.NORMAL_SD
    outputs, xs = [], []
    for k in range(u.shape[0]):
        r = np.minimum(np.tanh(x), clip)
        x = x + step * (-x + r @ a["w_rec"].T + u[k] @ a["w_in"].T + a["b_rec"])
        x = x + noise.normal_integers(seed, "rate", 0, units, trials, k) * a.get("noise_sd", 0.0) / noise.NORMAL_SD
        outputs.append(np.minimum(np.tanh(x), clip) @ a["w_out"].T + a["b_out"])
        xs.append(x)
    return np.array(outputs), np.array(xs)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 12),
    seed=st.integers(0, 2**31),
    noise_sd=st.sampled_from([0.0, 0.1]),
    phi_max=st.sampled_from([None, 0.4, 2.0]),
)
def test_the_sigmoid_form_has_the_trajectory_of_the_tanh_network(
    n: int, seed: int, noise_sd: float, phi_max: float | None
) -> None:
    x0_sd = 0.3 if noise_sd else 0.0  # simulate_rate draws x0 where there is noise
    a = arrays(n, seed, noise_sd=noise_sd, x0_sd=x0_sd, phi_max=phi_max)
    u = np.random.default_rng(seed).normal(size=(60, 3, 2))
    outputs, x = simulate_tanh(a, u, seed, 5)
    found = simulate_rate(from_tanh(**a), u, seed=seed, first_trial=5, record_state=True)
    np.testing.assert_allclose(found.outputs, outputs, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.x, 2 * x, rtol=1e-9, atol=1e-9)


def test_a_tanh_file_is_read_as_the_sigmoid_network_that_it_equals(tmp_path: Path) -> None:
    a = plain(phi="tanh", noise_sd=0.1, x0_sd=0.01)
    network = load_source(write_npz(tmp_path / "m.npz", a))
    assert (network.phi, network.noise_sd, network.x0_sd) == ("sigmoid", 0.2, 0.02)
    assert network.provenance["rewritten"] == REWRITTEN
    full = {"b_rec": np.zeros(network.n_neurons), "b_out": np.zeros(network.n_outputs), **a}
    u = np.random.default_rng(1).normal(size=(40, 2, network.n_inputs))
    del full["phi"]
    np.testing.assert_allclose(simulate_rate(network, u, seed=3).outputs, simulate_tanh(full, u, 3, 0)[0], atol=1e-9)


def test_a_tanh_file_with_wrong_shapes_is_refused_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(InvalidNetworkError, match=r"b_rec: shape \(5,\)"):
        load_source(write_npz(tmp_path / "m.npz", plain(phi="tanh", b_rec=np.zeros(5))))


@pytest.mark.parametrize("phi", sorted(set(SIGNED) - {"tanh"}))
def test_a_signed_activation_without_a_sigmoid_form_is_refused(phi: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"activation '{phi}' is signed: r < 0 is no firing rate"):
        load_source(write_npz(tmp_path / "m.npz", plain(phi=phi)))


def test_a_tanh_network_held_as_it_is_is_refused_and_told_the_way() -> None:
    with pytest.raises(UnsupportedError, match="is read as the sigmoid network that it equals"):
        RateNetwork(**arrays(4, 0), phi="tanh")


def test_retanh_and_clipped_linear_are_held_as_they_are(tmp_path: Path) -> None:
    x = np.array([-2.0, 0.0, 0.5, 3.0])
    retanh = load_source(write_npz(tmp_path / "a.npz", plain(phi="retanh")))
    np.testing.assert_array_equal(retanh.activation(x), [0.0, 0.0, np.tanh(0.5), np.tanh(3.0)])
    linear = load_source(write_npz(tmp_path / "b.npz", plain(phi="relu", phi_max=1.0)))
    np.testing.assert_array_equal(linear.activation(x), [0.0, 0.0, 0.5, 1.0])
