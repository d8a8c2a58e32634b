"""The page of the closed loop and its example are held against the program."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

from live_cases import answer, write_loop
from require import need

from spikeport.live_guard import read_stimuli
from spikeport.live_record import read_session
from spikeport.loop.configuration import read_file
from spikeport.loop.guard.watchdog import WatchLimits
from spikeport.loop.record.nwb import problems_of

need("yaml", resource="live")
ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
YAML = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_shows_the_example_as_it_is() -> None:
    example = (ROOT / "examples" / "live.yaml").read_text(encoding="utf-8")
    assert example.partition("\n")[2] == YAML[0]


def test_the_example_fits_and_runs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "live.yaml", tmp_path)
    shutil.copy(ROOT / "examples" / "live_files.py", tmp_path)
    made = tmp_path / "here"
    made.mkdir()
    subprocess.run([sys.executable, "../live_files.py"], cwd=made, check=True, capture_output=True)
    found = answer("live", "run", made / "live.yaml", "--ticks", 60)
    assert found["ticks"] + found["merged_ticks"] == 60
    assert found["decoder"]["shadow"]["n"] == found["ticks"]
    assert answer("live", "show", made / "session.spklog")["ticks"] == found["ticks"]
    replayed = answer("live", "replay", made / "session.spklog", "--decoder", made / "net.h5")
    assert (replayed["differing"], replayed["other_decoder"]) == (0, [])


def test_every_name_of_a_file_is_on_the_page() -> None:
    spec = importlib.util.spec_from_file_location("gen_live", ROOT / "docs" / "gen_live.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)

    class Page:
        class file:
            src_uri = "live.md"

    filled = hook.on_page_markdown(PAGE, page=Page)
    assert hook.MARK not in filled
    for title, fields in hook.sections():
        section = filled.partition(f"### {title}\n")[2].partition("\n### ")[0]
        assert all(f"`{name}`" in section and about.meaning for name, about in fields.items()), title


def test_the_pages_guard_is_read(tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text(YAML[1], encoding="utf-8")
    values, problems = read_file(tmp_path / "guard.yaml")
    read_stimuli(values["guard"]["stimuli"], "guard.stimuli", problems, 1)
    WatchLimits(**values["guard"]["watch"])
    assert problems.found == []


def test_the_pages_session_is_all_that_nwb_asks(tmp_path: Path) -> None:
    (tmp_path / "session.yaml").write_text(YAML[2], encoding="utf-8")
    session, subject = read_session(tmp_path / "session.yaml")
    assert problems_of(session, subject) == []


def test_a_files_own_problems_look_as_on_the_page(tmp_path: Path) -> None:
    shown = re.findall(r"^  (source.capacity.*|clock.kind.*|policy.overload.*|rekord.*)$", PAGE, re.MULTILINE)
    assert len(shown) == 4
    from spikeport.snn.errors import SpikeportError

    loop = write_loop(tmp_path)
    text = loop.read_text().replace('"phase": 2.5e-3', '"capacity": -3').replace('"virtual"', '"wal"')
    loop.write_text(text.replace('"overload": "all", ', "").replace('"record":', '"rekord":'))
    from spikeport.live import load

    try:
        load(loop)
        said = ""
    except SpikeportError as error:
        said = re.sub(r" \(line \d+\)", "", str(error))
    for line in shown:
        assert re.sub(r" \(line \d+\)", "", line) in said
