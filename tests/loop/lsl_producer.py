"""A foreign LSL sender, as a test wants it: no count, stamps of its own, samples left out, or another format.

    lsl_producer.py '{"source_id": ..., "format": 2, "channels": 3, "rate": 1000, "stamps": [...]}'

name: of the stream, "foreign" if not said.

It waits for a consumer, sends a sample per stamp (its channels hold the index), says "sent", and stays until its input
ends.
"""

from __future__ import annotations

import json
import sys

import pylsl


def main() -> None:
    asked = json.loads(sys.argv[1])
    info = pylsl.StreamInfo(
        asked.get("name", "foreign"),
        "EEG",
        asked["channels"],
        asked["rate"],
        asked.get("format", pylsl.cf_double64),
        asked["source_id"],
    )
    outlet = pylsl.StreamOutlet(info)
    print(json.dumps({"there": True}), flush=True)
    if not outlet.wait_for_consumers(60):
        sys.exit("nobody listens")
    base = pylsl.local_clock()
    rows = asked.get("rows")
    for i, stamp in enumerate(asked["stamps"]):
        outlet.push_sample([float(i)] * asked["channels"] if rows is None else rows[i], base + stamp)
    print(json.dumps({"sent": len(asked["stamps"])}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
