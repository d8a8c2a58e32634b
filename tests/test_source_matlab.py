"""Published .mat files, v5 and v7.3, become the network that the published code trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from example_files import (
    WRITERS,
    assert_same_numbers,
    nan,
    published,
    write_v5,
    write_v73,
)
from scipy.io import loadmat
from scipy.special import expit
from scipy.stats import kstest

from spikeport.convert.sources import load_source
from spikeport.snn.errors import InvalidNetworkError, UnsupportedError
from spikeport.snn.rate import RateNetwork, simulate_rate

REFERENCE = "kim/go_nogo_n200.mat"


@pytest.fixture(params=list(WRITERS))
def write(request: pytest.FixtureRequest) -> Callable[[Path, dict[str, Any]], Path]:
    return WRITERS[request.param]


def test_a_mat_file_gives_the_published_equations(write: Any, tmp_path: Path) -> None:
    v = published(7, n_inputs=2, n_outputs=3)
    network = load_source(write(tmp_path / "a.mat", v))
    w, m, som_m, gaus = (v[name].astype(np.float64) for name in ("w", "m", "som_m", "taus_gaus"))
    np.testing.assert_array_equal(network.w_rec, np.einsum("ij,jk->ik", w, m) * som_m)
    np.testing.assert_allclose(network.tau, (expit(gaus[:, 0]) * (20 - 4) + 4) * 0.005, rtol=1e-14)
    np.testing.assert_array_equal(network.w_in, v["w_in"])
    np.testing.assert_array_equal(network.w_out, v["w_out"])
    np.testing.assert_array_equal(network.b_out, v["b_out"][:, 0])
    np.testing.assert_array_equal(network.b_rec, np.zeros(7))
    assert (network.dt, network.noise_sd, network.x0_sd) == (0.005, 0.1, 0.01)


def test_v5_and_v73_give_the_same_network(tmp_path: Path) -> None:
    v = published(7, n_inputs=2, n_outputs=3)
    assert_same_numbers(load_source(write_v5(tmp_path / "5.mat", v)), load_source(write_v73(tmp_path / "73.mat", v)))


@pytest.mark.parametrize(("shape_in", "shape_out"), [((6, 1), (1, 6)), ((1, 6), (6, 1))])
def test_one_channel_is_one_channel_as_row_or_as_column(
    write: Any, tmp_path: Path, shape_in: tuple[int, int], shape_out: tuple[int, int]
) -> None:
    v = published()
    changed = {**v, "w_in": v["w_in"].reshape(shape_in), "w_out": v["w_out"].reshape(shape_out)}
    network = load_source(write(tmp_path / "a.mat", changed))
    assert (network.n_inputs, network.n_outputs) == (1, 1)
    np.testing.assert_array_equal(network.w_in[:, 0], v["w_in"].ravel())
    np.testing.assert_array_equal(network.w_out[0], v["w_out"].ravel())


def test_two_channels_the_wrong_way_round_are_refused(write: Any, tmp_path: Path) -> None:
    v = published(6, n_inputs=2, n_outputs=2)
    path = write(tmp_path / "a.mat", {**v, "w_in": v["w_in"].T, "w_out": v["w_out"].T})
    with pytest.raises(InvalidNetworkError) as refusal:
        load_source(path)
    assert refusal.match(r"w_in: shape \(2, 6\), must be \(6, n_inputs\); it looks transposed")
    assert refusal.match(r"w_out: shape \(6, 2\), must be \(n_outputs, 6\); it looks transposed")


def test_v73_without_matlabs_marks_is_refused_because_w_may_stand_either_way(tmp_path: Path) -> None:
    path = write_v73(tmp_path / "a.mat", published(), attributes=False)
    with pytest.raises(InvalidNetworkError, match="w: no MATLAB_class, so MATLAB did not write it"):
        load_source(path)


@pytest.mark.parametrize("taus", [np.array([[10.0]]), np.array([[10.0, 10.0]])])
def test_a_fixed_tau_is_the_same_for_all_units(write: Any, tmp_path: Path, taus: np.ndarray) -> None:
    network = load_source(write(tmp_path / "a.mat", published(taus=taus)))
    np.testing.assert_allclose(network.tau, 0.05, rtol=1e-15)


def test_a_fixed_tau_needs_no_trained_one(write: Any, tmp_path: Path) -> None:
    network = load_source(write(tmp_path / "a.mat", published(taus=np.array([[10.0]]), taus_gaus=None)))
    np.testing.assert_allclose(network.tau, 0.05, rtol=1e-15)


@pytest.mark.parametrize(
    ("activation", "phi", "phi_max"),
    [("sigmoid", "sigmoid", None), ("clipped_relu", "relu", 20.0), ("softplus", "softplus", 20.0)],
)
def test_an_activation_keeps_its_published_clip(
    write: Any, tmp_path: Path, activation: str, phi: str, phi_max: float | None
) -> None:
    network = load_source(write(tmp_path / "a.mat", published(activation=activation)))
    assert (network.phi, network.phi_max) == (phi, phi_max)


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("tanh", "activation 'tanh' is signed: r < 0 is no firing rate"),
        ("swish", "activation 'swish' is unknown"),
        ("relu", "activation 'relu' is not one of the published code's, so its clip is not known"),
    ],
)
def test_an_activation_that_cannot_be_is_refused(write: Any, tmp_path: Path, activation: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"a\.mat: {message}"):
        load_source(write(tmp_path / "a.mat", published(activation=activation)))


def test_som_units_are_the_first_inhibitory_ones_where_no_column_names_them(tmp_path: Path) -> None:
    labels = load_source(write_v5(tmp_path / "a.mat", published(9, som_N=2))).labels
    assert np.flatnonzero(labels["inh"]).tolist() == [2, 5, 8]
    assert np.flatnonzero(labels["som"]).tolist() == [2, 5]
    assert (labels["exc"] == ~labels["inh"]).all()


def test_the_column_of_som_units_wins_over_their_number(tmp_path: Path) -> None:
    inh_som = np.zeros((9, 1), dtype=np.uint8)
    inh_som[8] = 1
    labels = load_source(write_v5(tmp_path / "a.mat", published(9, som_N=2, inh_som=inh_som))).labels
    assert np.flatnonzero(labels["som"]).tolist() == [8]


def test_a_file_that_says_nothing_of_som_units_gets_no_such_label(tmp_path: Path) -> None:
    assert set(load_source(write_v5(tmp_path / "a.mat", published(som_N=None))).labels) == {"exc", "inh"}


def test_kinds_of_units_come_from_the_mask_where_no_column_names_them(tmp_path: Path) -> None:
    with_columns = load_source(write_v5(tmp_path / "a.mat", published())).labels
    without = load_source(write_v5(tmp_path / "b.mat", published(exc=None, inh=None))).labels
    assert {name: mask.tolist() for name, mask in with_columns.items()} == {n: m.tolist() for n, m in without.items()}


def test_kinds_of_units_that_contradict_the_mask_are_refused(tmp_path: Path) -> None:
    path = write_v5(tmp_path / "a.mat", published(inh=np.zeros((6, 1), dtype=np.uint8)))
    with pytest.raises(InvalidNetworkError, match="inh: contradicts the signs of m at 2 units"):
        load_source(path)


def test_a_negative_weight_under_dales_law_is_refused(write: Any, tmp_path: Path) -> None:
    v = published()
    v["w"][2, 1] = -0.5
    with pytest.raises(InvalidNetworkError, match="w: 1 negative entries beside 2 inhibitory units"):
        load_source(write(tmp_path / "a.mat", v))


def test_a_negative_weight_without_dales_law_keeps_its_sign(write: Any, tmp_path: Path) -> None:
    v = published(m=np.eye(6), som_m=np.ones((6, 6)), exc=np.ones((6, 1)), inh=np.zeros((6, 1)), som_N=0)
    v["w"][2, 1] = -0.5
    assert load_source(write(tmp_path / "a.mat", v)).w_rec[2, 1] == -0.5


def test_provenance_names_the_file_its_hash_and_the_published_search(write: Any, tmp_path: Path) -> None:
    results = {
        "scaling_factors": np.array([[20, 25]], np.uint8),
        "all_perfs": np.array([[0.5], [0.75]]),
        "eval_perf_mean": 1.0,
    }
    path = write(tmp_path / "a.mat", published(**results))
    found = load_source(path).provenance
    assert found["file"] == "a.mat"
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["format"] in ("MATLAB v5", "MATLAB v7.3")
    assert found["published"]["scaling_factors"] == [20, 25]
    assert found["published"]["all_perfs"] == [0.5, 0.75]
    assert found["published"]["eval_perf_mean"] == 1.0
    assert found["unread"] == ["losses", "w0"]


def test_a_mat_without_weights_lists_what_it_lacks_and_what_it_has(write: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mat", {"Y": np.eye(3), "fs": np.array([[20.0]])})
    with pytest.raises(InvalidNetworkError) as refusal:
        load_source(path)
    assert refusal.match("missing: w, m, som_m, w_in, w_out, b_out, taus, activation, taus_gaus")
    assert refusal.match("it has: Y, fs")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w": nan((6, 6))}, r"w: 1 values are NaN or infinite, the first at \(0, 1\)"),
        ({"w": np.ones((6, 5))}, r"w: shape \(6, 5\), must be \(6, 6\)"),
        ({"m": np.ones((5, 5))}, r"m: shape \(5, 5\), must be \(6, 6\)"),
        ({"taus": np.array([[0.5]])}, r"tau: 0.0025 s at unit 0 \(taus \[0.5\] in steps\), must be above dt = 0.005 s"),
        ({"taus": np.array([[1.0, 2.0, 3.0]])}, r"taus: 3 values, must be 1 \(fixed\) or 2"),
        ({"taus_gaus": np.zeros((5, 1))}, r"taus_gaus: shape \(5, 1\), must be \(6, 1\)"),
        ({"b_out": np.zeros((2, 1))}, "b_out: 2 values, must be one per output: 1"),
        ({"N": 7}, r"N: \[7\], but w has 6 rows"),
        ({"b_rec": np.zeros((6, 1))}, "b_rec: a parameter that the published models do not have"),
        ({"exc": np.full((6, 1), 2)}, "exc: shape .* of 0 and 1"),
        ({"activation": np.array([[1.0]])}, "activation: type float64 .* must be one text"),
    ],
)
def test_a_mat_that_contradicts_itself_is_refused(
    write: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidNetworkError, match=message):
        load_source(write(tmp_path / "a.mat", published(**changes)))


def test_a_mat_of_one_unit_is_refused(write: Any, tmp_path: Path) -> None:
    one = np.ones((1, 1))
    v = published(w=one, m=one, som_m=one, w_in=one, w_out=one, taus_gaus=one, N=1, exc=None, inh=None, som_N=0)
    with pytest.raises(InvalidNetworkError, match="N = 1: a network of one unit"):
        load_source(write(tmp_path / "a.mat", v))


@pytest.mark.parametrize(
    "value",
    [{"field": 1.0}, np.array([["a"], [np.eye(2)]], dtype=object), np.eye(6) * 1j],
    ids=["struct", "cell", "complex"],
)
def test_a_v5_variable_that_is_no_matrix_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InvalidNetworkError, match=r"w: type .*, must be"):
        load_source(write_v5(tmp_path / "a.mat", published(w=value)))


def test_a_sparse_v5_matrix_is_refused(tmp_path: Path) -> None:
    from scipy.sparse import csc_array

    with pytest.raises(InvalidNetworkError, match=r"w: type .*, must be a full matrix"):
        load_source(write_v5(tmp_path / "a.mat", published(w=csc_array(np.eye(6)))))


def test_a_v73_link_out_of_the_file_is_refused(tmp_path: Path) -> None:
    path = write_v73(tmp_path / "a.mat", published(w=None))
    write_v73(tmp_path / "other.mat", published())
    with h5py.File(path, "r+") as file:
        file["w"] = h5py.ExternalLink("other.mat", "/w")
    with pytest.raises(InvalidNetworkError, match="w: a structure or a link"):
        load_source(path)


# ---- the reference model


@pytest.fixture(scope="module")
def kim(shared_data: Path) -> tuple[RateNetwork, dict[str, Any]]:
    """The network as we load it, and the file's own variables as float64, squeezed of nothing."""
    path = shared_data / REFERENCE
    return load_source(path), loadmat(path)


