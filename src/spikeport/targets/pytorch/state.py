"""What a SpikingModule carries from one block of steps to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PopulationState:
    """v: (batch, n), (v - v_reset) / (v_threshold - v_reset), so the threshold is 1.  left: (batch, n) int64, steps for
    which a unit is still refractory.  x: the states of each synapse.  past: (batch, n), its last spikes, newest last.
    """

    v: Tensor
    left: Tensor
    x: tuple[tuple[Tensor, ...], ...]
    past: tuple[Tensor, ...]


@dataclass(frozen=True)
class State:
    """populations by name; inputs: the last rows (time, batch, n) of each delayed spike input; readouts: their filters.

    given: v comes from outside and may be above the threshold.
    """

    populations: Mapping[str, PopulationState]
    inputs: Mapping[str, Tensor]
    readouts: Mapping[str, tuple[Tensor, ...]]
    given: bool = False

    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor, in an order that depends on the network only."""
        return tuple(self._each())

    def _each(self) -> Iterator[Tensor]:
        for p in self.populations.values():
            yield p.v
            yield p.left
            for x in p.x:
                yield from x
            yield from p.past
        yield from self.inputs.values()
        for r in self.readouts.values():
            yield from r

    def replaced(self, tensors: tuple[Tensor, ...]) -> State:
        """The same with other tensors, in the order of `tensors()`."""
        rest = iter(tensors)
        populations = {
            name: PopulationState(
                v=next(rest), left=next(rest), x=tuple(tuple(next(rest) for _ in x) for x in p.x),
                past=tuple(next(rest) for _ in p.past),
            )
            for name, p in self.populations.items()
        }  # fmt: skip
        inputs = {name: next(rest) for name in self.inputs}
        readouts = {name: tuple(next(rest) for _ in r) for name, r in self.readouts.items()}
        return State(populations, inputs, readouts, self.given)

    def detach(self) -> State:
        """Cut the gradient here, for truncated back-propagation through time."""
        return self.replaced(tuple(t.detach() for t in self.tensors()))
