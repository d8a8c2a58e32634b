"""Conversion in the chip's own arithmetic: lambda searched on the chip, accuracy against bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikeport import load_source, transfer
from spikeport.chips import search_on_chip
from spikeport.resources import model_path
from spikeport.snn.errors import SpikeportError
from spikeport.targets.run import run_network

BITS = [{"bits": bits} for bits in ("8", "2")]


def test_lambda_is_searched_on_the_chip_for_each_number_of_bits() -> None:
    source = load_source(model_path("go-nogo"))
    said: list[tuple[int, int, str]] = []
    found = search_on_chip(source, "go-nogo", "loihi", grid=[1000, 40], variants=BITS, trials=8, test_trials=12,
                           progress=lambda *told: said.append(told))  # fmt: skip
    assert len(found.points) == 4
    assert said[:4] == [(k, 4, "search on loihi") for k in (1, 2, 3, 4)]
    assert [row.choices["bits"] for row in found.rows] == ["8", "2"]
    assert found.rows[0].point.inverse_lambda == 40  # at 1/1000 no unit hears another
    rows = found.as_dict()["rows"]
    assert rows[0]["accuracy"] >= 10 / 12
    assert "weights of 2 bits" in " ".join(rows[1]["losses"])
    assert rows[0]["interval"][0] < rows[0]["accuracy"] <= rows[0]["interval"][1]


@pytest.mark.slow
def test_a_third_partys_network_does_its_task_in_the_chips_integers(shared_data: Path) -> None:
    """200 trials of Go-NoGo at 1 ms, at most 2 points below the float network at the same step."""
    network = transfer(load_source(shared_data / "kim" / "go_nogo_n200.mat"), 30, dt=1e-3)
    allow = ("precision", "noise", "synapse")
    chip = run_network(network, "go-nogo", target="loihi", trials=200, allow=allow, batch=100)
    engine = run_network(network, "go-nogo", trials=200, with_noise=False)
    assert chip.right["published"] >= engine.right["published"] - 4
    assert engine.right["published"] >= 196
    assert chip.mean_rate_hz == pytest.approx(engine.mean_rate_hz, rel=0.1)


def test_an_empty_search_is_refused() -> None:
    with pytest.raises(SpikeportError, match=r"grid .* empty"):
        search_on_chip(load_source(model_path("go-nogo")), "go-nogo", "loihi", grid=[])
