"""The script `rayforge`, also `python -m trainers`: signals are heard before any import."""

import os
import signal
from types import FrameType

from trainers.runs import stopping


def main() -> None:
    """`trainers.cli.main`; a signal while the process closes leaves its exit code."""
    code = 1

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(code)

    try:
        with stopping.listening():
            from trainers import cli

            cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        raise
    finally:
        for number in stopping.SIGNALS:
            signal.signal(number, leave)


if __name__ == "__main__":
    main()
