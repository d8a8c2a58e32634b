"""The page of a validation, made from its JSON alone: text, figures and the JSON itself in one file.

Each number in the text carries `data-path`, its place in the JSON, keys joined by dots ("\\." is a dot of a key's own),
and `data-format`. Nothing is fetched when the page is opened: Bokeh's code is in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.embed import components
from bokeh.resources import Resources
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from spikeport.convert.report.activity import INPUTS, activity
from spikeport.convert.report.curves import OUTPUTS, ladder_figures, output_figures, search_figures
from spikeport.convert.report.population import rate_distribution, trajectory_figure, unit_figures
from spikeport.convert.report.style import EVENT, EXC, INH, WINDOW, colours

_FOLDER = Path(__file__).parent
_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # no text can end the element that holds the JSON


def page(found: Mapping[str, Any]) -> str:
    """One HTML file. found: what `spikeport validate --json` prints (ValidationResult.as_dict)."""
    found = {"why": None, **found}
    figures = _Figures()
    context = {
        "found": found,
        "colour": colours(found["levels"]),
        "palette": {"exc": EXC, "inh": INH, "event": EVENT, "window": WINDOW, "inputs": INPUTS},
        "activity": _activity(found, figures),
        "outputs": [f | {"figure": figures.add(f["figure"])} for f in output_figures(found)],
        "outputs_drawn": OUTPUTS,
        "search": [figures.add(f) for f in search_figures(found["search"])] if found["search"] else [],
        "ladders": {
            name: [figures.add(f) for f in ladder_figures(ladder["steps"])]
            for name, ladder in (found["why"] or {"ladders": {}})["ladders"].items()
        },
        "units": {name: [figures.add(f) for f in unit_figures(found, name)] for name in found["free_running"]},
        "rate_distribution": figures.add(rate_distribution(found)),
        "trajectories": {name: figures.add(trajectory_figure(found, name)) for name in found["free_running"]},
        "num": _Numbers(found),
    }
    document = Document()
    with document.models.freeze():  # one look at all of the models, not one after each figure: 21 of them took 11 s
        for model in figures.models.values():
            document.add_root(model)
    script, divs = components(figures.models)
    made = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters["seconds"] = _seconds
    return made.get_template("page.html").render(
        **context,
        divs={name: Markup(div) for name, div in divs.items()},
        figures_script=Markup(script),
        bokeh=Markup(Resources(mode="inline", components=["bokeh"]).render_js()),
        css=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        data=Markup(_json(found)),
    )


class _Figures:
    """Bokeh's models by a name of their own."""

    def __init__(self) -> None:
        self.models: dict[str, Any] = {}

    def add(self, model: Any) -> str:
        name = f"f{len(self.models)}"
        self.models[name] = model
        return name


def _activity(found: Mapping[str, Any], figures: _Figures) -> list[dict[str, Any]]:
    return [
        {
            "trial": part["trial"],
            "inputs": figures.add(part["inputs"]),
            "r": figures.add(part["r"]),
            "levels": {name: figures.add(figure) for name, figure in part["levels"].items()},
        }
        for part in activity(found)
    ]


class _Numbers:
    """num(path, format): a number of the JSON as text that says where it is."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found

    def __call__(self, path: Sequence[str | int], form: str = "", none: str = "–") -> Markup:
        value: Any = self.found
        for key in path:
            value = value[key]
        name = ".".join(str(key).replace(".", "\\.") for key in path)
        text = none if value is None else format(value, form).replace("-", "−") if form else _plain(value)
        return Markup('<span class="num" data-path="{}" data-format="{}">{}</span>').format(name, form, text)


def _plain(value: Any) -> str:
    """A value as a person would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value) or "none"


def _seconds(span: Sequence[float | None]) -> str:
    start, end = span
    return f"{start:g} s to the end" if end is None else f"{start:g} to {end:g} s"


def _json(found: Mapping[str, Any]) -> str:
    """Strict JSON that can stand in a script element."""
    text = json.dumps(_finite(found), allow_nan=False, separators=(",", ":"))
    for mark, code in _SCRIPT.items():
        text = text.replace(mark, code)
    return text


def _finite(value: Any) -> Any:
    """What is no finite number is null, as `--json` has it."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
