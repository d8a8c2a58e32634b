"""The rounds of the closed loop: which one is best, and what the next one starts from.

Few spikes make rounds a matter of luck: a unit near its threshold fires or does not, and a network with two states is
in the one or the other. So a search does not follow its latest round, but starts again from the one with most to give:

    1  the first corrections come ALONE
    2  a round above the budget that would be clearly better than the best within, were its error only that of fewer
       spikes,  score sqrt(spikes / budget):  made again with 1/lambda smaller, the units' shape as it was
    3  the best round, where it spends too little of the budget or too much: made again for more spikes, or fewer
    4  the latest round, corrected, until GIVE_UP of them are no better
    5  the best round, as long as the outputs that it is to follow get more trials right than it does: corrected by less

right: over all calibration trials, those of the corrections too: what is wrong there is wrong. A round with SURE fewer
right than another is worse whatever its score; fewer than that is chance, and the score decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BETTER = 0.97  # of the best score so far: less is chance
SURE = 5  # trials: a sign test of so many to none is 3 %
GIVE_UP = 2  # rounds that are no better
LOOK = 2  # rounds that show whether a candidate may still be the best one
HOPE = 1.15  # of the score that the best one had after as many: of 30 runs on six networks none that was worse won
ALONE = 2  # corrections before 1/lambda moves: at few spikes the plain match is far off, and so is its rate
AIM = 0.93  # of the budget: where the next round's spikes should be
SPENT = (0.85, 0.98)  # of the budget: within, no round moves 1/lambda; above, other trials may spend more than it
# Times `rounds` at most, where the best one is not what it should be: 64 of 88 with few spikes hold .99, not 56.
MORE = 2
DAMPING = 0.4  # of a correction
_LESS = (DAMPING, DAMPING / 2, DAMPING / 4, DAMPING / 8)
_TRIES = 3  # of one round, to make it again with fewer spikes
_FACTOR = (0.5, 2.0)  # by which a round may change the spikes that are asked for
_FEWER = 0.95  # at most of what a round above the budget was asked for
_MOST_ASKED = 4.0  # budgets: units that are full spend no more, whatever they are asked for
_SILENT = 0.05  # of the budget: so few spikes say nothing of what more would give


@dataclass(frozen=True, kw_only=True)
class Round:
    """A run of the loop. score: see loop.py, with the read-out learned again where that helps; own_score: with the
    rate network's own; own_error: root mean square over units of their mean e; mean_error: of their mean r' - r,
    against the rate network; mean_rate_hz: spikes/s a unit on the calibration trials; expected_rate_hz: the same on
    many trials of the task; asked_hz: what the match was made for, if there is a budget; tau_out: s; right: of `judged`
    calibration trials, by the task's rule; goal: how many the outputs that it is to follow get right."""

    score: float
    own_score: float
    own_error: float
    mean_error: float
    mean_rate_hz: float
    expected_rate_hz: float
    asked_hz: float | None
    tau_out: float
    right: int
    judged: int
    goal: int

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Step:
    """Where a round comes from: the round `origin` (-1: the plain match), with so much of its correction, matched for
    asked_hz."""

    origin: int
    asked_hz: float
    damping: float


def over(made: Round, max_rate_hz: float) -> bool:
    """Does it spend more than other trials may have?"""
    return made.expected_rate_hz > SPENT[1] * max_rate_hz


def best_of(history: Sequence[Round], max_rate_hz: float) -> int:
    """The index of the best rank; of rounds whose scores differ by chance, one that spends SPENT of the budget. Where
    all are over the budget, that of the fewest spikes."""
    ranks = [_rank(r, history, max_rate_hz) for r in history]
    best = min(range(len(history)), key=lambda i: ranks[i])
    if ranks[best][0]:
        return min(range(len(history)), key=lambda i: history[i].expected_rate_hz)
    as_good = [
        i
        for i, r in enumerate(history)
        if BETTER * r.score <= history[best].score and ranks[i][1] == ranks[best][1] and _spends(r, max_rate_hz)
    ]
    return min(as_good or [best], key=lambda i: history[i].score)


