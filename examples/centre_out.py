"""A simulated subject moves a cursor through three decoders: a Kalman filter, a linear read-out, a spiking network.

96 units fire as cosines of the velocity that the subject intends; the decoder's output moves the cursor; the subject
sees it 100 ms later. The spiking network was trained as a rate network, then converted (benchmarks/train_decoder.py);
the rate network runs in its shadow. On a virtual clock, so every run is the same. The picture: centre_out.svg.
"""

from pathlib import Path

import numpy as np

from spikeport.loop.clocks import VirtualClock
from spikeport.loop.decoders.rate import RateDecoder
from spikeport.loop.decoders.shadow import Shadow
from spikeport.loop.decoders.spiking import SpikingDecoder
from spikeport.loop.kalman import KalmanDecoder, fit_kalman
from spikeport.loop.loop import Loop
from spikeport.loop.policies import Policy
from spikeport.loop.readout import LinearDecoder, Smoothed, Smoothing, fit_linear
from spikeport.loop.subject.assisted import assisted
from spikeport.loop.subject.metrics import Figures
from spikeport.loop.subject.subject import Subject, SubjectInLoop
from spikeport.resources import model_path
from spikeport.snn.files import load_rate_network, load_spiking_network

subject = Subject(delay=0.1)
period = subject.period

# Two decoders are fitted here, on 32 trials in which the cursor is moved for a subject without delay ...
data = assisted(Subject(delay=0.0), 32, seed=7)
kalman = KalmanDecoder(fit_kalman(data.counts, data.velocity, data.trial, period=period))
linear = LinearDecoder(fit_linear(data.counts, data.velocity, data.trial, period=period, tau=0.1, ridge=1.0))

# ... the third comes trained and converted.
rate = load_rate_network(model_path("cursor-rate", "decoders"))
network = load_spiking_network(model_path("cursor-spiking", "decoders"))
both = Shadow(SpikingDecoder(network, period=period), RateDecoder(rate, with_noise=False))
spiking = Smoothed(both, Smoothing.from_dict(rate.provenance["smoothing"]))

policy = Policy(lost="hold", overload="all", lost_after=50, good=3, safe=(0.0, 0.0))  # cm/s
panels = {}
for name, decoder in (("Kalman filter", kalman), ("linear read-out", linear), ("spiking network", spiking)):
    body = SubjectInLoop(subject, seed=1, n_trials=24, keep=True)  # source and sink of one loop: it is closed
    summary = Loop(body, decoder, body, VirtualClock(), policy, period=period).run()
    figures = Figures.of(body.trials, subject.task)
    print(f"{name:16} {figures.successes} of {figures.trials} targets, {figures.time} s each, path efficiency "
          f"{figures.efficiency}, {figures.bit_rate} bits/s")  # fmt: skip
    panels[name] = body
    assert figures.success.value > 0.9, "the cursor is under control"
said = summary.decoder["shadow"]
print(f"the rate network in the shadow says the same: correlation {np.round(said['correlation'], 3).tolist()}")

# ---- the picture: one panel a decoder, one colour a target
COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#000000")
SIZE, SCALE = 300, 12  # pixels of a panel, and of a cm


def panel(title, body, left):
    """SVG of the paths in one session."""
    parts = [f'<text x="{left + SIZE / 2}" y="20" text-anchor="middle" font-family="sans-serif">{title}</text>']
    for k, (x, y) in enumerate(body.subject.task.targets()):
        parts.append(
            f'<circle cx="{left + SIZE / 2 + SCALE * x:.1f}" cy="{SIZE / 2 + 20 - SCALE * y:.1f}" '
            f'r="{SCALE * body.subject.task.radius}" fill="{COLOURS[k]}" fill-opacity="0.2"/>'
        )
    for trial, path in zip(body.trials, body.paths, strict=True):
        points = " ".join(f"{left + SIZE / 2 + SCALE * x:.1f},{SIZE / 2 + 20 - SCALE * y:.1f}" for x, y in path)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[trial.target]}"/>')
    return parts


drawn = [part for k, (name, body) in enumerate(panels.items()) for part in panel(name, body, k * SIZE)]
size = f'width="{SIZE * len(panels)}" height="{SIZE + 20}"'
svg = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', '<rect width="100%" height="100%" fill="white"/>', *drawn]
Path("centre_out.svg").write_text("\n".join([*svg, "</svg>"]), encoding="utf-8")
print("wrote centre_out.svg")
