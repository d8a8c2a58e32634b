"""The entry point. It imports nothing before `main`, so that Ctrl-C while the program is loaded is silent too."""

from __future__ import annotations


def main() -> None:
    """The command line; 130 where Ctrl-C comes before a verb began."""
    try:
        from spikeport import cli

        cli.main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
