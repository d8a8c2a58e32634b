"""Which connections of a loop are the feedback ones: NIR does not say, and a step needs to know.

The NIR reference computes neurons in the order in which the signal meets them, and a spike that goes back acts in the
next step. A connection a -> b goes back where every way from the inputs to a leads through b. In a loop that can be
entered at one place only, this settles every order; a loop that can be entered at two places has two meanings, and is
refused. A loop with a Delay of a step or more needs no such rule, and gets none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

Edge = tuple[str, str]


def feedback(
    nodes: Sequence[str], entered: Collection[str], instant: Iterable[Edge], all_edges: Iterable[Edge]
) -> tuple[set[Edge], list[list[str]]]:
    """(edges that act a step later, loops that stay ambiguous).

    entered: nodes that an input reaches; instant: edges without delay; all_edges: with those that have one.
    """
    instant = set(instant)
    back = {(a, b) for a, b in instant if a == b}
    after: dict[str, set[str]] = {name: set() for name in nodes}
    led_to = set(entered)
    for a, b in all_edges:
        after[a].add(b)
        led_to |= {b} if a != b else set()
    roots = {*entered, *(name for name in nodes if name not in led_to)}
    met = _reached(roots, after, without=None)
    for loop in _loops(nodes, instant - back):
        inside = {(a, b) for a, b in instant - back if a in loop and b in loop}
        for head in sorted(loop & met):
            tails = {a for a, b in inside if b == head}
            back |= {(a, head) for a in tails - _reached(roots - {head}, after, without=head)}
    ambiguous = [sorted(loop) for loop in _loops(nodes, instant - back)]
    return back, ambiguous


def _reached(roots: Collection[str], after: dict[str, set[str]], without: str | None) -> set[str]:
    """What can be reached from `roots` when the node `without` is taken away."""
    found, todo = set(roots), list(roots)
    while todo:
        new = {b for b in after[todo.pop()] if b != without} - found
        found |= new
        todo += new
    return found


def _loops(nodes: Sequence[str], edges: Collection[Edge]) -> list[set[str]]:
    """Strongly connected components of two nodes or more (Tarjan 1972, without recursion)."""
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in sorted(edges):
        after[a].append(b)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[set[str]] = []
    for start in nodes:
        work = [(start, iter(after[start]))] if start not in index else []
        while work:
            name, rest = work[-1]
            if name not in index:
                index[name] = low[name] = len(index)
                stack.append(name)
                on_stack.add(name)
            for b in rest:
                if b not in index:
                    work.append((b, iter(after[b])))
                    break
                if b in on_stack:
                    low[name] = min(low[name], index[b])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    at = stack.index(name)
                    component = set(stack[at:])
                    del stack[at:]
                    on_stack -= component
                    found += [component] if len(component) > 1 else []
    return found
