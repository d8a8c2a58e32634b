"""A ladder in one sentence: which step cost most, and what would buy it back."""

from __future__ import annotations

from spikeport.convert.attribution.ladder import Ladder, Restored, Rung, cost
from spikeport.convert.attribution.steps import FINETUNING

SURE = 0.05  # p of the paired test above which a step's cost in accuracy may be chance
CLEAR = 0.1  # share by which the outputs' error must grow to be worth a word

SPIKING, OWN = "spiking at all", "the target's own arithmetic"
BUYS_BACK = {
    FINETUNING: "the calibrated network, without the fine-tuning (spikeport convert --method calibrated)",
    SPIKING: "spikeport convert --method calibrated, or another lambda (--trials 1000)",
    "integrator": "a target with the integrator that it was converted for (spikeport check)",
    "dt": "a shorter step, or a conversion at this one (spikeport convert --dt)",
    "dt: noise per step": "noise scaled with sqrt(dt), a shorter step, or a conversion at this one",
    "synapse": "a target with the synapse's own shape (spikeport check --all-targets)",
    "membrane": "the membrane that it was converted for, or a conversion with this one",
    "refractory": "a shorter refractory period",
    "reset": "the reset that it was converted for",
    "noise": "the noise that it was converted for: its sd per step grows with sqrt(dt)",
    "initial v": "the initial v that it was converted for",
    "delay": "a target with shorter delays (spikeport check --all-targets)",
    "inputs": "inputs that change when it was converted for them to change",
    "weights": "more bits for the weights",
    "single precision": "--dtype float64",
    "undeclared": "the model's own weights and time constants: the file differs from them and does not say why",
    OWN: "what its own arithmetic lacks: the remainder says where it differs, a chip's losses say what it rounds",
}


def sentence(ladder: Ladder) -> str:
    """The step that cost most accuracy, if one did for sure; else the one that cost most of the output; else none."""
    n = ladder.bottom.measured.right.size
    trials = f"{n} {'trial' if n == 1 else 'trials'}"
    costly = [r for r in ladder.rungs[1:] if r.against_above and r.against_above.p < SURE and _difference(r) < 0]
    whole = cost(ladder.rungs[0].measured, ladder.bottom.measured)
    if costly and not (whole.p < SURE and whole.difference < 0):
        worst = min(costly, key=_difference)
        back = max(ladder.rungs[ladder.rungs.index(worst) + 1 :], key=_difference, default=None)
        said = f"From the top to the last level no accuracy is lost that {trials} can show. On the way {_what(worst)}"
        said += f" costs {_by(ladder, worst)}"
        return f"{said}, and {back.name} gives it back ({_by(ladder, back)})." if back else f"{said}."
    if not costly:
        return _of_the_output(ladder, f"No step costs accuracy that {trials} can show") or (
            f"No step costs anything that {trials} can show."
        )
    worst = min(costly, key=_difference)
    said = f"{_what(worst)} costs most: accuracy {_by(ladder, worst)}. {_remedy(ladder, worst)}"
    if worst.name == SPIKING:
        first = "No later step costs accuracy that is more than chance" if len(costly) == 1 else ""
        after = _of_the_output(ladder, first)
        said += f" {after}" if after else ""
    return said


def _of_the_output(ladder: Ladder, before: str) -> str:
    """Which of the steps after the first costs most of the output, if one does."""
    errors = [r.measured.output_rms for r in ladder.rungs]
    grown = [(here - above, r) for above, here, r in zip(errors[1:], errors[2:], ladder.rungs[2:], strict=False)]
    by, worst = max(grown, key=lambda pair: pair[0], default=(0.0, ladder.rungs[-1]))
    if not by > CLEAR * errors[1]:
        return ""
    return (
        f"{before}{'; ' if before else ''}{_what(worst)} costs most of the output: its error (rms) grows by {by:.3g}, "
        f"to {worst.measured.output_rms:.3g}. {_remedy(ladder, worst)}"
    )


def _difference(rung: Rung) -> float:
    return 0.0 if rung.against_above is None else rung.against_above.difference


def _what(rung: Rung) -> str:
    return f"{rung.name} ({rung.what})" if rung.what else rung.name


def _by(ladder: Ladder, rung: Rung) -> str:
    above = ladder.rungs[ladder.rungs.index(rung) - 1]
    found = rung.against_above
    assert found is not None
    low, high = found.interval
    return (
        f"{above.measured.accuracy:.3f} -> {rung.measured.accuracy:.3f} "
        f"({found.difference:+.3f} [{low:+.3f}, {high:+.3f}], p {found.p:.2g})"
    )


def _remedy(ladder: Ladder, worst: Rung) -> str:
    """What undoing it alone would give, what undoing another would, if that is more; and how."""
    mine = next((r for r in ladder.restored if r.name.startswith(worst.name)), None)
    said = ""
    if mine is not None:
        said = f"Undone alone, the last level has {_accuracy(mine)}. "
        best = max(ladder.restored, key=lambda r: r.measured.accuracy)
        if best is not mine and _low(best) > mine.measured.accuracy:
            said += f"Losses interact: undoing {best.name} instead gives {_accuracy(best)}. "
    return f"{said}What would buy it back: {BUYS_BACK.get(worst.name, 'a target that needs no such step')}."


def _low(restored: Restored) -> float:
    low: float = restored.measured.as_dict()["interval"][0]
    return low


def _accuracy(restored: Restored) -> str:
    low, high = restored.measured.as_dict()["interval"]
    return f"{restored.measured.accuracy:.3f} [{low:.3f}, {high:.3f}]"
