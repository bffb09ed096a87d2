"""How a guard refuses mistakes, other than those that the project accepts."""

from collections.abc import Collection, Iterable
from fnmatch import fnmatch

import pytest


def refuse(mistakes: Iterable[tuple[str, str]], accepted: Collection[str]) -> None:
    """Fail with each mistake, which is a name and a sentence, unless its name is accepted."""
    left = [
        f"{what} {sentence}."
        for what, sentence in mistakes
        if not any(fnmatch(what, pattern) for pattern in accepted)
    ]
    seam = "What has to stay as it is can be named in the fixture `guards_accept` of conftest.py."
    if left:
        pytest.fail("\n".join([*left, seam]), pytrace=False)
