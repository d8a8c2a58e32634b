"""The rate network as ONNX: it follows simulate_rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_files import published, write_v5
from require import need
from small_models import follower
from typer.testing import CliRunner

from spikeport.cli import app
from spikeport.convert.sources import load_source
from spikeport.snn import noise
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import save_rate_network
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.targets.export import export_network
from spikeport.targets.onnx import export_rate, load_onnx, runtime

need("onnx", resource="onnx")
need("onnxruntime", resource="onnx")

STEPS, BATCH, N = 60, 3, 20
PHI: dict[str, dict[str, Any]] = {
    "sigmoid": {"phi": "sigmoid"}, "softplus": {"phi": "softplus"}, "relu, clipped": {"phi": "relu", "phi_max": 0.7},
    "retanh": {"phi": "retanh"}, "softplus, clipped": {"phi": "softplus", "phi_max": 0.7},
}  # fmt: skip


def network(**changes: Any) -> RateNetwork:
    return follower(N, **{"b_out": np.array([0.25]), **changes})


def inputs() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 2, (STEPS, BATCH, 1))


def drawn(rate: RateNetwork, seed: int) -> np.ndarray:
    """The noise that simulate_rate adds: (time, batch, N)."""
    units, trials = np.arange(N, dtype=np.uint64), np.arange(BATCH)
    rows = [noise.normal_integers(seed, "rate", 0, units, trials[:, None], k) for k in range(STEPS)]
    assert np.std(rows) > 0
    return np.array(rows) * (rate.noise_sd / noise.NORMAL_SD)


def session(path: Path) -> Any:
    found = runtime.session(load_onnx(path))
    assert found.get_inputs()[0].name == "u"
    return found


@pytest.mark.parametrize("changes", PHI.values(), ids=PHI)
def test_a_sequence_follows_the_simulation(changes: dict[str, Any], tmp_path: Path) -> None:
    rate = network(**changes)
    on = session(export_rate(rate, tmp_path / "rate.onnx"))
    expected = simulate_rate(rate, inputs(), with_noise=False, record_state=True)
    assert np.ptp(expected.outputs) > 0.1
    o, x = on.run(["o", "x.next"], {"u": inputs()})
    np.testing.assert_allclose(o, expected.outputs, rtol=1e-12, atol=1e-12)
    assert expected.x is not None
    np.testing.assert_allclose(x, expected.x[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("changes", PHI.values(), ids=PHI)
def test_steps_follow_the_simulation(changes: dict[str, Any], tmp_path: Path) -> None:
    rate = network(**changes, noise_sd=0.0)
    on, x = session(export_rate(rate, tmp_path / "rate.onnx", form="step")), np.zeros((BATCH, N))
    expected = simulate_rate(rate, inputs(), record_state=True)
    assert expected.r is not None
    for k, u in enumerate(inputs()):
        o, r, x = on.run(["o", "r", "x.next"], {"u": u, "x": x})
        np.testing.assert_allclose(o, expected.outputs[k], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(r, expected.r[k], rtol=1e-12, atol=1e-12)


def test_noise_that_is_given_is_added(tmp_path: Path) -> None:
    rate = network(noise_sd=0.1)
    on = session(export_rate(rate, tmp_path / "rate.onnx"))
    expected = simulate_rate(rate, inputs(), seed=4, x0=np.zeros((BATCH, N)))
    found = on.run(["o"], {"u": inputs(), "noise": drawn(rate, 4)})[0]
    np.testing.assert_allclose(found, expected.outputs, rtol=1e-12, atol=1e-12)


def test_float32_follows_to_single_precision(tmp_path: Path) -> None:
    on = session(export_rate(network(), tmp_path / "rate.onnx", dtype="float32"))
    found = on.run(["o"], {"u": inputs().astype(np.float32)})[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, simulate_rate(network(), inputs(), with_noise=False).outputs, atol=1e-5)


def test_an_unknown_form_or_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match=r"(?s)form: 'loop'.*dtype: 'int8'"):
        export_rate(network(), tmp_path / "rate.onnx", form="loop", dtype="int8")


def test_a_rate_network_has_no_v_to_trace(tmp_path: Path) -> None:
    with pytest.raises(SpikeportError, match="a rate network has no v"):
        export_network(network(), "onnx", tmp_path / "rate.onnx", traces="v")


# the command line


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_export_takes_a_rate_network_in_our_format_and_in_matlabs(suffix: str, tmp_path: Path) -> None:
    source, target = tmp_path / f"model{suffix}", tmp_path / "m.onnx"
    if suffix == ".h5":
        save_rate_network(network(), source)
    else:
        write_v5(source, published())
    done = call("export", source, "--target", "onnx", "-o", target)
    assert done.exit_code == 0, done.output
    rate = replace(load_source(source), noise_sd=0.0)
    u = np.random.default_rng(2).normal(size=(30, 2, rate.n_inputs))
    np.testing.assert_allclose(session(target).run(["o"], {"u": u})[0], simulate_rate(rate, u).outputs, atol=1e-12)


def test_a_target_without_rate_networks_refuses_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeport.targets import export

    class Writer:
        name = "writer"

    monkeypatch.setattr(export, "exporter", lambda name: Writer())
    monkeypatch.setattr(export, "check_choices", lambda target, choices: choices)
    save_rate_network(network(), tmp_path / "rate.h5")
    done = call("export", tmp_path / "rate.h5", "--target", "writer", "-o", tmp_path / "out")
    assert (done.exit_code, "writer: cannot take a rate network" in done.stderr) == (1, True)


def test_a_published_network_follows_the_simulation(shared_data: Path, tmp_path: Path) -> None:
    rate = load_source(shared_data / "kim" / "go_nogo_n200.mat")
    u = np.zeros((200, 2, rate.n_inputs))
    u[25:50, 0] = 1
    found = session(export_rate(rate, tmp_path / "rate.onnx")).run(["o"], {"u": u})[0]
    np.testing.assert_allclose(found, simulate_rate(rate, u, with_noise=False).outputs, rtol=1e-10, atol=1e-10)
