"""The published models: .mat files as the training code of Kim, Li & Sejnowski (PNAS 2019) saves them.

    w_rec = (w @ m) * som_m,    tau = (sigmoid(taus_gaus) (taus[1] - taus[0]) + taus[0]) dt,    dt = 5 ms
    tau = taus[0] dt  where taus holds one value

w (N, N), the sign mask m (N, N), the SOM mask som_m (N, N), w_in (N, n_inputs), w_out (n_outputs, N), b_out, taus in
steps, taus_gaus (N, 1), activation: one text. What the format fixes and no file states: dt, the noise of a step, the
spread of x0, the clips of the activations, no recurrent bias.
Source: the published training code (github.com/rkim35/spikeRNN, rate/model.py and rate/main.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeport.convert.sources.content import MATLAB_V5, content_of, missing, provenance_of
from spikeport.convert.sources.matv5 import read_v5
from spikeport.convert.sources.matv73 import read_v73
from spikeport.snn.errors import InvalidNetworkError, UnsupportedError
from spikeport.snn.rate import ACTIVATIONS, SIGNED, Array, RateNetwork, unsupported_activation
from spikeport.snn.reading import naming

DT = 0.005  # s; "each time step is 5 ms", rate/main.py
NOISE_SD = 0.1  # of a step: random_normal / 10, rate/model.py
X0_SD = 0.01  # random_normal / 100, rate/model.py
PHI: dict[str, tuple[str, float | None]] = {  # activation -> (phi, clip), rate/model.py
    "sigmoid": ("sigmoid", None),
    "clipped_relu": ("relu", 20.0),
    "softplus": ("softplus", 20.0),  # clipped as well, though its name does not say so
}
REQUIRED = ("w", "m", "som_m", "w_in", "w_out", "b_out", "taus", "activation")
LABELS = ("exc", "inh", "inh_som")
RESULTS = ("eval_perf_mean", "eval_loss_mean", "scaling_factors", "all_perfs", "opt_scaling_factor", "taus", "tr")
_NUMERIC = ("w", "m", "som_m", "w_in", "w_out", "b_out", "taus", "taus_gaus", *LABELS, "N", "som_N")
_WANTED = tuple(dict.fromkeys((*_NUMERIC, "activation", *RESULTS)))
_INITIAL = ("w0", "w_in0", "x0", "r0", "taus_gaus0")  # before training, kept by the training code

Variables = dict[str, NDArray[Any]]


def load(path: Path) -> RateNetwork:
    """The network in a .mat file, v5 or v7.3."""
    v5 = content_of(path) == MATLAB_V5
    found, names, problems = (read_v5 if v5 else read_v73)(path, _WANTED)
    fixed_tau = "taus" in found and found["taus"].size == 1
    problems = missing(REQUIRED if fixed_tau else (*REQUIRED, "taus_gaus"), names) + problems
    strange = sorted(name for name in names if _is_parameter(name))
    problems += [f"{name}: a parameter that the published models do not have; it would be dropped" for name in strange]
    problems += [problem for name in _NUMERIC if name in found for problem in _check_numbers(name, found[name])]
    if problems:
        raise _invalid(path, problems)
    form = MATLAB_V5 if v5 else "MATLAB v7.3"
    unread = sorted(set(names) - set(_WANTED))
    results = {name: _plain(found[name]) for name in RESULTS if name in found and found[name].dtype.kind in "fiu"}
    return _network(path, found, provenance_of(path, form, published=results, unread=unread))


def _network(path: Path, found: Variables, provenance: dict[str, Any]) -> RateNetwork:
    """From variables that are all there and finite; shapes and signs are checked here."""
    activation = _activation(path, found["activation"])
    n = int(found["w"].shape[0])
    problems = [
        f"{name}: shape {found[name].shape}, must be ({n}, {n})"
        for name in ("w", "m", "som_m")
        if found[name].shape != (n, n)
    ]
    if "N" in found and (found["N"].size != 1 or int(found["N"].item()) != n):
        problems.append(f"N: {found['N'].ravel().tolist()}, but w has {n} rows")
    w_in, w_out = _columns(found["w_in"], n), _columns(found["w_out"].T, n).T
    b_out = found["b_out"].astype(np.float64).ravel()
    if w_in.shape[0] != n:
        problems.append(
            f"w_in: shape {found['w_in'].shape}, must be ({n}, n_inputs){_transposed(found['w_in'].shape, n)}"
        )
    if w_out.shape[1] != n:
        problems.append(
            f"w_out: shape {found['w_out'].shape}, must be (n_outputs, {n}){_transposed(w_out.shape[::-1], n)}"
        )
    if b_out.size != w_out.shape[0]:
        problems.append(f"b_out: {b_out.size} values, must be one per output: {w_out.shape[0]}")
    tau, tau_problems = _tau(found, n)
    problems += tau_problems
    labels, label_problems = _labels(found, n)
    problems += label_problems
    if not problems:
        problems += _dale(found, labels)
    if problems:
        raise _invalid(path, problems)
    w, m, som_m = (found[name].astype(np.float64) for name in ("w", "m", "som_m"))
    phi, phi_max = PHI[activation]
    with naming(path):
        return RateNetwork(
            tau=tau,
            w_rec=(w @ m) * som_m,
            w_in=w_in,
            w_out=w_out,
            b_rec=np.zeros(n),
            b_out=b_out,
            dt=DT,
            phi=phi,
            phi_max=phi_max,
            noise_sd=NOISE_SD,
            x0_sd=X0_SD,
            labels=labels,
            provenance=provenance,
        )


def _activation(path: Path, value: NDArray[Any]) -> str:
    """A key of PHI; the published code is the judge of what a name means."""
    if value.dtype.kind != "U" or value.size != 1:
        raise _invalid(path, [f"activation: type {value.dtype} and shape {value.shape}, must be one text"])
    name = str(value.item()).strip().lower()
    if name in PHI:
        return name
    with naming(path):
        if name in SIGNED or name not in ACTIVATIONS:
            raise unsupported_activation(name)
        raise UnsupportedError(
            f"activation '{name}' is not one of the published code's, so its clip is not known",
            [f"known in a .mat file: {', '.join(PHI)}"],
            hint=f"np.savez('model.npz', phi='{name}', phi_max=..., w_rec=..., ...)   docs/formats.md has the names",
        )


def _tau(found: Variables, n: int) -> tuple[Array, list[str]]:
    """(N,) s, from the bounds in steps and the trained variable."""
    taus = found["taus"].astype(np.float64).ravel()
    if taus.size == 1:  # not trained: the code then ignores taus_gaus
        tau = np.full(n, taus[0] * DT)
    elif taus.size != 2:
        return np.empty(0), [f"taus: {taus.size} values, must be 1 (fixed) or 2 (the bounds), in steps"]
    elif found["taus_gaus"].size != n:
        return np.empty(0), [f"taus_gaus: shape {found['taus_gaus'].shape}, must be ({n}, 1)"]
    else:
        gaus = found["taus_gaus"].astype(np.float64).ravel()
        tau = (ACTIVATIONS["sigmoid"](gaus) * (taus[1] - taus[0]) + taus[0]) * DT
    if n and tau.min() <= DT:
        shortest = f"{tau.min():g} s at unit {int(tau.argmin())}"
        return tau, [f"tau: {shortest} (taus {taus.tolist()} in steps), must be above dt = {DT:g} s"]
    return tau, []


def _labels(found: Variables, n: int) -> tuple[dict[str, NDArray[np.bool_]], list[str]]:
    """exc, inh and (where stated) som, (N,) bool each: the file's own columns, checked against the signs of m."""
    problems = []
    for name in LABELS:
        if name in found and (found[name].size != n or not np.isin(found[name], (0, 1)).all()):
            problems.append(f"{name}: shape {found[name].shape}, must be ({n}, 1) of 0 and 1")
    if problems or found["m"].shape != (n, n):
        return {}, problems
    negative = np.diagonal(found["m"]) < 0
    inh = found["inh"].ravel() == 1 if "inh" in found else negative
    exc = found["exc"].ravel() == 1 if "exc" in found else ~inh
    for label, mask, other in (("inh", inh, negative), ("exc", exc, ~inh)):
        if (mask != other).any():
            against = "the signs of m" if label == "inh" else "inh"
            problems.append(f"{label}: contradicts {against} at {int((mask != other).sum())} units")
    labels = {"exc": exc, "inh": inh}
    if "inh_som" in found:
        labels["som"] = found["inh_som"].ravel() == 1
        wrong = int((labels["som"] & ~inh).sum())
        problems += [f"inh_som: {wrong} units that are not inhibitory"] if wrong else []
    elif "som_N" in found:  # then the first of the inhibitory ones: rate/model.py
        labels["som"] = inh & (np.cumsum(inh) <= found["som_N"].ravel()[0])
    return labels, problems


