"""Decoders as FALCON's evaluator calls them (falcon_challenge 1.0.2, evaluator.py, predict_files), tasks H1, M1, M2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lively_network import lively
from small_models import follower

from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.readout import LinearDecoder, LinearModel
from spikeport.snn.errors import SpikeportError


def spiking(**changes: Any) -> SpikingDecoder:
    return SpikingDecoder(lively(), **{"period": 5e-3, "seed": 3, "outputs": "spikes", **changes})


def rate(**changes: Any) -> RateDecoder:
    return RateDecoder(follower(n=6), **{"seed": 3, **changes})


def linear(**changes: Any) -> LinearDecoder:
    weight = np.random.default_rng(0).normal(size=(2, 5))
    return LinearDecoder(LinearModel(weight=weight, bias=np.array([0.5, -1.0]), tau=0.05, period=0.02), **changes)


def evaluated(decoder: Any, files: list[Any], continual: bool) -> list[Any]:
    """What the evaluator keeps of each file: batches of files, zeros after the end of the shorter, nothing copied."""
    found = []
    for first in range(0, len(files), decoder.batch_size):
        batch = files[first : first + decoder.batch_size]
        data = np.zeros((max(len(f) for f in batch), len(batch), batch[0].shape[1]), dtype=batch[0].dtype)
        changes = np.zeros(data.shape[:2], dtype=bool)
        for i, f in enumerate(batch):
            data[: len(f), i], changes[len(f) // 2, i] = f, True
        decoder.reset(dataset_tags=[Path(f"file{first + i}.nwb") for i in range(len(batch))])
        kept = []
        for observations, ended in zip(data, changes, strict=True):
            if not continual:
                decoder.on_done(ended)
            kept.append(decoder.predict(observations))
        stacked = np.stack(kept)
        assert stacked.shape == (len(data), len(batch), decoder.n_outputs)
        found += [stacked[: len(f), i] for i, f in enumerate(batch)]
    return found


def recordings(n_inputs: int, dtype: Any) -> list[Any]:
    rng = np.random.default_rng(1)
    return [rng.poisson(0.6, (n, n_inputs)).astype(dtype) for n in (9, 14, 11, 12, 8)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("make", [spiking, rate, linear])
def test_what_the_evaluator_keeps_is_what_was_predicted_also_in_a_last_batch_that_is_smaller(
    make: Any, dtype: Any
) -> None:
    """Five files, two at a time: each file's predictions are those of its row alone, copied at once."""
    files = recordings(make().n_inputs, dtype)
    found = evaluated(make(batch_size=2), files, continual=True)
    for i, (file, kept) in enumerate(zip(files, found, strict=True)):
        alone = make() if make is linear else make(first_trial=i % 2)
        expected = np.stack([alone.predict(x[None])[0].copy() for x in file])
        np.testing.assert_array_equal(kept, expected)
        assert np.ptp(kept, axis=0).any()


@pytest.mark.parametrize("make", [spiking, rate, linear])
def test_a_trial_that_the_evaluator_ends_starts_its_row_afresh(make: Any) -> None:
    files = recordings(make().n_inputs, np.float64)[:1]
    kept = evaluated(make(), files, continual=False)[0]
    half = len(files[0]) // 2
    again = make() if make is linear else make(first_trial=1)
    np.testing.assert_array_equal(kept[half:], np.stack([again.predict(x[None])[0] for x in files[0][half:]]))


@pytest.mark.parametrize("make", [spiking, rate, linear])
def test_fewer_data_sets_than_rows_are_as_many_rows(make: Any) -> None:
    decoder = make(batch_size=3)
    u = np.ones((3, decoder.n_inputs))
    decoder.reset(["a", "b"])
    assert decoder.predict(u[:2]).shape == (2, decoder.n_outputs)
    decoder.on_done(np.array([0, 1]))
    with pytest.raises(SpikeportError, match=r"must be \(n_batch, n_channels\) = \(2, "):
        decoder.predict(u)
    for tags in ([], [""]):  # the interface's default names nothing
        decoder.reset(tags)
        assert decoder.predict(u).shape == (3, decoder.n_outputs)
    decoder.set_batch_size(2)
    assert decoder.batch_size == 2
    assert decoder.predict(u[:2]).shape == (2, decoder.n_outputs)


def test_a_wrong_count_moves_no_row() -> None:
    """Row 1 of 2 is refused: row 0 has not moved, and what is right next is taken as if nothing had been."""
    decoder, right = spiking(batch_size=2), np.ones((2, 5))
    before = decoder.snapshot()
    wrong = right.copy()
    wrong[1, -1] = 0.5
    with pytest.raises(SpikeportError, match="row 1: 1 counts of spikes are not whole numbers"):
        decoder.predict(wrong)
    after = decoder.predict(right)
    decoder.restore(before)
    assert np.array_equal(after, decoder.predict(right))
