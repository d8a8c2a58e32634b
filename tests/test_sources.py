"""Sources: plain arrays become the network that they name; what is no source is refused, unread."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_files import (
    ARRAYS,
    PLAIN,
    assert_same_numbers,
    nan,
    plain,
    published,
    write_npz,
    write_safetensors,
    write_v5,
    write_v73,
)

from spikeport.convert.sources import LOADERS, load_source
from spikeport.snn.errors import InvalidNetworkError, SpikeportError, UnsupportedError
from spikeport.snn.files import save_rate_network
from spikeport.snn.rate import RateNetwork


@pytest.fixture(params=list(PLAIN))
def write_plain(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    return lambda **changes: PLAIN[request.param](tmp_path / f"a.{request.param}", plain(**changes))


def test_plain_arrays_give_the_network_they_name(write_plain: Callable[..., Path]) -> None:
    network, arrays = load_source(write_plain()), plain()
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(network, name), arrays[name], err_msg=name)
    assert (network.dt, network.phi, network.phi_max) == (0.005, "relu", 20.0)
    assert (network.noise_sd, network.x0_sd) == (0.1, 0.01)
    assert network.labels["exc"].tolist() == arrays["label_exc"].tolist()


def test_what_plain_arrays_may_leave_out_has_an_exact_meaning(write_plain: Callable[..., Path]) -> None:
    optional = ("b_rec", "b_out", "phi_max", "noise_sd", "x0_sd", "label_exc")
    network = load_source(write_plain(**dict.fromkeys(optional)))
    assert not network.b_rec.any()
    assert not network.b_out.any()
    assert (network.phi_max, network.noise_sd, network.x0_sd, network.labels) == (None, 0.0, 0.0, {})


def test_one_channel_may_be_a_vector_and_one_tau_a_number(write_plain: Callable[..., Path]) -> None:
    full = plain()
    path = write_plain(w_in=full["w_in"][:, 0], w_out=full["w_out"][0], b_out=np.array(0.5), tau=np.array(0.05))
    network = load_source(path)
    np.testing.assert_array_equal(network.w_in[:, 0], full["w_in"][:, 0])
    np.testing.assert_array_equal(network.w_out[0], full["w_out"][0])
    assert (network.n_inputs, network.n_outputs, network.b_out.tolist()) == (1, 1, [0.5])
    assert network.tau.tolist() == [0.05] * 6


def test_single_precision_values_are_kept_as_they_are(write_plain: Callable[..., Path]) -> None:
    w_rec = plain()["w_rec"].astype(np.float32)
    assert (load_source(write_plain(w_rec=w_rec)).w_rec == w_rec.astype(np.float64)).all()


def test_every_missing_and_every_unknown_name_is_listed_at_once(write_plain: Callable[..., Path]) -> None:
    with pytest.raises(InvalidNetworkError) as refusal:
        load_source(write_plain(w_rec=None, tau=None, b_recc=np.zeros(6)))
    assert refusal.match("missing: w_rec, tau")
    assert refusal.match("it has: b_out, b_rec, b_recc")
    assert refusal.match("b_recc: an unknown name")
    assert refusal.match("known names: w_rec, w_in")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w_rec": nan((6, 6))}, r"w_rec: 1 values are NaN or infinite, the first at \(0, 1\)"),
        ({"w_rec": np.ones((6, 5))}, r"w_rec: shape \(6, 5\), must be \(6, 6\)"),
        ({"w_in": np.ones((2, 6))}, r"w_in: shape \(2, 6\), must be \(6, n_inputs\)"),
        ({"w_rec": np.ones((6, 6), np.complex64)}, "w_rec: type complex64, must be real numbers"),
        ({"tau": np.full(6, 0.005)}, "tau: 0.005 s at unit 0, must be above dt"),
        ({"tau": np.full((6, 1), 0.05)}, r"tau: shape \(6, 1\), must be \(N,\) or one number"),
        ({"dt": np.array([0.005, 0.005])}, "dt: type float64 and shape .* must be one number"),
        ({"dt": np.array(-1.0)}, "dt: -1.0 s, must be positive"),
        ({"label_exc": np.arange(6)}, "label_exc: values other than 0 and 1"),
        ({"noise_sd": np.array(np.nan)}, "noise_sd: nan, must be 0 or more"),
    ],
)
def test_plain_arrays_that_make_no_network_are_refused(
    write_plain: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidNetworkError, match=message):
        load_source(write_plain(**changes))


def test_plain_arrays_with_a_signed_activation_are_refused(write_plain: Callable[..., Path]) -> None:
    with pytest.raises(UnsupportedError, match="activation 'softsign' is signed"):
        load_source(write_plain(phi="softsign"))


# ---- our own files


def test_our_own_file_gives_the_network_and_keeps_its_history(tmp_path: Path) -> None:
    network = load_source(write_npz(tmp_path / "a.npz", plain()))
    save_rate_network(network, tmp_path / "a.h5")
    again = load_source(tmp_path / "a.h5")
    assert_same_numbers(again, network)
    assert again.provenance["origin"] == network.provenance
    assert again.provenance["sha256"] == hashlib.sha256((tmp_path / "a.h5").read_bytes()).hexdigest()


# ---- refusals that every format shares


class Bomb:
    """Creates a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.pth", "model.npz", "model.mat", "model.h5", "model"])