def _dale(found: Variables, labels: Mapping[str, NDArray[np.bool_]]) -> list[str]:
    """Negative entries of w: genuine where no unit is inhibitory, a contradiction where some are.

    Under Dale's law the published training code rectifies w before the mask and saves it rectified; its MATLAB code
    uses w as saved. A negative entry would mean 0 to the one and a wrong sign to the other.
    """
    negative = int((found["w"] < 0).sum())
    if not negative or not labels["inh"].any():
        return []
    return [
        f"w: {negative} negative entries beside {int(labels['inh'].sum())} inhibitory units; under Dale's law w must "
        "be 0 or more (save max(w, 0) if it was trained rectified)"
    ]


def _plain(value: NDArray[Any]) -> Any:
    """A number, or a list of them."""
    return value.item() if value.size == 1 else value.ravel().tolist()


def _check_numbers(name: str, value: NDArray[Any]) -> list[str]:
    """Real and finite, or the reason."""
    if value.dtype.kind not in "fiub":
        return [f"{name}: type {value.dtype}, must be real numbers"]
    if value.ndim != 2 or value.size == 0:
        return [f"{name}: shape {value.shape}, must be a matrix with values"]
    bad = ~np.isfinite(value)
    if bad.any():
        return [
            f"{name}: {int(bad.sum())} values are NaN or infinite, the first at {tuple(map(int, np.argwhere(bad)[0]))}"
        ]
    return []


def _columns(weights: NDArray[Any], n: int) -> Array:
    """(N, channels) as it stands; a row of N is one channel, because tools save a vector either way."""
    weights = weights.astype(np.float64)
    return weights.T if weights.shape == (1, n) else weights


def _transposed(shape: tuple[int, ...], n: int) -> str:
    return "; it looks transposed" if len(shape) == 2 and shape[1] == n else ""


def _is_parameter(name: str) -> bool:
    """Whether a variable looks like a weight or a bias that this format does not have."""
    known = name in _WANTED or name in _INITIAL
    return not known and (name.startswith(("w_", "b_")) or name in ("b", "bias", "W"))


def _invalid(path: Path, problems: list[str]) -> InvalidNetworkError:
    return InvalidNetworkError(
        f"{path}: not a published rate network",
        problems,
        hint="plain arrays in a .npz file; docs/formats.md has the names",
    )
