"""How a guard refuses mistakes, other than those that the project accepts."""

import json
import os
import tomllib
import warnings
from collections import Counter
from collections.abc import Collection, Iterable
from fnmatch import fnmatch
from pathlib import Path

import pytest

# The project's own file: the findings of each guard on the day when it was written.
FILE = Path(__file__).parents[2] / "guards_accept.toml"

HEAD = """\
# The guards of the layer found these when this file was written, and let them pass. Delete an entry
# once it is mended. To write the file anew: TEST_GUARDS=accept pytest, and the folder of the guards.
"""


def refuse(mistakes: Iterable[tuple[str, str]], accepted: Collection[str]) -> None:
    """Fail with each mistake, which is a name and a sentence, unless its name is accepted.

    With TEST_GUARDS=accept, write the names of the mistakes into the project's file instead.
    """
    found = [
        (what, sentence)
        for what, sentence in mistakes
        if not any(fnmatch(what, pattern) for pattern in accepted)
    ]
    names = Counter(what for what, _ in found)
    # As in "tests/db/layer_tests/test_guards.py::test_no_repository_commits (call)".
    guard = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition(" ")[0]
    if os.environ.get("TEST_GUARDS") == "accept":
        _write({**_read(), guard: sorted(names.elements())})
        return
    known = Counter(_read().get(guard, ()))
    for what in known - names:
        warnings.warn(f"{FILE.name}: delete {what!r}, which {guard} finds no more", stacklevel=2)
    groups: dict[str, list[str]] = {}
    for what, sentence in found:
        if known[what] > 0:
            known[what] -= 1
        else:
            groups.setdefault(sentence, []).append(what)
    if groups:
        seam = (
            "What has to stay as it is can be named in the fixture `guards_accept` of conftest.py;"
            f" TEST_GUARDS=accept writes all that there is today into {FILE.name}."
        )
        pytest.fail(
            "\n".join([*(_say(names, sentence) for sentence, names in groups.items()), seam]),
            pytrace=False,
        )


def _say(names: list[str], sentence: str) -> str:
    if len(names) == 1:
        return f"{names[0]} {sentence}."
    return "\n    ".join([f"Each of these {len(names)} {sentence}:", *sorted(names)])


def _read() -> dict[str, list[str]]:
    return tomllib.loads(FILE.read_text("utf-8")) if FILE.exists() else {}


def _write(findings: dict[str, list[str]]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail("processes would overwrite each other's findings: add `-n 0`", pytrace=False)
    lines = [HEAD]
    for guard, names in sorted(findings.items()):
        if names:
            # A string of JSON is one of TOML.
            entries = [f"    {json.dumps(name, ensure_ascii=False)}," for name in names]
            lines += [f"{guard} = [", *entries, "]\n"]
    FILE.write_text("\n".join(lines), "utf-8")