def is_better(made: Round, history: Sequence[Round], max_rate_hz: float) -> bool:
    """By more than chance than all before."""
    every = (*history, made)
    too_many, fewer, best = min((_rank(r, every, max_rate_hz) for r in history), default=(True, True, np.inf))
    return _rank(made, every, max_rate_hz) < (too_many, fewer, BETTER * best)


def satisfied(history: Sequence[Round], max_rate_hz: float) -> bool:
    """Is the best round as right as what it follows, and none above the budget clearly better?"""
    best = history[best_of(history, max_rate_hz)]
    return best.right >= best.goal and not promising(history, max_rate_hz)


def promising(history: Sequence[Round], max_rate_hz: float) -> list[int]:
    """Rounds above the budget that would be clearly better than the best within it; see the module. The best first."""
    best = history[best_of(history, max_rate_hz)]
    none_within = over(best, max_rate_hz)

    def hoped(made: Round) -> float:
        return float(made.score * np.sqrt(max(made.expected_rate_hz / (AIM * max_rate_hz), 1.0)))

    def better(made: Round) -> bool:
        surely = made.right >= best.right + SURE
        return none_within or surely or (made.right > best.right - SURE and HOPE * hoped(made) < best.score)

    found = [i for i, r in enumerate(history) if over(r, max_rate_hz) and better(r)]
    most = max((history[i].right for i in found), default=0)
    return sorted(found, key=lambda i: (history[i].right <= most - SURE, hoped(history[i])))


def next_step(history: Sequence[Round], steps: Sequence[Step], max_rate_hz: float, *, full: bool) -> Step | None:
    """What the next round starts from, or None: it would not help. See the module.

    steps: where each of `history` came from.  full: units are as fast as they can be, so none is asked for more.
    """
    last = len(history) - 1
    onward = Step(last, steps[last].asked_hz, DAMPING)
    if len(history) <= ALONE:
        return onward
    for j in promising(history, max_rate_hz):
        down = _down(j, history, steps, max_rate_hz)
        if down is not None:
            return down
    best = best_of(history, max_rate_hz)
    same = steps[best].asked_hz
    asked = same if full else asks(history, best, max_rate_hz)
    if asked != same and not any(s.origin == best and s.asked_hz == asked for s in steps):
        return Step(best, asked, DAMPING if best == last else 0.0)
    if _since_better(history, max_rate_hz) < GIVE_UP:
        return onward
    if history[best].right >= history[best].goal:
        return None
    tried = {s.damping for s in steps if s.origin == best and s.asked_hz == same}
    return next((Step(best, same, d) for d in _LESS if d not in tried), onward)


def asks(history: Sequence[Round], best: int, max_rate_hz: float) -> float:
    """Spikes/s a unit to make the next match for, after the best round; as it was where that spends the budget.

    The first corrections come ALONE: before them, units are not yet where they will be. Between one match that gave too
    few and one that gave too many, the geometric middle: rates do not grow in proportion where a network has two
    states. A network that is silent is asked for more than any silent one was.
    """
    asked = history[best].asked_hz
    if asked is None:
        return np.inf
    found = history[best].expected_rate_hz / max_rate_hz
    if SPENT[0] <= found <= SPENT[1] or len(history) <= ALONE:
        return asked
    if found <= _SILENT:
        silent = [r.asked_hz for r in history if r.expected_rate_hz <= _SILENT * max_rate_hz]
        asked = max(a for a in silent if a is not None)
    tried = [(r.asked_hz, r.expected_rate_hz / max_rate_hz) for r in history[ALONE:] if r.asked_hz is not None]
    few = max((a for a, share in tried if share < SPENT[0]), default=0.0)
    many = min((a for a, share in tried if share > SPENT[1]), default=np.inf)
    if 0 < few < many < np.inf:
        return float(np.sqrt(few * many))
    factor = AIM / found if found > 0 else _FACTOR[1]
    most = _MOST_ASKED * max_rate_hz if found > _SILENT else np.inf
    return min(asked * float(np.clip(factor, *_FACTOR)), most)


def hopeless(history: Sequence[Round], leader: Sequence[Round]) -> bool:
    """After LOOK rounds or more: is the best score worse than the leader's was by then, by HOPE, and no more right?"""
    if len(history) < LOOK:
        return False
    score, right = min(r.score for r in history), max(r.right for r in history)
    return score > HOPE * min(r.score for r in leader[: len(history)]) and right < max(r.right for r in leader) + SURE


