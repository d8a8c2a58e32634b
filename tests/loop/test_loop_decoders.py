"""Decoders: FALCON's four methods, one tick of real time, the batch run's numbers exactly, and a shadow beside."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lively_network import lively
from loop_parts import MS, Kept, policy
from small_models import follower

from spikeport.convert.transfer import transfer
from spikeport.loop.clocks import VirtualClock
from spikeport.loop.decoders.common import fingerprint, steps_until
from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.loop import Loop
from spikeport.loop.ports import Decoder
from spikeport.loop.sinks.memory import CallSink, MemorySink
from spikeport.loop.sources.recording import ArraySource, as_the_network_sees
from spikeport.resources import model_path
from spikeport.snn import engine
from spikeport.snn.errors import SpikeportError
from spikeport.snn.files import load_rate_network
from spikeport.snn.fingerprint import fingerprint as recorded_as
from spikeport.snn.noise import LIMITS
from spikeport.snn.rate import RateNetwork, simulate_rate
from spikeport.snn.recording import SpikeTrains
from spikeport.snn.spiking import SpikeInput
from spikeport.snn.tasks import get_task

FALCON = {  # the published interface: method -> its parameters (falcon_challenge/interface.py, BCIDecoder)
    "reset": ["dataset_tags"],
    "predict": ["neural_observations"],
    "observe": ["neural_observations"],
    "on_done": ["dones"],
    "set_batch_size": ["batch_size"],
}


def spiking(**changes: Any) -> SpikingDecoder:
    return SpikingDecoder(lively(), **{"period": 5 * MS, "seed": 3, "outputs": "spikes", **changes})


def rate(**changes: Any) -> RateDecoder:
    return RateDecoder(follower(n=6), **{"seed": 3, **changes})


@pytest.mark.parametrize("make", [spiking, rate])
def test_a_decoder_has_falcons_methods_as_they_are_documented(make: Any) -> None:
    decoder = make()
    assert isinstance(decoder, Decoder)
    for name, parameters in FALCON.items():
        assert list(inspect.signature(getattr(decoder, name)).parameters) == parameters
    assert inspect.signature(decoder.reset).parameters["dataset_tags"].default is not inspect.Parameter.empty
    assert decoder.batch_size == 1


def samples(n: int, batch: int, seed: int = 0) -> Any:
    """(n, batch, 5): two held inputs of 5 ms and three counts in their first step, as lively() takes them."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(n, batch, 2)), rng.poisson(0.5, (n, batch, 3))], axis=2)


def batch_run(u: Any, trial: int, seed: int = 3) -> Any:
    """(n, units) spikes per sample of one trial in one go, from Engine.run."""
    counts = np.zeros((5 * len(u), 1, 3), dtype=int)
    counts[::5, 0] = u[:, 2:]
    inputs = {"u": u[:, None, :2], "x": SpikeTrains.from_dense(counts)}
    found = engine.simulate(lively(), inputs, seed=seed, first_trial=trial, n_threads=1)
    return np.hstack([found.spikes[p].dense()[:, 0].reshape(len(u), 5, -1).sum(axis=1) for p in ("a", "b")])


def test_each_row_of_a_batch_is_its_trial_spike_for_spike_also_after_trials_that_ended_apart() -> None:
    """Row i is trial 10 + i; row 1 ends after 4 samples and goes on as trial 13, row 0 after 6 as trial 12."""
    decoder, u = spiking(batch_size=2, first_trial=10), samples(12, 2)
    decoder.reset([Path("a"), Path("b")])
    found = []
    for k in range(12):
        found.append(decoder.predict(u[k]).copy())
        decoder.on_done(np.array([k == 5, k == 3]))
    rows = np.stack(found, axis=1)
    assert rows.sum() > 100
    for row, ends, trials in ((0, 6, (10, 12)), (1, 4, (11, 13))):
        np.testing.assert_array_equal(rows[row, :ends], batch_run(u[:ends, row], trials[0]))
        np.testing.assert_array_equal(rows[row, ends:], batch_run(u[ends:, row], trials[1]))


def test_observing_is_predicting_without_an_answer() -> None:
    u, seen, said = samples(6, 1), spiking(), spiking()
    for k in range(5):
        seen.observe(u[k])
        said.predict(u[k])
    np.testing.assert_array_equal(seen.predict(u[5]), said.predict(u[5]))


