"""What every figure shares: colours, fonts, frames, bands for events.

Colours: Okabe & Ito's palette, which the colour-blind can tell apart (jfly.uni-koeln.de/color, 2008).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from bokeh.plotting import figure

models: Any = import_module("bokeh.models")  # not `from`: its types leave out half of what is in it

EXC, INH = "#0072B2", "#D55E00"
RATE, LEVELS = "#555555", ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31")
LOSS, GAIN = "#D55E00", "#0072B2"
TARGET = "#111111"
EVENT, WINDOW = "#F0E442", "#9AA5B1"
INK, GRID = "#3b4248", "#e6e9ec"
FONT = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
LEFT, RIGHT = 58, 14  # px beside the frames: the same everywhere, so that time lines up


def colours(levels: Sequence[str]) -> dict[str, str]:
    """A colour for each level; the rate model, the first, is grey."""
    return {name: RATE if i == 0 else LEVELS[(i - 1) % len(LEVELS)] for i, name in enumerate(levels)}


def plain(text: object) -> str:
    """A text that Bokeh draws as it is: what it would take for a formula, and load MathJax for, is broken up."""
    found = str(text)
    for mark in ("$$", "\\[", "\\(", "\\begin"):
        found = found.replace(mark, " ".join(mark))
    return found


def panel(height: int, *, x: str = "", y: str = "", **ranges: Any) -> Any:
    """An empty figure in the house's style. ranges: x_range, y_range, and what else figure() takes."""
    p = figure(
        height=height, sizing_mode="stretch_width", min_border_left=LEFT, min_border_right=RIGHT, min_border_top=6,
        toolbar_location=None, tools="", x_axis_label=x or None, y_axis_label=y or None,
        background_fill_color="#ffffff", border_fill_color=None, outline_line_color=None, **ranges,
    )  # fmt: skip
    zoom = models.BoxZoomTool()
    p.add_tools(zoom)  # no toolbar: it costs a third of the time that a page takes to open
    p.toolbar.active_drag = zoom
    p.js_on_event("doubletap", models.CustomJS(args={"p": p}, code="p.reset.emit()"))
    p.grid.grid_line_color = GRID
    for axis in (*p.xaxis, *p.yaxis):
        axis.axis_line_color = axis.major_tick_line_color = "#9aa1a7"
        axis.minor_tick_line_color = None
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12px"
        axis.major_label_text_font_size = "11px"
        axis.axis_label_text_color = axis.major_label_text_color = INK
    return p


def time_range(events: Mapping[str, Any]) -> Any:
    """The whole trial."""
    return models.Range1d(0.0, float(events["duration_s"]))


def mark_events(p: Any, events: Mapping[str, Any], *, lines: bool = False) -> None:
    """Bands for the task's events and for the response window of spiking outputs; lines: edges only, over an image."""
    end = float(events["duration_s"])
    window = events["windows"].get("spiking")
    spans = [(span, EVENT, 0.30) for span in events["named"].values()]
    spans += [(window, WINDOW, 0.16)] if window else []
    for (start, stop), colour, alpha in spans:
        stop = end if stop is None else stop
        if lines:
            for edge in (start, stop):
                p.add_layout(models.Span(location=edge, dimension="height", line_color="#888888", line_dash="dotted"))
        else:
            band = {"fill_color": colour, "fill_alpha": alpha, "line_color": None, "level": "underlay"}
            p.add_layout(models.BoxAnnotation(left=start, right=stop, **band))


def numbers(values: Sequence[float | None]) -> list[float]:
    """For a figure: None becomes NaN, which Bokeh leaves out."""
    return [float("nan") if v is None else float(v) for v in values]
