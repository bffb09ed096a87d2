"""The questions, as a terminal of 80 columns shows them."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest
import yaml
from harness import PROGRAMS, REPOSITORY, Template, tiered

COLUMNS, LINES = 80, 200
ENTER, DOWN = b"\r", b"\x1b[B"
# Keys that lead through the questions, by the question whose choice is not its first.
PATHS = {
    "default": dict[str, bytes](),
    "custom": {"driver": DOWN, "pool": DOWN * 3},
    "layer": {"scope": DOWN},
}
ASKED = {
    "default": [
        *("project_name", "scope", "package", "driver", "key", "web", "starter", "extras", "ci"),
    ],
    "custom": [
        *("project_name", "scope", "package", "driver", "pool", "pool_size", "max_overflow"),
        *("pool_timeout", "pool_recycle", "pool_pre_ping", "pooler", "processes"),
        *("max_connections", "key", "web", "starter", "extras", "ci"),
    ],
    "layer": [
        *(
            "project_name",
            "scope",
            "package",
            "package_dir",
            "tests_dir",
            "driver",
            "key",
            "web",
            "extras",
        ),
    ],
}


class Terminal:
    """A program in a terminal, and what the terminal shows."""

    def __init__(self, program: int) -> None:
        self._program = program
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        """What is shown, without white space: a long word of it may be broken anywhere."""
        return _squeezed("".join(self._screen.display))

    def send(self, keys: bytes) -> None:
        os.write(self._program, keys)

    def wait_for(self, *texts: str) -> bool:
        """Read until one of the texts is shown, or for 20 seconds."""
        end = time.monotonic() + 20
        while not self._shows(texts) and time.monotonic() < end:
            if select.select([self._program], [], [], 0.2)[0]:
                try:
                    self._stream.feed(os.read(self._program, 65536))
                except OSError:
                    break
        return self._shows(texts)

    def _shows(self, texts: Iterable[str]) -> bool:
        return any(text in self.text for text in texts)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@contextmanager
def terminal(*command: str | Path) -> Generator[Terminal]:
    process, program = pty.fork()
    if not process:
        os.environ["TERM"] = "linux"
        os.execv(command[0], [str(word) for word in command])
    try:
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        yield Terminal(program)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(program)


@pytest.mark.parametrize("path", tiered(PATHS, "default", "layer"))
def test_no_question_and_no_choice_is_cut_in_80_columns(
    template: Template, tmp_path: Path, path: str
) -> None:
    questions = yaml.safe_load((REPOSITORY / "copier.yml").read_text("utf-8"))
    drivers = questions["drivers"]["default"].values()
    choices = {"driver": [row["choice"] for row in drivers]}
    command = ("copy", "--vcs-ref", "HEAD", template.repository, tmp_path / "service")
    with terminal(PROGRAMS / "copier", *command) as shown:
        for name in ASKED[path]:
            # A text that depends on an answer has parts, of which one is shown.
            parts = map(_squeezed, re.split(r"\{%.*?%\}", questions[name]["help"]))
            assert shown.wait_for(*filter(None, parts)), (name, shown.text[-500:])
            offered: Iterable[str] = choices.get(name) or questions[name].get("choices") or ()
            for choice in offered:
                assert shown.wait_for(_squeezed(choice)), (name, choice)
            shown.send(PATHS[path].get(name, b"") + ENTER)