@pytest.mark.parametrize("make", [spiking, rate])
def test_a_reset_gives_the_same_run_again(make: Any) -> None:
    decoder = make()
    u = samples(8, 1)[:, :, : decoder.n_inputs]
    runs = []
    for _ in range(2):
        decoder.reset()
        runs.append([decoder.predict(x).copy() for x in u])
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("make", [spiking, rate])
def test_a_snapshot_is_not_changed_by_later_steps_and_goes_on_as_it_was(make: Any) -> None:
    decoder = make()
    u = samples(12, 1)[:, 0, : decoder.n_inputs]
    for k in range(5):
        decoder.step(u[k], (k + 1) * 5 * MS)
    kept = decoder.snapshot()

    def rest() -> Any:
        return [decoder.step(u[k], (k + 1) * 5 * MS).copy() for k in range(5, 12)]

    first = rest()
    decoder.restore(kept)
    np.testing.assert_array_equal(rest(), first)
    decoder.restore(kept)
    np.testing.assert_array_equal(rest(), first)


def test_streaming_steps_of_any_length_are_the_batch_run() -> None:
    """One sample held for 60 ms, cut anywhere: the spikes of all calls are those of one."""
    u = samples(1, 1)[0, 0]
    whole = spiking().step(u, 0.06).copy()
    for cuts in ([0.001, 0.06], [0.0004, 0.0101, 0.0599, 0.06], list(np.linspace(0.0007, 0.06, 77))):
        decoder = spiking()
        total = decoder.step(u, cuts[0]).copy()
        for t in cuts[1:]:
            total += decoder.step(None, t)
        np.testing.assert_array_equal(total, whole)
    assert whole.sum() > 20


def test_a_time_between_two_steps_has_the_state_of_the_last_whole_one() -> None:
    decoder = spiking()
    u = samples(1, 1)[0, 0]
    for t, k in ((0.0009, 0), (0.001, 1), (0.00199, 1), (0.002, 2), (0.0055, 5)):
        decoder.step(u, t)
        assert decoder.snapshot()[0].state.k == k
    with pytest.raises(SpikeportError, match="time does not go back"):
        decoder.step(u, 0.004)
    with pytest.raises(SpikeportError, match="time nan s"):
        decoder.step(u, float("nan"))


@given(st.integers(1, LIMITS["step"]), st.sampled_from([1e-3, 5e-5, 5e-4, 1e-4, 2e-3]))
def test_a_time_that_is_a_whole_number_of_steps_is_never_one_too_few(k: int, dt: float) -> None:
    ns = round(dt * 1e9)
    for t in (k * dt, k * ns / 1e9, float(k) * ns * 1e-9):
        assert steps_until(t, dt, 0) == k


def test_steps_beyond_the_keys_of_the_noise_are_refused() -> None:
    limit = LIMITS["step"]
    assert steps_until(limit * 1e-3, 1e-3, limit - 1) == 1
    with pytest.raises(SpikeportError, match="would repeat itself"):
        steps_until((limit + 1) * 1e-3, 1e-3, limit - 1)


def test_counts_of_an_interval_shorter_than_a_step_wait_for_it() -> None:
    u = np.array([0.0, 0.0, 2.0, 0.0, 1.0])
    one, two = spiking(), spiking()
    whole = one.step(u, 0.03).copy()
    two.step(u / 2 * [1, 1, 1, 1, 0], 0.0003)
    two.step(u / 2 * [1, 1, 1, 1, 2], 0.0006)
    np.testing.assert_array_equal(two.step(None, 0.03), whole)


def test_a_reading_of_nothing_keeps_held_inputs_and_brings_no_spikes() -> None:
    u = samples(1, 1)[0, 0]
    quiet, by_hand = spiking(), spiking()
    quiet.step(u, 0.005)
    by_hand.step(u, 0.005)
    held = u * [1, 1, 0, 0, 0]
    np.testing.assert_array_equal(quiet.step(None, 0.03), by_hand.step(held, 0.03))


