"""The documents say what is true: their tables, commands and links are those of the code."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from harness import REPOSITORY, Template

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
PROBES = REPOSITORY / "template" / "{{ tests_dir }}" / "db" / "layer_tests" / "probes"
README = (REPOSITORY / "README.md").read_text("utf-8")


def table(header: str) -> dict[str, list[str]]:
    """The rows of the README's table with this header, by their first cell."""
    lines = README[README.index(header) :].splitlines()[2:]
    rows = [line.strip("|").split("|") for line in lines[: lines.index("")]]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in rows}


def test_the_table_of_questions_is_that_of_copier_yml(template: Template) -> None:
    asked = {name: row for name, row in template.questions.items() if row.get("when") is not False}
    rows = table("| question |")
    assert list(rows) == [name for name, question in asked.items() if not is_detail(question)]
    for name, (answers, _) in rows.items():
        if choices := template.choices(name):
            if template.questions[name].get("multiselect"):
                assert answers == f"{', '.join(choices)} (any of them; none by default)"
                continue
            default = template.ask()[name]
            others = [choice for choice in choices if choice != default]
            assert answers == ", ".join([default, *others]), name


def test_the_table_of_mappings_is_that_of_the_tests() -> None:
    text = (REPOSITORY / "docs" / "mappings.md").read_text("utf-8")
    described = re.findall(r"^\| (\w+) \|", text[: text.index("## Bulk writes")], re.M)[1:]
    tests = (PROBES / "test_shapes.py").read_text("utf-8")
    shapes = tests[tests.index("SHAPES: ") : tests.index("]\n", tests.index("SHAPES: ") + 30)]
    assert described == re.findall(r"^    (\w+),$", shapes, re.M)


def is_detail(question: Mapping[str, object]) -> bool:
    """Whether a question only completes another answer, as the numbers of a custom pool do."""
    return "when" in question and "choices" not in question


def test_every_make_command_in_the_documents_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M))
    for document in DOCUMENTS:
        named = re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", document.read_text("utf-8"), re.M)
        assert {first or second for first, second in named} <= targets, document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text("utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_ci_runs_what_the_readme_says() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text("utf-8")
    assert re.findall(r"^make (\S+)", script, re.M) == ["servers", "test", "test-more"]
    assert "make test " in README


def test_every_decision_is_listed() -> None:
    decisions = REPOSITORY / "docs" / "decisions"
    listed = re.findall(
        r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (decisions / "README.md").read_text("utf-8")
    )
    assert listed == sorted(path.name for path in decisions.glob("0*.md"))


def test_the_demo_shows_what_it_promises(template: Template) -> None:
    done = subprocess.run(
        [sys.executable, str(template.repository / "docs" / "demo.py")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in (
        "upgrade  -> 0001",
        "page 1 of 3, 5 posts in all",
        "UniqueViolation: fields=('email',)",
        "4 users, 5 with her",
        " passed in ",
    ):
        assert shown in done.stdout
    assert (template.repository / "build" / "demo" / "my_service.db").exists()


def test_the_answers_that_the_workflow_of_a_service_needs_are_pinned(template: Template) -> None:
    workflow = template.render(ci="github")[".github/workflows/ci.yml"]
    actions = [
        step["uses"]
        for job in yaml.safe_load(workflow)["jobs"].values()
        for step in job["steps"]
        if "uses" in step
    ]
    assert actions
    assert [action for action in actions if not re.search(r"@[0-9a-f]{40}$", action)] == []


def test_the_page_on_adoption_says_what_the_message_says(template: Template) -> None:
    page = (REPOSITORY / "docs" / "adopting.md").read_text("utf-8")
    layer = template.render(scope="layer", driver="asyncpg", web="fastapi", package_dir="shop")
    layer.run("python", "-c", "from shop.db.fastapi import add_error_handlers, PROBLEMS, Problem")
    layer.run("python", "-c", "from shop.db.models import SoftDeletable, Timestamped, Versioned")
    for file in re.findall(r"`(test_\w+\.py)`", page):
        assert f"tests/db/layer_tests/{file}" in layer.tree
    # Its answers are accepted.
    for line in page.splitlines():
        if given := dict(re.findall(r"-d (\w+)=([\w./]+)", line)):
            template.ask(**{"scope": "layer", **given})
    # The message says the same lines.
    said = template.tell(layer.root / "new", scope="layer", package="shop", package_dir="shop")
    for line in (
        "from shop.db import DatabaseSettings, migrate",
        "settings=DatabaseSettings(url=",
        "pytest_configure = testing.pytest_configure",
    ):
        assert line in page
        assert line in said
