"""The races of one driver, in a process of its own that imports its layer, as JSON."""

import argparse
import asyncio
import dataclasses
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping

import sqlalchemy as sa

from . import bulk, memory, pages, programs, single, streams, wide
from .ground import Ground, prepare
from .layer import Layer
from .races import SCALES, Race

Subject = Callable[[Ground], Awaitable[list[Race]]]

SUBJECTS: Mapping[str, Subject] = {
    "single": single.races,
    "bulk": bulk.races,
    "wide": wide.races,
    "pages": pages.races,
    "streams": streams.races,
    "programs": programs.races,
    "copier": programs.copier,
    # Each of these wants a process of its own, since a process seldom gives memory back.
    "memory-insert": memory.insert,
    "memory-stream": memory.stream,
}

# The exit status of a process that found no server for its driver.
NO_SERVER = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("scale", choices=SCALES)
    parser.add_argument("subjects", nargs="+", choices=SUBJECTS)
    given = parser.parse_args()
    layer = Layer(given.driver)
    try:
        with layer.server() as server:
            races, failed = asyncio.run(_run(layer, server, given.scale, given.subjects))
    except RuntimeError as error:
        # The layer's NoServer, which says what to install.
        if type(error).__name__ != "NoServer":
            raise
        sys.exit(NO_SERVER)
    json.dump({"races": [dataclasses.asdict(race) for race in races], "failed": failed}, sys.stdout)


async def _run(
    layer: Layer,
    server: sa.URL,
    scale: str,
    subjects: list[str],
) -> tuple[list[Race], list[str]]:
    """The races of these subjects, and the subjects that failed: one ends no other."""
    races: list[Race] = []
    failed: list[str] = []
    async with prepare(layer, server, SCALES[scale]) as ground:
        for subject in subjects:
            began = time.monotonic()
            try:
                races += await SUBJECTS[subject](ground)
            except Exception:
                traceback.print_exc()
                failed.append(f"{ground.where}: {subject}")
            took = time.monotonic() - began
            print(f"  {ground.where}: {subject}, {took:.0f} s", file=sys.stderr, flush=True)
    return races, failed


if __name__ == "__main__":
    main()
