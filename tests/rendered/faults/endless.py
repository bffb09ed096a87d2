"""Runs a server, and runs it again whenever it ends, until it is told to stop."""

import ctypes
import signal
import subprocess
import sys
from functools import partial
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


def main(command: list[str]) -> None:
    server: subprocess.Popen[bytes] | None = None
    stopping = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        if server:
            server.send_signal(number)

    for number in STOPPING:
        signal.signal(number, stop)
    # PR_SET_PDEATHSIG: a kill -9 of this process ends the server too.
    follow = partial(ctypes.CDLL(None).prctl, 1, signal.SIGTERM)
    while not stopping:
        server = subprocess.Popen(command, preexec_fn=follow if sys.platform == "linux" else None)
        server.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