def left_because(history: Sequence[Round], best: int, max_rate_hz: float, judged_on: str) -> str:
    """Why the best round spends less of the budget than it may, in words. judged_on: the trials of its score."""
    chosen = history[best]
    if max(r.expected_rate_hz for r in history) == 0:
        return "no unit fires in any round: budget, bracket or t_ref allow too few spikes, or the inputs drive none"
    more = [r for r in history if r.expected_rate_hz > chosen.expected_rate_hz]
    if not more:
        limits = "their step, t_ref and bracket"
        return f"no more was spent in any round: units are as fast as {limits} allow, or rounds ran out"
    within = [r for r in more if not over(r, max_rate_hz)]
    said = f"every round with more spikes spent more than {SPENT[1]:.0%} of the budget, which other trials may exceed"
    error = f"the output error on {judged_on}"
    if within:
        other = min(within, key=lambda r: r.score)
        said = f"with more spikes ({other.expected_rate_hz:.3g} spikes/s) {error} was "
        if other.score >= chosen.score:
            said += f"no smaller: {other.score:.3f}, here {chosen.score:.3f}"
        else:
            said += f"smaller ({other.score:.3f}, here {chosen.score:.3f}), but {other.right} of {other.judged} "
            said += f"calibration trials were right, here {chosen.right}"
    beyond = min((r for r in more if over(r, max_rate_hz)), key=lambda r: r.score, default=None)
    if beyond is None or beyond.score >= chosen.score:
        return said
    where = f"with more than {SPENT[1]:.0%} of the budget" if within else "there"
    above = f"{beyond.score:.3f}, at {beyond.expected_rate_hz:.3g} spikes/s, here {chosen.score:.3f}"
    return f"{said}; {where} {error} was {above}"


def _down(j: int, history: Sequence[Round], steps: Sequence[Step], max_rate_hz: float) -> Step | None:
    """Round j again, for fewer spikes: by what it spent too much; between a try that gave too many and one too few."""
    tries = [k for k, s in enumerate(steps) if s.origin == j and s.asked_hz < steps[j].asked_hz]
    if len(tries) >= _TRIES:
        return None
    spent = [k for k in tries if _spends(history[k], max_rate_hz)]
    few = [steps[k].asked_hz for k in tries if history[k].expected_rate_hz < SPENT[0] * max_rate_hz]
    many = [steps[k].asked_hz for k in (j, *tries) if over(history[k], max_rate_hz)]
    if spent:
        asked = steps[spent[-1]].asked_hz
    elif few and max(few) < min(many):
        asked = float(np.sqrt(max(few) * min(many)))
    else:
        lowest = min((j, *tries), key=lambda k: steps[k].asked_hz)
        share = AIM * max_rate_hz / max(history[lowest].expected_rate_hz, 1e-12)
        asked = steps[lowest].asked_hz * float(np.clip(share, _FACTOR[0], _FEWER))
    if j == len(history) - 1:
        return Step(j, asked, DAMPING)  # its correction comes along
    as_it_was = len(spent) == len(tries) > 0 and all(steps[k].damping == 0 for k in tries)
    return Step(j, asked, DAMPING / 2 if as_it_was else 0.0)


def _spends(made: Round, max_rate_hz: float) -> bool:
    return SPENT[0] * max_rate_hz <= made.expected_rate_hz <= SPENT[1] * max_rate_hz


def _rank(made: Round, history: Sequence[Round], max_rate_hz: float) -> tuple[bool, bool, float]:
    """Smaller is better: too many spikes are worse than SURE fewer right than another within the budget, that is worse
    than any score."""
    within = [r for r in (*history, made) if not over(r, max_rate_hz)]
    most = max((r.right for r in within), default=0)
    return over(made, max_rate_hz), made.right <= most - SURE, made.score


def _since_better(history: Sequence[Round], max_rate_hz: float) -> int:
    """Rounds since the last that was better than all before it."""
    better = [k for k in range(len(history)) if is_better(history[k], history[:k], max_rate_hz)]
    return len(history) - 1 - max(better, default=-1)