def test_a_pickle_is_never_loaded_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(SpikeportError, match=r"never loaded(.|\n)*np\.savez"):
        load_source(path)
    assert not (tmp_path / "exploded").exists()


def test_a_pytorch_archive_is_never_loaded_whatever_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.npz", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(SpikeportError, match=r"PyTorch archive(.|\n)*safetensors\.torch\.save_file"):
        load_source(tmp_path / "model.npz")
    assert not (tmp_path / "exploded").exists()


def test_pickled_objects_in_a_npz_are_refused_unread(tmp_path: Path) -> None:
    payload = np.array([Bomb(tmp_path / "exploded")], dtype=object)
    path = write_npz(tmp_path / "a.npz", plain(w_rec=payload))
    with pytest.raises(InvalidNetworkError, match=r"refused unread\n  w_rec\.npy: pickled Python objects"):
        load_source(path)
    assert not (tmp_path / "exploded").exists()
    np.load(path, allow_pickle=True)["w_rec"]  # the payload is live: unpickled, it acts
    assert (tmp_path / "exploded").exists()


def test_a_npz_that_declares_terabytes_is_refused_before_allocation(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", plain(w_rec=None))
    header = np.lib.format.magic(1, 0) + b"\x76\x00"
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1250000), }"
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("w_rec.npy", header + text.ljust(117) + b"\n")
    with pytest.raises(
        InvalidNetworkError, match=r"w_rec\.npy: shape .* needs 10000000000000 bytes, the file holds 128"
    ):
        load_source(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.mat", b"not a MATLAB file at all\n", "not a MATLAB file .*: its content is plain text"),
        ("model.mat", b"", "is empty"),
        ("model.mat", bytes(500), "of an unknown format"),
        ("model.npz", b"PK\x03\x04" + bytes(50), "damaged or truncated"),
        ("model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{not json", "damaged or truncated"),
        ("model.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), "damaged or truncated"),
        ("model.mat", b"\x89HDF\r\n\x1a\n" + bytes(50), "damaged or truncated"),
        ("model.csv", b"1,2,3\n", r"suffix '\.csv' names no source format(.|\n)*\.npz"),
        ("model", b"1,2,3\n", "no suffix names no source format"),
        ("model.npy", b"\x93NUMPY\x01\x00", "a single NumPy array"),
    ],
)
def test_what_is_no_source_is_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpikeportError, match=message):
        load_source(tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match=r"none\.mat: no such file"):
        load_source(tmp_path / "none.mat")
    with pytest.raises(SpikeportError, match="is a folder"):
        load_source(tmp_path)


def test_a_suffix_that_belies_the_content_names_the_content(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", plain()).rename(tmp_path / "a.mat")
    with pytest.raises(InvalidNetworkError, match=r"its content is NumPy \.npz(.|\n)*cp .*a\.mat .*a\.npz"):
        load_source(tmp_path / "a.mat")


# ---- damage


def sources(folder: Path) -> dict[str, Path]:
    """One small file of each format."""
    network = load_source(write_npz(folder / "a.npz", plain()))
    save_rate_network(network, folder / "a.h5")
    return {
        "npz": folder / "a.npz",
        "safetensors": write_safetensors(folder / "a.safetensors", plain()),
        "v5": write_v5(folder / "v5.mat", published()),
        "v7.3": write_v73(folder / "v73.mat", published()),
        "h5": folder / "a.h5",
    }


def outcome(path: Path) -> str:
    """What became of a damaged file; errors that are not ours fail the test."""
    try:
        return "a network" if isinstance(load_source(path), RateNetwork) else "something else"
    except SpikeportError as error:
        return "refused" if error.what.startswith(f"{path}: ") else f"refused without its name: {error}"


@pytest.mark.filterwarnings("default")  # what a parser warns of on its way to a refusal is no matter here
@pytest.mark.parametrize("form", ["npz", "safetensors", "v5", "v7.3", "h5"])
def test_a_truncated_source_is_always_refused(tmp_path: Path, form: str) -> None:
    path = sources(tmp_path)[form]
    whole = path.read_bytes()
    for length in [1, 8, 128, 512, len(whole) - 1, *random.Random(1).sample(range(len(whole)), 60)]:
        path.write_bytes(whole[:length])
        with pytest.raises(SpikeportError, match=path.name):
            load_source(path)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["npz", "safetensors", "v5", "v7.3", "h5"])
def test_flipped_bytes_give_a_network_or_a_refusal_of_ours(tmp_path: Path, form: str) -> None:
    path = sources(tmp_path)[form]
    whole = path.read_bytes()
    rng = random.Random(2)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 8])):
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert outcome(path) in ("a network", "refused")


def test_every_loader_is_documented(repo_root: Path) -> None:
    text = (repo_root / "docs" / "formats.md").read_text()
    assert [suffix for suffix in LOADERS if f"`{suffix}`" not in text] == []