@pytest.mark.parametrize("with_noise", [True, False])
@pytest.mark.parametrize("name", ["follower", "published"])
def test_the_rate_decoder_gives_the_numbers_of_simulate_rate(name: str, with_noise: bool) -> None:
    network = follower(n=6) if name == "follower" else load_rate_network(model_path("go-nogo"))
    u = np.random.default_rng(0).normal(size=(150, 2, network.n_inputs))
    decoder = RateDecoder(network, seed=5, first_trial=7, batch_size=2, with_noise=with_noise)
    found = np.stack([decoder.predict(x).copy() for x in u])
    for row in range(2):
        expected = simulate_rate(network, u[:, row : row + 1], seed=5, first_trial=7 + row, with_noise=with_noise)
        np.testing.assert_array_equal(found[:, row], expected.outputs[:, 0])


def test_a_rate_network_steps_when_its_own_dt_is_over() -> None:
    network = follower(n=6)
    u = np.random.default_rng(0).normal(size=(40, 1))
    decoder = RateDecoder(network, seed=5)
    found = [decoder.step(u[k], (k + 1) * MS).copy() for k in range(40)]
    expected = simulate_rate(network, u[4::5, None], seed=5).outputs[:, 0]
    np.testing.assert_array_equal(found[4::5], expected)
    np.testing.assert_array_equal(found[5:9], np.broadcast_to(expected[0], (4, 1)))


def go_nogo(period: float, preset: str, n: int, source: RateNetwork, inverse_lambda: float) -> tuple[int, int]:
    """Differing and all spikes, tick by tick, of a looped trial against the batch run."""
    network = transfer(source, inverse_lambda, preset=preset)
    trial = get_task("go-nogo").trials(1, seed=4).inputs[:n, 0]
    values = as_the_network_sees(trial, network.held_inputs[0], dt=network.dt, period=period)
    recorder = Kept()
    decoder = SpikingDecoder(network, period=period, seed=4, outputs="spikes")
    choice = policy(lost="abort", overload="stop", safe=(0.0,) * network.n_neurons)
    clock = VirtualClock()
    summary = Loop(
        ArraySource(values, period=period), decoder, CallSink(id), clock, choice, recorder, period=period
    ).run()
    assert summary.causes["fresh"] == len(values)
    steps = round(period / network.dt)
    batch = engine.simulate(network, trial[:, None], n_steps=len(values) * steps, seed=4, n_threads=1)
    expected = batch.spikes["rec"].dense()[:, 0].reshape(len(values), steps, -1).sum(axis=1)
    found = np.stack([tick.outputs for tick in recorder.ticks])
    return int((found != expected).sum()), int(expected.sum())


@pytest.mark.parametrize(
    ("period", "preset", "n"), [(5e-3, "standard", 200), (5e-5, "kim2019", 60), (1e-3, "standard", 120)]
)
def test_a_go_nogo_trial_sample_by_sample_gives_the_batch_runs_spikes(period: float, preset: str, n: int) -> None:
    differing, spikes = go_nogo(period, preset, n, load_rate_network(model_path("go-nogo")), 40.0)
    assert differing == 0
    assert spikes > 300


@pytest.mark.parametrize(("period", "preset", "n"), [(5e-3, "standard", 200), (5e-5, "kim2019", 100)])
def test_the_third_partys_network_sample_by_sample_gives_the_batch_runs_spikes(
    shared_data: Path, period: float, preset: str, n: int
) -> None:
    from spikeport.convert.sources import load_source

    source = load_source(shared_data / "kim" / "go_nogo_n200.mat")
    differing, spikes = go_nogo(period, preset, n, source, 45.0)
    assert differing == 0
    assert spikes > 500


def test_readouts_are_the_batch_runs_outputs_at_each_ticks_end() -> None:
    decoder, u = SpikingDecoder(lively(), period=5 * MS, seed=3), samples(12, 1)
    found = np.stack([decoder.step(u[k, 0], (k + 1) * 5 * MS).copy() for k in range(12)])
    counts = np.zeros((60, 1, 3), dtype=int)
    counts[::5, 0] = u[:, 0, 2:]
    inputs = {"u": u[:, :, :2], "x": SpikeTrains.from_dense(counts)}
    expected = engine.simulate(lively(), inputs, seed=3, n_threads=1)
    np.testing.assert_array_equal(found[:, :2], expected.outputs["o"][4::5, 0])
    np.testing.assert_array_equal(found[:, 2:], expected.outputs["p"][4::5, 0])


def test_before_its_first_step_a_decoder_gives_its_read_outs_bias() -> None:
    np.testing.assert_array_equal(SpikingDecoder(lively(), period=MS).step(np.zeros(5), 0.0), [0.5, -1.0, 0.0])


