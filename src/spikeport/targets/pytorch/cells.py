"""What SpikingModule asks of a library's neuron: membrane, spike, reset, and a surrogate gradient of the spike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from spikeport.targets.tables import PopulationStep


class Cell(Protocol):
    """A library's neuron for one population of threshold 1 and reset 0; all tensors are (batch, n).

    gain: (n,) or None for 1; drive, v and noise come to the cell as drive * gain, so that it may want another scale.
    """

    @property
    def gain(self) -> Tensor | None: ...

    def step(self, drive: Tensor, v: Tensor, free: Tensor | None, given: bool) -> tuple[Tensor, Tensor]:
        """(z, v after the reset), from v = A v + drive / gain.

        Where free is given and False, drive is v itself plus noise * gain, and v becomes v + noise instead.
        given: v comes from outside, so that it may be above the threshold.
        """
        ...

    def before_reset(self, drive: Tensor, v: Tensor, free: Tensor | None) -> Tensor:
        """v as it is before the reset, from the same."""
        ...

    def finish(self) -> None:
        """Forget whatever the library keeps of the last step."""
        ...


MakeCell = Callable[[PopulationStep], Cell]
