"""Programs around an exported C file: one that prints every spike, one whose reals count what is done with them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from require import need_compiler

from spikeport.snn.spiking import SpikingNetwork
from spikeport.targets.c import build
from spikeport.targets.c.source import float_source

STRICT = ("-Wconversion", "-Wshadow")  # beyond what `run` asks for: a firmware's own flags should take the file


@pytest.fixture(scope="module", autouse=True)
def _strictly_compiled() -> Iterator[None]:
    """Every file that a test of the module compiles is compiled with STRICT too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FLAGS", (*build.FLAGS, *STRICT))
        yield


DRIVE = """
static snn_state s;
static snn_real held[SNN_HELD + 1];
static uint16_t counts[SNN_CHANNELS + 1];
static uint32_t word = 12345u;

static uint32_t next_word(void)
{
    word = word * 1664525u + 1013904223u;
    return word >> 8;
}

static void drive(void)
{
    int i;
    for (i = 0; i < (int)SNN_HELD; i++)
        held[i] = (snn_real)(next_word() % 1000u) / 500;
    for (i = 0; i < (int)SNN_CHANNELS; i++)
        counts[i] = (uint16_t)(1u + next_word() % 3u);
}
"""
SPIKES = """
int main(void)
{
    int k;
    uint32_t i;
    snn_init(&s, 7, 3);
    for (k = 0; k < STEPS; k++) {
        drive();
        if (snn_step(&s, held, counts))
            return 1;
        for (i = 0; i < SNN_UNITS; i++)
            putchar(snn_fired(&s, i) ? '1' : '0');
        putchar('\\n');
    }
    return 0;
}
"""


def run_program(network: SpikingNetwork, dtype: str, *, steps: int, flags: tuple[str, ...]) -> str:
    """Spikes of a run on made-up inputs, a line a step; compiled with `flags` as a program of its own."""
    cc = need_compiler()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "net.c").write_text(float_source(network, dtype, "auto").text)
        body = DRIVE + SPIKES.replace("STEPS", str(steps))
        (at / "main.c").write_text('#include <stdio.h>\n#include "net.c"\n' + body)
        subprocess.run([*cc, *build.FLAGS, *flags, "main.c", "-o", "program"], cwd=at, check=True)
        return subprocess.run([at / "program"], capture_output=True, text=True, check=True).stdout


COUNTED = """
#include <cstdio>
#include <cstdint>
static unsigned long multiplies, adds, compares;
struct counted {
    double x;
    counted() = default;
    counted(double v) : x(v) {}
    explicit operator int() const { return (int)x; }
};
static inline counted operator*(counted a, counted b) { multiplies++; return a.x * b.x; }
static inline counted operator+(counted a, counted b) { adds++; return a.x + b.x; }
static inline counted operator-(counted a, counted b) { adds++; return a.x - b.x; }
static inline counted operator-(counted a) { return -a.x; }
static inline counted operator/(counted a, counted b) { return a.x / b.x; }
static inline counted &operator+=(counted &a, counted b) { adds++; a.x += b.x; return a; }
static inline bool operator>(counted a, counted b) { compares++; return a.x > b.x; }
static inline bool operator<(counted a, counted b) { compares++; return a.x < b.x; }
static inline bool operator!=(counted a, counted b) { compares++; return a.x != b.x; }
#include "net.cc"
"""
COUNT = """
int main()
{
    unsigned long most[3] = {0, 0, 0};
    snn_init(&s, 7, 3);
    for (int k = 0; k < STEPS; k++) {
        drive();
        multiplies = adds = compares = 0;
        if (snn_step(&s, held, counts))
            return 1;
        most[0] = multiplies > most[0] ? multiplies : most[0];
        most[1] = adds > most[1] ? adds : most[1];
        most[2] = compares > most[2] ? compares : most[2];
    }
    std::printf("%lu %lu %lu", most[0], most[1], most[2]);
    return 0;
}
"""


def counted_operations(network: SpikingNetwork, *, steps: int, weights: str = "auto") -> dict[str, int]:
    """The most multiplies, adds and compares of reals in a step: the same file, compiled as C++ with counting reals."""
    cxx = need_compiler("g++")
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        text = float_source(network, "float64", weights).text
        assert "typedef double snn_real;" in text
        (at / "net.cc").write_text(text.replace("typedef double snn_real;", "typedef counted snn_real;"))
        (at / "main.cc").write_text(COUNTED + DRIVE + COUNT.replace("STEPS", str(steps)))
        call = [*cxx, "-std=c++17", "-O1", "-w", "main.cc", "-o", "program"]
        done = subprocess.run(call, cwd=at, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:3000]
        found = subprocess.run([at / "program"], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(("multiplies", "adds", "compares"), map(int, found), strict=True))


INTEGERS = """
int main(void)
{
    static snn_state s;
    static uint16_t counts[SNN_CHANNELS + 1];
    uint32_t word = 12345u;
    int k, c;
    uint32_t i;
    snn_init(&s);
    for (k = 0; k < STEPS; k++) {
        for (c = 0; c < (int)SNN_CHANNELS; c++) {
            word = word * 1664525u + 1013904223u;
            counts[c] = (uint16_t)((word >> 16) & 1u);
        }
        if (snn_step(&s, 0, counts))
            return 1;
        for (i = 0; i < SNN_UNITS; i++)
            putchar(snn_fired(&s, i) ? '1' : '0');
        putchar('\\n');
    }
    return 0;
}
"""


def run_integers(text: str, *, steps: int, flags: tuple[str, ...]) -> str:
    """The same of an integer file."""
    cc = need_compiler()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "net.c").write_text(text)
        (at / "main.c").write_text('#include <stdio.h>\n#include "net.c"\n' + INTEGERS.replace("STEPS", str(steps)))
        subprocess.run([*cc, *build.FLAGS, *flags, "main.c", "-o", "program"], cwd=at, check=True)
        return subprocess.run([at / "program"], capture_output=True, text=True, check=True).stdout
