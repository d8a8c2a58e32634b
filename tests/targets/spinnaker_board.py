"""Run an exported sPyNNaker script on a virtual board, and write down what the mapped machine holds.

    python spinnaker_board.py SCRIPT TRIAL OUT        in a folder with a spynnaker.cfg

Run in a process of its own, since sPyNNaker keeps its state in its modules. OUT (.npz) gets, of projection i, "w{i}"
(pre, post) as the tool read it back, "d{i}" its delays in ms; of population "p0", "p0.shifts" of the ring buffers.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

import numpy as np


def main(script: str, trial: str, out: str) -> None:
    import pyNN.spiNNaker as sim

    found: dict[str, Any] = {}
    run = sim.run

    def look(ms: float) -> None:
        """After the run: the script's own globals are two frames up."""
        run(ms)
        names = sys._getframe(1).f_globals
        for i, projection in enumerate(names["connected"]):
            for key, what in (("w", "weight"), ("d", "delay")):
                rows = np.array(projection.get([what], format="list"))
                found[f"{key}{i}"] = rows.reshape(-1, 3)
        for key, units in names["units"].items():
            if key.startswith("p"):
                found[f"{key}.shifts"] = np.array(units._vertex.get_ring_buffer_shifts())
        np.savez(out, **found)
        sys.exit(0)  # a virtual board has recorded nothing to read

    sim.run = look  # what the script will call
    sys.argv = [script, "--inputs", trial]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
