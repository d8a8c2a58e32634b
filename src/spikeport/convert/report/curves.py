"""Figures of accuracy: the search over lambda, the ladder as a waterfall; and the outputs over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from spikeport.convert.report.style import (
    GAIN,
    INK,
    LOSS,
    RATE,
    TARGET,
    colours,
    mark_events,
    models,
    numbers,
    panel,
    plain,
    time_range,
)

OUTPUTS = 4  # outputs that have figures


def search_figures(search: Mapping[str, Any]) -> list[Any]:
    """Accuracy (or distance) over 1/lambda with intervals, and the mean rate."""
    points = search["points"]
    at = [p["inverse_lambda"] for p in points]
    chosen = [p["inverse_lambda"] == search["chosen"] for p in points]
    judged = points[0]["accuracy"] is not None
    y = numbers([p["accuracy" if judged else "distance"] for p in points])
    main = panel(280, x="1/λ", y="accuracy" if judged else "distance to the rate outputs")
    if judged:
        main.y_range = models.Range1d(min([0.45, *(p["interval"][0] - 0.03 for p in points)]), 1.03)
        _whiskers(main, at, [p["interval"] for p in points])
    main.line(at, y, color=RATE, line_width=1.5)
    main.scatter(at, y, size=7, color=[LOSS if c else RATE for c in chosen])
    rate = panel(280, x="1/λ", y="mean rate (spikes/s per unit)")
    rate.line(at, [p["mean_rate_hz"] for p in points], color=RATE, line_width=1.5)
    rate.scatter(at, [p["mean_rate_hz"] for p in points], size=7, color=[LOSS if c else RATE for c in chosen])
    rate.y_range.start = 0
    return [main, rate]


def ladder_figures(steps: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The waterfall of accuracy, from the rate model at the top down, and the error of the outputs beside it."""
    names = [f"{i} {plain(s['step'])}" for i, s in enumerate(steps)]
    names = [name if len(name) <= 26 else name[:25] + "…" for name in names]
    rows = models.FactorRange(factors=names[::-1])
    height = 90 + 34 * len(names)
    here = [float(s["accuracy"]) for s in steps]
    above = [0.0, *here[:-1]]
    colour = [RATE, *(LOSS if b < a else GAIN for a, b in pairwise(here))]
    low = min([0.45, *(s["interval"][0] - 0.03 for s in steps)])
    fall = panel(height, x="accuracy", y_range=rows, x_range=models.Range1d(low, 1.02))
    fall.hbar(y=names[:1], left=low, right=here[:1], height=0.5, color=RATE, fill_alpha=0.35, line_color=None)
    fall.hbar(y=names[1:], left=above[1:], right=here[1:], height=0.5, color=colour[1:], line_color=None)
    source = models.ColumnDataSource({"y": names, "low": [s["interval"][0] for s in steps],
                               "high": [s["interval"][1] for s in steps]})  # fmt: skip
    whisker = models.Whisker(base="y", lower="low", upper="high", source=source, dimension="width", line_color=INK)
    for head in (whisker.upper_head, whisker.lower_head):
        head.size = 7
        head.line_color = INK
    fall.add_layout(whisker)
    fall.scatter(here, names, size=7, color=INK)
    fall.segment(x0=here[:-1], x1=here[:-1], y0=names[:-1], y1=names[1:], color="#b5bbc0", line_dash="dotted")
    error = panel(height, x="error of the outputs (rms)", y_range=rows)
    error.hbar(y=names, left=0, right=numbers([s["output_rms"] for s in steps]), height=0.5, color=RATE, fill_alpha=0.6,
               line_color=None)  # fmt: skip
    error.x_range.start = 0
    for p in (fall, error):
        p.ygrid.grid_line_color = None
    return [fall, error]


def output_figures(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each label and output: {"label": index in `traces.labels`, "output": its index, "figure"}."""
    traces, events = found["traces"], found["events"]
    colour = colours(found["levels"])
    n_outputs = len(traces["labels"][0]["target"])
    x = time_range(events)
    figures = []
    for output in range(min(n_outputs, OUTPUTS)):
        y = _span_of(traces["labels"], output)
        for i, label in enumerate(traces["labels"]):
            p = panel(250, x="time (s)", y=f"output {output}" if n_outputs > 1 else "output", x_range=x, y_range=y)
            mark_events(p, events)
            singles = [s for s in traces["single"] if s["label"] == label["label"]]
            _lines(p, label["levels"], singles, output, float(traces["dt"]), colour)
            target = numbers(label["target"][output])
            p.line(_times(len(target), traces["dt"]), target, color=TARGET, line_width=2, line_dash="dashed")
            figures.append({"label": i, "output": output, "figure": p})
    return figures


def _lines(
    p: Any, bands: Mapping[str, Any], singles: Sequence[Mapping[str, Any]], output: int, dt: float,
    colour: Mapping[str, str],
) -> None:  # fmt: skip
    """Of every level the mean over trials, mean +- sd, and single trials as thin lines.

    All lines of a kind are one glyph: a page opens the faster the fewer there are. A level in front is thinner, so
    that equal ones are all seen.
    """
    ink = [colour[name] for name in bands]
    mean, sd = ([np.array(numbers(band[key][output])) for band in bands.values()] for key in ("mean", "sd"))
    t = [_times(len(m), dt) for m in mean]
    finite = [np.isfinite(m) & np.isfinite(s) for m, s in zip(mean, sd, strict=True)]  # a patch ends at what is none
    p.patches(
        [np.concatenate([x[f], x[f][::-1]]) for x, f in zip(t, finite, strict=True)],
        [np.concatenate([(m - s)[f], (m + s)[f][::-1]]) for m, s, f in zip(mean, sd, finite, strict=True)],
        fill_color=ink, fill_alpha=0.18, line_color=None,
    )  # fmt: skip
    alone = [(colour[name], numbers(s["levels"][name]["outputs"][output])) for name in bands for s in singles]
    p.multi_line([_times(len(v), dt) for _, v in alone], [v for _, v in alone], line_color=[c for c, _ in alone],
                 line_alpha=0.35, line_width=0.8)  # fmt: skip
    widths = [1.5 + 1.2 * (len(ink) - 1 - k) for k in range(len(ink))]
    p.multi_line(t, mean, line_color=ink, line_width=widths)


def _span_of(labels: Sequence[Mapping[str, Any]], output: int) -> Any:
    """From the lowest to the highest of every band and target."""
    values = [
        np.array(numbers(band["mean"][output])) + sign * np.array(numbers(band["sd"][output]))
        for label in labels for band in label["levels"].values() for sign in (-1, 1)
    ]  # fmt: skip
    values += [np.array(numbers(label["target"][output])) for label in labels]
    everything = np.concatenate(values)
    everything = everything[np.isfinite(everything)]
    low, high = (float(everything.min()), float(everything.max())) if everything.size else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.5
    return models.Range1d(low - margin, high + margin)


def _times(n: int, dt: float) -> Any:
    """Sample j is at the end of its step, (j + 1) dt."""
    return (np.arange(n) + 1) * dt


def _whiskers(p: Any, at: Sequence[float], intervals: Sequence[Sequence[float]]) -> None:
    source = models.ColumnDataSource({"x": at, "low": [i[0] for i in intervals], "high": [i[1] for i in intervals]})
    whisker = models.Whisker(base="x", lower="low", upper="high", source=source, line_color="#8a9299")
    for head in (whisker.upper_head, whisker.lower_head):
        head.size = 8
        head.line_color = "#8a9299"
    p.add_layout(whisker)
