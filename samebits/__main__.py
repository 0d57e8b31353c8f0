"""The command: Ctrl-C ends in one message even while the command line itself is being imported."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the command `samebits`."""
    try:
        from samebits.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing was started\n")
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