def test_the_reference_has_141_excitatory_59_inhibitory_and_20_som_units(kim: tuple[RateNetwork, Any]) -> None:
    network = kim[0]
    assert {name: int(mask.sum()) for name, mask in network.labels.items()} == {"exc": 141, "inh": 59, "som": 20}
    assert (network.n_neurons, network.n_inputs, network.n_outputs, network.phi) == (200, 1, 1, "sigmoid")
    assert 0.02 < network.tau.min() < network.tau.max() < 0.1


def test_the_references_weights_obey_dales_law(kim: tuple[RateNetwork, Any]) -> None:
    network = kim[0]
    assert (network.w_rec[:, network.labels["exc"]] >= 0).all()
    assert (network.w_rec[:, network.labels["inh"]] <= 0).all()
    assert (network.w_rec[np.ix_(network.labels["som"], network.labels["inh"])] == 0).all()


def test_the_stored_state_obeys_r_is_phi_of_x(kim: tuple[RateNetwork, dict[str, Any]]) -> None:
    network, file = kim
    x, r = (file[name][:, :, 0].astype(np.float64) for name in ("x", "r"))
    np.testing.assert_allclose(network.activation(x), r, rtol=0, atol=1e-6)


def test_the_stored_outputs_obey_the_read_out_one_step_later(kim: tuple[RateNetwork, dict[str, Any]]) -> None:
    network, file = kim
    r, o = file["r"][:, :, 0].astype(np.float64), file["o"][:, :, 0].astype(np.float64)
    np.testing.assert_allclose(r[1:] @ network.w_out.T + network.b_out, o, rtol=0, atol=1e-6)


