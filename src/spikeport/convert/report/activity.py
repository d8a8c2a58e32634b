"""One trial of each label: inputs, the rate model's r as a heat map, each level's spikes; zoomed together in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.palettes import Greys256

from spikeport.convert.report.style import EXC, INH, mark_events, models, panel, time_range

INPUTS = ("#444444", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
TOP = 4  # px, a row of a raster at most


def activity(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each shown trial: {"trial": index in `shown.trials`, "inputs", "r": figures, "levels": name -> figure}."""
    shown, events = found["shown"], found["events"]
    order = shown["order"]
    inhibitory = set(found["units"]["kinds"]["inh"])
    n_exc = sum(unit not in inhibitory for unit in order)
    x = time_range(events)
    y = models.Range1d(0.0, float(len(order)))
    largest = max((v for t in shown["trials"] for row in t["r"]["values"] for v in row if v is not None), default=0.0)
    heights = [v for t in shown["trials"] for channel in t["inputs"] for v in channel if v is not None]
    low, high = min([0.0, *heights]), max([1.0, *heights])
    u = models.Range1d(low - 0.1 * (high - low), high + 0.1 * (high - low))
    dt = float(found["traces"]["dt"])
    return [
        {
            "trial": i,
            "inputs": _inputs(t, dt, events, x, u),
            "r": _rates(t["r"], n_exc, largest, events, x, y),
            "levels": {
                name: _raster(spikes, order, inhibitory, n_exc, events, x, y) for name, spikes in t["levels"].items()
            },
        }
        for i, t in enumerate(shown["trials"])
    ]


def _inputs(trial: Mapping[str, Any], dt: float, events: Mapping[str, Any], x: Any, y: Any) -> Any:
    p = panel(110, y="input", x_range=x, y_range=y)
    mark_events(p, events)
    for channel, values in enumerate(trial["inputs"]):
        p.step(np.arange(len(values)) * dt, values, mode="after", color=INPUTS[channel % len(INPUTS)], line_width=1.5)
    p.yaxis.ticker.desired_num_ticks = 3
    return p


def _rates(r: Mapping[str, Any], n_exc: int, top: float, events: Mapping[str, Any], x: Any, y: Any) -> Any:
    """r: 0 is white, the largest of all the trials black."""

    p = panel(230, y="unit, sorted", x_range=x, y_range=y)
    values = np.array([[np.nan if v is None else v for v in row] for row in r["values"]], dtype=np.float32)
    mapper = models.LinearColorMapper(
        palette=Greys256[::-1], low=0.0, high=top if top > 0 else 1.0, nan_color="#ffdddd"
    )
    p.image(image=[values], x=0, y=0, dw=values.shape[1] * r["dt"], dh=values.shape[0], color_mapper=mapper)
    _border(p, n_exc, len(values))
    mark_events(p, events, lines=True)
    return p


def _raster(
    spikes: Mapping[str, Any], order: list[int], inhibitory: set[int], n_exc: int, events: Mapping[str, Any],
    x: Any, y: Any,
) -> Any:  # fmt: skip
    p = panel(230, x="time (s)", y="unit, sorted", x_range=x, y_range=y, name="raster")
    mark_events(p, events)
    row = {unit: i + 0.5 for i, unit in enumerate(order)}
    size = float(np.clip(200 / max(1, len(order)), 1.8, TOP))
    times, units = np.array(spikes["time_s"], dtype=np.float64), spikes["unit"]
    rows = np.array([row[unit] for unit in units], dtype=np.float32)
    inh = np.array([unit in inhibitory for unit in units], dtype=bool)
    for chosen, colour in ((~inh, EXC), (inh, INH)):
        p.scatter(times[chosen], rows[chosen], marker="square", size=size, color=colour, line_color=None)
    _border(p, n_exc, len(order))
    return p


def _border(p: Any, n_exc: int, n: int) -> None:
    """A line between excitatory and inhibitory units."""
    if 0 < n_exc < n:
        p.add_layout(
            models.Span(location=n_exc, dimension="width", line_color="#777777", line_width=1, line_dash="dashed")
        )
    p.ygrid.grid_line_color = None
