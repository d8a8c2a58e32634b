"""What a validation costs beside the simulation it validates: time, memory over trials, the page.

    python benchmarks/validate.py [MODEL] [--task go-nogo] [--inverse-lambda 30] [--targets engine] [--trials 20,100]

Each number of trials runs in a process of its own, compiled before the clock starts. `ratio` is the time of the whole
over that of its simulations (rate model, ideal network, targets), and must be below 3; `MB` is the process's peak,
which must not grow with the trials. `page` is the time to make the HTML file and its size, `opens` the time until
Chromium has drawn all of it (with playwright, where both are there).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from spikeport.resources import model_path

CASE = """
import cProfile, json, pstats, resource, sys, time
model, task, inverse_lambda, preset, targets, trials, folder = sys.argv[1:8]
from spikeport import load_source, transfer
from spikeport.convert.report.folder import write_report
from spikeport.validation import validate_network
source = load_source(model)
network = transfer(source, float(inverse_lambda), preset=preset)
targets = tuple(targets.split(",")) if targets else ()
validate_network(network, source, task, targets=targets, trials=2)
profile = cProfile.Profile()
found = validate_network(network, source, task, targets=targets, trials=int(trials)).as_dict()
try:  # not ru_maxrss alone: on Linux that starts at the size of the process which started this one
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    memory = int(peak.split()[1]) / 1024
except (OSError, StopIteration):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
began = time.perf_counter()
path = write_report(found, folder, overwrite=True)
page = time.perf_counter() - began
profile.runcall(validate_network, network, source, task, targets=targets, trials=min(int(trials), 40))
rows = {}
for (file, line, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():
    where = file.split("spikeport/")[-1] + ":" + name if "spikeport/" in file else name
    rows[where] = rows.get(where, 0) + own
total = sum(rows.values())
top = sorted(rows.items(), key=lambda row: -row[1])[:8]
print(json.dumps({"seconds": found["seconds"], "simulating": found["seconds_simulating"],
                  "ratio": found["seconds"] / found["seconds_simulating"], "mb": memory, "page_seconds": page,
                  "page_mb": path.stat().st_size / 1e6, "json_mb": len(json.dumps(found)) / 1e6, "page": str(path),
                  "where": [[name, own / total] for name, own in top]}))
"""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def case(arguments: argparse.Namespace, trials: int, folder: str) -> dict[str, Any]:
    """One number of trials, in a process of its own."""
    call = [sys.executable, "-c", CASE, arguments.model, arguments.task, str(arguments.inverse_lambda),
            arguments.preset, arguments.targets, str(trials), folder]  # fmt: skip
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {"trials": trials, **row}


def opening(page: str, repeats: int = 3) -> float | None:
    """Seconds until every figure of the page is drawn, the best of `repeats`; None without a browser."""
    import shutil
    import time

    path = next((p for name in BROWSERS if (p := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if path is None:
        return None
    times = []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--headless=new", "--no-sandbox", "--disable-gpu"])
        for _ in range(repeats):
            view = browser.new_page(viewport={"width": 1400, "height": 900})
            began = time.perf_counter()
            view.goto(Path(page).as_uri())
            view.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents.every(d => d.is_idle)")
            times.append(time.perf_counter() - began)
            view.close()
        browser.close()
    return min(times)


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default=str(model_path("go-nogo")))
    parser.add_argument("--task", default="go-nogo")
    parser.add_argument("--inverse-lambda", type=float, default=30)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--targets", default="")
    parser.add_argument("--trials", default="20,100,500")
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    where = f"1/lambda {arguments.inverse_lambda:g}, preset {arguments.preset}, targets: {arguments.targets or 'none'}"
    print(f"{platform.machine()}, {Path(arguments.model).name}, {arguments.task}, {where}")
    print(f"{'trials':>6} {'total s':>8} {'simulating s':>12} {'ratio':>6} {'MB':>6} {'page s':>7} {'page MB':>8} "
          f"{'JSON MB':>8} {'opens s':>8}")  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for trials in map(int, arguments.trials.split(",")):
            row = case(arguments, trials, f"{folder}/{trials}")
            row["opens"] = opening(row.pop("page"))
            opens = "-" if row["opens"] is None else f"{row['opens']:.2f}"
            times = f"{row['seconds']:>8.2f} {row['simulating']:>12.2f} {row['ratio']:>6.2f} {row['mb']:>6.0f}"
            sizes = f"{row['page_seconds']:>7.2f} {row['page_mb']:>8.2f} {row['json_mb']:>8.2f}"
            print(f"{trials:>6} {times} {sizes} {opens:>8}", flush=True)
            rows.append(row)
    print("\nwhere the time goes (own time, of the last)")
    for name, share in rows[-1]["where"]:
        print(f"{share:>6.1%}  {name}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