def test_the_stored_steps_differ_from_ours_by_the_published_noise_alone(
    kim: tuple[RateNetwork, dict[str, Any]],
) -> None:
    network, file = kim
    x, r = (file[name][:, :, 0].astype(np.float64) for name in ("x", "r"))
    u = file["u"].T.astype(np.float64)
    a = network.dt / network.tau
    drive = r[:-1] @ network.w_rec.T + u[:-1] @ network.w_in.T + network.b_rec
    residual = (x[1:] - ((1 - a) * x[:-1] + a * drive)) / network.noise_sd  # 199 x 200 standard normal values
    n = residual.size
    assert abs(residual.mean()) < 4 / np.sqrt(n)
    assert abs(residual.var() - 1) < 4 * np.sqrt(2 / n)
    assert np.abs(residual.mean(axis=0)).max() < 5 / np.sqrt(199)  # no unit is biased
    assert abs((residual[1:] * residual[:-1]).mean()) < 4 / np.sqrt(n)  # nor does it remember
    assert kstest(residual.ravel(), "norm").pvalue > 1e-3


def test_our_simulation_makes_the_stored_steps_without_their_noise(kim: tuple[RateNetwork, dict[str, Any]]) -> None:
    network, file = kim
    x = file["x"][:, :, 0].astype(np.float64)
    ours = simulate_rate(network, np.zeros((1, 199, 1)), with_noise=False, x0=x[:-1], record_state=True)
    assert ours.x is not None
    assert 0.099 < (x[1:] - ours.x[0]).std() < 0.101  # 199 stored states as 199 trials of one step; u is 0 throughout


def test_the_references_published_search_is_in_its_provenance(kim: tuple[RateNetwork, Any]) -> None:
    search = kim[0].provenance["published"]
    assert dict(zip(search["scaling_factors"], search["all_perfs"], strict=True))[30] == 0.97
    assert search["eval_perf_mean"] == 1.0


def test_the_reference_as_a_v73_file_is_the_same_network(
    kim: tuple[RateNetwork, dict[str, Any]], tmp_path: Path
) -> None:
    network, file = kim
    variables = {name: value for name, value in file.items() if not name.startswith("__")}
    variables = {name: value for name, value in variables.items() if value.ndim == 2}
    path = write_v73(tmp_path / "a.mat", {**variables, "activation": "sigmoid"})
    assert_same_numbers(load_source(path), network)
