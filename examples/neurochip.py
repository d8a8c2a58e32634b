"""Each spike of a recorded unit stimulates another site, 20 ms later, through the guard: with blanking and without.

After Jackson, Mavoori & Fetz, Nature 444, 2006. The recorded site sees each stimulus as one more spike. With 5 ms of
blanking that does no harm; without, each stimulus triggers the next, and the guard's limit on the rate is what holds.
All simulated, on a virtual clock; the limits below are made up, and protect nobody. The picture: neurochip.svg.
"""

from pathlib import Path

import numpy as np

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.guard.commands import Pulse
from spikeport.loop.guard.limits import Limits
from spikeport.loop.guard.station import Station
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.loop.loop import Loop
from spikeport.loop.neurochip import StationSink, Tissue, Trigger, triggered
from spikeport.loop.policies import Policy

MS = 1e-3
SECONDS, DELAY, RATE_LIMIT = 60, 20 * MS, 40
PULSE = Pulse.symmetric("stim", polarity="cathodic first", amplitude_uA=20, width_us=200, interphase_us=50)
LIMITS = Limits(  # every one must be said
    area_um2={"stim": 2000}, amplitude_uA=30, phase_charge_nC=6, charge_density_uC_per_cm2=300, shannon_k=1,
    imbalance_fraction=0, net_charge_nC=0, rate_hz=RATE_LIMIT, rate_window_s=1, blanking_us=500, blanking_all_us=None,
    simultaneous_sites=1, train_pulses=1, window_charge_nC=1000, charge_window_s=1, session_charge_nC=1e6, late_us=100,
)  # fmt: skip
WATCH = WatchLimits(heartbeat_timeout_us=5000, clock_jump_us=1000, lateness_us=500, missed_deadlines=3)


def run(blanking):
    """SECONDS of the experiment: own spikes and stimuli in s, and the sink."""
    clock = VirtualClock()
    tissue = Tissue([6.0], seed=3, artefact=1 * MS, n_periods=round(SECONDS / MS), keep=1_000_000)
    station = Station(LIMITS, WATCH, now_ns=clock.now_ns, record=lambda *_, **__: None, device=tissue)
    station.person("arm", by="the author of this example")
    sink = StationSink(station, lambda output: [PULSE] if output.values[0] else [])
    policy = Policy(lost="skip", overload="all", lost_after=100, good=1, safe=(0.0,))
    Loop(tissue, Trigger(1, unit=0, delay=DELAY, blanking=blanking), sink, clock, policy, period=MS).run()
    spikes = (np.flatnonzero(tissue.spikes[:, 0]) + 1) * MS
    return spikes, np.array([at for at, _ in tissue.pulses]) / 1e9, sink


panels = []
for name, blanking in (("5 ms of blanking", 5 * MS), ("no blanking", 0.0)):
    spikes, stimuli, sink = run(blanking)
    lags, rate = triggered(spikes, stimuli, before=0.05, after=0.15, width=MS)
    refused = ", ".join(f"{n} refused for {limit}" for limit, n in sink.refusals.items()) or "none refused"
    print(f"{name:17} {len(spikes)} spikes, {len(sink.answers)} stimuli asked for, {len(stimuli)} given, {refused}; "
          f"histogram's peak at {1000 * lags[np.argmax(rate)]:.0f} ms")  # fmt: skip
    busiest = max(np.searchsorted(stimuli, t + 1 - 1e-9) - k for k, t in enumerate(stimuli))
    print(f"{'':17} at most {busiest} stimuli in any second, limit {RATE_LIMIT}")
    assert busiest <= RATE_LIMIT
    panels.append((name, lags, rate))

# ---- the picture: stimuli around a spike
WIDTH, HEIGHT = 640, 180
parts = ['<rect width="100%" height="100%" fill="white"/>']
for k, (name, lags, rate) in enumerate(panels):
    floor, wide = (k + 1) * (HEIGHT + 40) - 20, WIDTH / len(lags)
    for i, height in enumerate(HEIGHT * rate / rate.max() * 0.85):
        where = f'x="{i * wide:.1f}" y="{floor - height:.1f}" width="{wide:.2f}" height="{height:.1f}"'
        parts.append(f'<rect {where} fill="#4477aa"/>')
    for lag in (-50, 0, 20, 40, 60, 100):
        x = (lag * MS - lags[0]) / MS * wide
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}" stroke="black"/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" font-family="sans-serif" font-size="11">{lag} ms</text>')
    text = f"{name}: stimuli/s around a spike, highest bin {rate.max():.0f}"
    parts.append(f'<text x="4" y="{floor - HEIGHT + 8}" font-family="sans-serif" font-size="13">{text}</text>')
size = f'width="{WIDTH}" height="{2 * (HEIGHT + 40)}"'
svg = "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *parts, "</svg>"])
Path("neurochip.svg").write_text(svg, encoding="utf-8")
print("wrote neurochip.svg")
