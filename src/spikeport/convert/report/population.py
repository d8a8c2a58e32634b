"""Figures of the units and of the population as a whole: who follows its rate, how fast units fire, where it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spikeport.convert.report.style import EXC, INH, RATE, colours, models, numbers, panel

DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot", "solid")  # of labels, in their order


def unit_figures(found: Mapping[str, Any], level: str) -> list[Any]:
    """Mean lambda s over mean r; correlation over rate; the distribution of rates."""
    units = found["units"]
    mine, mean_r = units["levels"][level], numbers(units["mean_r"])
    lambda_s = numbers(mine["mean_lambda_s"])
    follow = panel(300, x="rate model: mean r", y="spikes: mean λs")
    finite = [v for v in (*mean_r, *lambda_s) if np.isfinite(v)] or [0.0, 1.0]
    ends = [min(finite), max(finite)]
    follow.line(ends, ends, color="#9aa1a7", line_dash="dashed")
    _scatter(follow, units["kinds"], mean_r, lambda_s, ("mean r", "mean λs"))
    correlate = panel(300, x="spikes/s", y="correlation of λs with r")
    correlate.y_range = models.Range1d(min([-0.05, *(v - 0.05 for v in mine["correlation"] if v is not None)]), 1.05)
    fastest = max((v for v in mine["rate_hz"] if v is not None), default=0.0)
    correlate.x_range = models.Range1d(0.0, 1.05 * fastest if fastest > 0 else 1.0)  # where no unit has a correlation
    _scatter(correlate, units["kinds"], numbers(mine["rate_hz"]), numbers(mine["correlation"]), ("spikes/s", "corr."))
    rates = units["distributions"]["rate_hz"]
    return [follow, correlate, _distribution(rates["edges"], rates["counts"][level], "spikes/s")]


def rate_distribution(found: Mapping[str, Any]) -> Any:
    """The distribution of the rate model's mean r."""
    r = found["units"]["distributions"]["r"]
    return _distribution(r["edges"], next(iter(r["counts"].values())), "rate model: mean r")


def trajectory_figure(found: Mapping[str, Any], level: str) -> Any:
    """The label means among the first two components of the rate model's; over time where there is one component."""
    paths = found["trajectories"]
    colour = colours(found["levels"])
    pair = ((paths["rate"], RATE, 3.0), (paths["levels"][level]["spiking"], colour[level], 1.6))
    flat = not paths["rate"] or len(paths["rate"][0]) < 2
    p = panel(330, x="time (s)" if flat else "component 1", y="component 1" if flat else "component 2")
    lines: dict[str, list[Any]] = {"xs": [], "ys": [], "ink": [], "width": [], "dash": []}
    for labels, ink, width in pair:
        for i, path in enumerate(labels):
            first = numbers(path[0])
            lines["xs"].append(list((np.arange(len(first)) + 1) * paths["dt"]) if flat else first)
            lines["ys"].append(first if flat else numbers(path[1]))
            lines["ink"].append(ink)
            lines["width"].append(width)
            lines["dash"].append(DASHES[i % len(DASHES)])
    p.multi_line("xs", "ys", source=lines, line_color="ink", line_width="width", line_dash="dash", line_alpha=0.85)
    for end, marker, size in ((0, "circle", 8), (-1, "triangle", 9)):
        at = [[values[end] for values in lines[key]] for key in ("xs", "ys")]
        p.scatter(at[0], at[1], marker=marker, size=size, fill_color=lines["ink"], line_color=lines["ink"])
    return p


def _scatter(
    p: Any, kinds: Mapping[str, Sequence[int]], x: Sequence[float], y: Sequence[float], names: tuple[str, str]
) -> None:
    """A point a unit, by kind, with its number on hover."""
    for kind, colour in (("exc", EXC), ("inh", INH)):
        units = [u for u in kinds[kind] if np.isfinite(x[u]) and np.isfinite(y[u])]
        at = {"x": [x[u] for u in units], "y": [y[u] for u in units], "unit": units}
        p.scatter("x", "y", source=at, size=6, color=colour, fill_alpha=0.55, line_color=None)
    p.add_tools(models.HoverTool(tooltips=[("unit", "@unit"), (names[0], "@x{0.000}"), (names[1], "@y{0.000}")]))


def _distribution(edges: Sequence[float], counts: Mapping[str, Sequence[int]], x: str) -> Any:
    """Units per bin, inhibitory on top of excitatory."""
    p = panel(300, x=x, y="units")
    exc, inh = np.array(counts["exc"]), np.array(counts["inh"])
    p.quad(left=edges[:-1], right=edges[1:], bottom=0, top=exc, color=EXC, fill_alpha=0.75, line_color="#ffffff")
    p.quad(left=edges[:-1], right=edges[1:], bottom=exc, top=exc + inh, color=INH, fill_alpha=0.75,
           line_color="#ffffff")  # fmt: skip
    p.y_range.start = 0
    return p
