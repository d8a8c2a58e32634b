"""The errors that spikeport raises on purpose.

Each says what and where, the value found, the limit, and one next step; all problems at once.
"""

from __future__ import annotations

from collections.abc import Sequence


class SpikeportError(Exception):
    """Something a user can mend: one headline, one line per problem, one next step."""

    def __init__(self, what: str, problems: Sequence[str] = (), *, hint: str = "") -> None:
        self.what = what
        self.problems = tuple(problems)
        self.hint = hint
        lines = [what, *(f"  {problem}" for problem in self.problems)]
        if hint:
            lines.append(f"Try: {hint}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:  # it crosses process borders (a Dask worker's error)
        return (_rebuild, (type(self), self.what, self.problems, self.hint))


class InvalidNetworkError(SpikeportError, ValueError):
    """A network, recording or trial file whose content contradicts itself or its format."""


class UnsupportedError(SpikeportError):
    """A valid network that this step cannot take; `problems` lists every reason."""


class RefusedError(UnsupportedError):
    """A target that does not take a valid network: the answer is no."""


class MissingDependencyError(SpikeportError, ImportError):
    """A package that an extra brings is not installed; the message ends with the pip line."""

    @classmethod
    def for_extra(cls, package: str, extra: str, purpose: str) -> MissingDependencyError:
        """The error for `package`, which `pip install "spikeport[extra]"` would bring."""
        return cls(f"{purpose} needs {package}, which is not installed", hint=f'pip install "spikeport[{extra}]"')


def _rebuild(kind: type[SpikeportError], what: str, problems: tuple[str, ...], hint: str) -> SpikeportError:
    return kind(what, problems, hint=hint)