def test_a_packet_with_counts_that_are_none_is_lost_data() -> None:
    u = samples(20, 1)[:, 0]
    u[7, 3], u[11, 4] = -1.0, 0.5
    recorder = Kept()
    decoder = spiking()
    choice = policy(safe=(0.0,) * 45)
    summary = Loop(
        ArraySource(u, period=5 * MS), decoder, MemorySink(), VirtualClock(), choice, recorder, period=5 * MS
    ).run()
    assert [e["seq"] for e in recorder.of("invalid")] == [7, 11]
    assert "not whole numbers, 0 or more" in recorder.of("invalid")[0]["problem"]
    assert summary.causes["held"] == 2


def test_a_value_beyond_the_decoders_dtype_is_lost_data_and_ends_nothing() -> None:
    u = samples(20, 1)[:, 0]
    u[7, 0] = 1e39  # finite, but not in float32
    recorder = Kept()
    summary = Loop(
        ArraySource(u, period=5 * MS), SpikingDecoder(lively(), period=5 * MS, dtype="float32"), MemorySink(),
        VirtualClock(), policy(safe=(0.0,) * 3), recorder, period=5 * MS,
    ).run()  # fmt: skip
    assert [e["seq"] for e in recorder.of("invalid")] == [7]
    assert "beyond float32" in recorder.of("invalid")[0]["problem"]
    assert (summary.ticks, summary.causes["held"]) == (20, 1)


# ---- what is refused, and what a record is told


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.predict(np.zeros((2, 5))), r"shape \(2, 5\), must be \(n_batch, n_channels\) = \(1, 5\)"),
        (lambda d: d.on_done([True, False]), r"dones of shape \(2,\), must be \(1,\)"),
        (lambda d: d.reset(["a", "b"]), "2 data set tags for a batch of 1"),
        (lambda d: d.step(np.zeros(4), 0.01), r"a sample of shape \(4,\), must be \(5,\)"),
        (lambda d: d.set_batch_size(0), "batch_size 0, must be a whole number, 1 or more"),
        (lambda d: (d.set_batch_size(2), d.step(np.zeros(5), 0.01)), "batch of 2, must be 1"),
        (lambda d: d.restore([]), "a snapshot of 0 rows, must be 1"),
    ],
)
def test_calls_that_do_not_fit_are_refused(call: Any, message: str) -> None:
    with pytest.raises(SpikeportError, match=message):
        call(spiking())


def test_networks_and_periods_that_cannot_be_a_decoder_are_refused() -> None:
    with pytest.raises(SpikeportError, match=r"(?s)0.0012 s, which is not a whole number.*a period of 0.001 s"):
        spiking(period=0.0012)
    with pytest.raises(SpikeportError, match=r"(?s)0.001 s, which is not a whole number.*a period of 0.005 s"):
        rate(period=MS)
    with pytest.raises(SpikeportError, match="no read-out"):
        SpikingDecoder(replace(lively(), readouts=()), period=MS)
    with pytest.raises(SpikeportError, match="outputs 'v', must be one of readouts, spikes"):
        spiking(outputs="v")
    with pytest.raises(SpikeportError, match="no input"):
        SpikingDecoder(replace(lively(), inputs=(), projections=()), period=MS)


def test_a_fingerprint_is_of_the_numbers_and_not_of_where_they_came_from() -> None:
    network = lively()
    assert fingerprint(lively()) == fingerprint(replace(network, provenance={"file": "elsewhere"}))
    weight = network.projections[3].weight.copy()
    weight[0, 0] = np.nextafter(weight[0, 0], np.inf)
    changed = (*network.projections[:3], replace(network.projections[3], weight=weight), *network.projections[4:])
    others = [
        replace(network, projections=changed),
        replace(network, dt=0.002),
        replace(network, inputs=(network.inputs[0], SpikeInput(name="x2", n=3)), projections=network.projections[:2]),
        lively(seed=1),
    ]
    assert len({fingerprint(n) for n in (network, *others)}) == 5


def test_a_record_is_told_which_network_and_how() -> None:
    told = spiking().describe()
    assert told["network"] == fingerprint(lively()) == recorded_as(lively())  # as in recordings and exported files
    assert (told["dt"], told["seed"], told["steps_per_period"], told["outputs"]) == (0.001, 3, 5, "spikes")
    assert told["inputs"] == {"u": 2, "x": 3}
