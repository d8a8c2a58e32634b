"""spikeport's own files: what goes in comes out, bit for bit; what is damaged or foreign is refused by name."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from example_networks import assert_same, rate_network, recording, spiking_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spikeport.snn import files, storage
from spikeport.snn.errors import InvalidNetworkError, SpikeportError
from spikeport.snn.rate import RateNetwork
from spikeport.snn.recording import Recording, SpikeTrains
from spikeport.snn.spiking import SpikingNetwork

in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

CASES: dict[str, tuple[Any, Callable[..., None], Callable[..., Any]]] = {
    "rate-network": (rate_network(), files.save_rate_network, files.load_rate_network),
    "spiking-network": (spiking_network(), files.save_spiking_network, files.load_spiking_network),
    "recording": (recording(), files.save_recording, files.load_recording),
}


@pytest.fixture(params=list(CASES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---- round trips


def test_everything_survives_a_round_trip_bit_for_bit(kind: str, tmp_path: Path) -> None:
    instance, save, load = CASES[kind]
    save(instance, tmp_path / "a.h5")
    assert_same(load(tmp_path / "a.h5"), instance)
    assert files.kind_of(tmp_path / "a.h5") == kind


def test_the_same_network_makes_the_same_bytes(kind: str, tmp_path: Path) -> None:
    instance, save, _ = CASES[kind]
    for name in ("a.h5", "b.h5"):
        save(instance, tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def rate_networks(draw: st.DrawFn) -> RateNetwork:
    n, n_inputs, n_outputs = draw(st.tuples(st.integers(2, 6), st.integers(1, 3), st.integers(1, 3)))
    shapes = {"w_rec": (n, n), "w_in": (n, n_inputs), "w_out": (n_outputs, n), "b_rec": (n,), "b_out": (n_outputs,)}
    arrays = {name: draw(hnp.arrays(np.float64, shape, elements=numbers)) for name, shape in shapes.items()}
    dt = draw(st.floats(1e-6, 0.01))
    return RateNetwork(
        **arrays,
        tau=dt * draw(hnp.arrays(np.float64, n, elements=st.floats(1.5, 1e3))),
        dt=dt,
        phi=draw(st.sampled_from(["sigmoid", "softplus", "relu"])),
        phi_max=draw(st.none() | st.floats(0.1, 1e3)),
        noise_sd=draw(st.floats(0, 1)),
        x0_sd=draw(st.floats(0, 1)),
        labels=draw(st.dictionaries(texts, hnp.arrays(np.bool_, n), max_size=3)),
        provenance=draw(st.dictionaries(texts, json_values, max_size=3)),
    )


@in_one_folder
@given(network=rate_networks())
def test_any_rate_network_survives_a_round_trip(network: RateNetwork, tmp_path: Path) -> None:
    files.save_rate_network(network, tmp_path / "any.h5", overwrite=True)
    assert_same(files.load_rate_network(tmp_path / "any.h5"), network)


@in_one_folder
@given(dense=hnp.arrays(np.int32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 3)))
def test_any_spikes_survive_a_round_trip(dense: np.ndarray, tmp_path: Path) -> None:
    steps, batch, _ = dense.shape
    original = Recording(dt=1e-3, n_steps=steps, n_batch=batch, spikes={"p": SpikeTrains.from_dense(dense)})
    files.save_recording(original, tmp_path / "any.h5", overwrite=True)
    assert_same(files.load_recording(tmp_path / "any.h5"), original)


def test_numpy_scalars_and_tuples_in_provenance_become_plain_json(tmp_path: Path) -> None:
    given_ = {"accuracy": np.float64(0.5), "n": np.int64(3), "grid": (1, 2), "curve": np.array([0.5, 1.0])}
    files.save_rate_network(rate_network(provenance=given_), tmp_path / "a.h5")
    found = files.load_rate_network(tmp_path / "a.h5").provenance
    assert found == {"accuracy": 0.5, "n": 3, "grid": [1, 2], "curve": [0.5, 1.0]}


def test_single_precision_values_take_half_the_space_and_lose_nothing(tmp_path: Path) -> None:
    double = np.random.default_rng(0).normal(size=(200, 200))
    exact = double.astype(np.float32).astype(np.float64)
    n = rate_network(n=200)
    files.save_rate_network(dataclasses.replace(n, w_rec=exact), tmp_path / "single.h5")
    files.save_rate_network(dataclasses.replace(n, w_rec=double), tmp_path / "double.h5")
    assert (tmp_path / "single.h5").stat().st_size < 0.6 * (tmp_path / "double.h5").stat().st_size
    with h5py.File(tmp_path / "single.h5") as file:
        assert file["w_rec"].dtype == np.float32
    assert files.load_rate_network(tmp_path / "single.h5").w_rec.tobytes() == exact.tobytes()


def test_what_has_no_json_form_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match=r"provenance\.when: a set has no JSON form"):
        files.save_rate_network(rate_network(provenance={"when": {1}}), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


# ---- damage


def outcome(load: Callable[..., Any], path: Path, original: Any) -> str:
    """`refused` by an error of ours, or `same`: damage that touched nothing. Anything else fails the test."""
    try:
        found = load(path)
    except SpikeportError as error:
        return "refused" if error.what.startswith(f"{path}: ") else f"refused without its name: {error}"
    assert_same(found, original)
    return "same"


def test_a_truncated_file_is_always_refused(kind: str, tmp_path: Path) -> None:
    original, save, load = CASES[kind]
    path = tmp_path / "a.h5"
    save(original, path)
    whole = path.read_bytes()
    lengths = [0, 1, 7, 8, 47, 48, len(whole) - 1, *random.Random(1).sample(range(len(whole)), 60)]
    for length in lengths:
        path.write_bytes(whole[:length])
        assert outcome(load, path, original) == "refused", length


def test_flipped_bytes_are_refused_or_change_nothing(kind: str, tmp_path: Path) -> None:
    original, save, load = CASES[kind]
    path = tmp_path / "a.h5"
    save(original, path)
    whole = path.read_bytes()
    rng = random.Random(2)
    outcomes = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        outcomes.append(outcome(load, path, original))
    assert set(outcomes) <= {"refused", "same"}
    assert outcomes.count("refused") > 75  # checksums see it; the rest lies in unused space


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\x80\x04K\x01.", "not HDF5", id="pickle"),
        pytest.param(b"x" * 5000, "not HDF5", id="text"),
        pytest.param(b"\x89HDF\r\n\x1a\n", "damaged or truncated", id="signature-only"),
    ],
)
def test_what_is_not_hdf5_is_refused(kind: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(InvalidNetworkError, match=message):
        CASES[kind][2](path)


def test_a_missing_file_and_a_folder_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match="no such file"):
        CASES[kind][2](tmp_path / "none.h5")
    with pytest.raises(SpikeportError, match="is a folder"):
        CASES[kind][2](tmp_path)


# ---- foreign files


def edit(path: Path, change: Callable[[h5py.File], Any]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    files.save_rate_network(rate_network(), tmp_path / "net.h5")
    return tmp_path / "net.h5"


def test_the_wrong_kind_says_which_it_is_and_what_takes_it(stored: Path) -> None:
    with pytest.raises(
        InvalidNetworkError, match=r"is a rate-network file, must be a recording file(.|\n)*spikeport convert"
    ):
        files.load_recording(stored)


def test_a_newer_version_says_upgrade(stored: Path) -> None:
    edit(stored, lambda f: f.attrs.modify("version", np.int64(2)))
    with pytest.raises(InvalidNetworkError, match=r"version 2(.|\n)*up to version 1(.|\n)*pip install --upgrade"):
        files.load_rate_network(stored)


@pytest.mark.parametrize("version", [0, -1, 1.5, "1"])
def test_a_version_that_is_none_is_refused(stored: Path, version: object) -> None:
    edit(stored, lambda f: f.attrs.create("version", version))
    with pytest.raises(InvalidNetworkError, match="must be a whole number from 1"):
        files.load_rate_network(stored)


def test_an_unknown_kind_is_refused(stored: Path) -> None:
    edit(stored, lambda f: f.attrs.create("kind", "hologram"))
    with pytest.raises(InvalidNetworkError, match="kind 'hologram' is unknown"):
        files.kind_of(stored)


def test_hdf5_of_another_program_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "nir.h5", "w") as file:
        file["node/v"] = np.zeros(3)
    with pytest.raises(InvalidNetworkError, match=r"not one of spikeport's(.|\n)*it holds: node"):
        files.kind_of(tmp_path / "nir.h5")


def test_every_missing_field_is_named_at_once(stored: Path) -> None:
    def remove(file: h5py.File) -> None:
        del file["w_rec"], file["tau"], file.attrs["dt"]

    with pytest.raises(InvalidNetworkError) as refusal:
        files.load_rate_network(edit(stored, remove))
    assert refusal.match("not a valid rate-network file")
    assert set(refusal.value.problems) == {"w_rec: missing", "tau: missing", "dt: missing"}


def test_fields_of_the_wrong_type_are_named_at_once(stored: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file.attrs["dt"] = "fast"
        file.attrs["phi"] = 3
        file["labels/fs"] = np.zeros(6)
        file.attrs["colour"] = "red"

    with pytest.raises(InvalidNetworkError) as refusal:
        files.load_rate_network(edit(stored, spoil))
    assert refusal.match("dt: str, must be float")
    assert refusal.match("phi: int, must be str")
    assert refusal.match("labels/fs: float64 array, must be an array")
    assert refusal.match("colour: unknown")


def test_values_that_make_no_network_name_the_file(stored: Path) -> None:
    edit(stored, lambda f: f.attrs.modify("dt", 1.0))
    with pytest.raises(InvalidNetworkError, match=r"net\.h5(.|\n)*must be above dt"):
        files.load_rate_network(stored)


def test_a_class_that_has_no_place_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    files.save_spiking_network(spiking_network(), path)
    edit(path, lambda f: f["populations/0/neuron"].attrs.create("@type", "Izhikevich"))
    with pytest.raises(InvalidNetworkError, match="populations/0/neuron: 'Izhikevich', must be LIF"):
        files.load_spiking_network(path)


# ---- the documentation


def test_every_kind_and_field_is_documented(repo_root: Path) -> None:
    text = (repo_root / "docs" / "formats.md").read_text()
    kinds = [f"`{kind}`" for kind in storage.KINDS]
    classes = (RateNetwork, SpikingNetwork, Recording, *files.CLASSES.values())
    fields = [f"`{f.name}`" for cls in classes for f in dataclasses.fields(cls)]
    missing = [word for word in (*kinds, *(f"`{name}`" for name in files.CLASSES), *fields) if word not in text]
    assert missing == []


def test_a_file_states_its_format_kind_version_and_writer(stored: Path) -> None:
    with h5py.File(stored) as file:
        root = dict(file.attrs)
    assert (root["format"], root["kind"], root["version"]) == (b"spikeport", b"rate-network", 1)
    assert root["written_by"].startswith(b"spikeport")


def test_provenance_is_readable_as_json_text(stored: Path) -> None:
    with h5py.File(stored) as file:
        text = bytes(file["provenance"][()]).decode()
    assert json.loads(text)["file"] == "model.mat"
