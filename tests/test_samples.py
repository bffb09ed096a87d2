"""The samples stand for all answers, and everyone who tries them has the same list."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from harness import DRIVERS, REPOSITORY, Answers, Project, Template
from samples import SAMPLES

Ask = Callable[..., Answers]


def test_every_choice_is_made_in_a_sample(template: Template, ask: Ask) -> None:
    made = [ask(package="shop", **answers) for answers in SAMPLES.values()]
    for name, question in template.questions.items():
        if question.get("when") is not False:
            chosen = " ".join(str(answers.stored.get(name)) for answers in made)
            # An answer with several choices is a list of them.
            missing = set(template.choices(name)) - set(re.findall(r"\w+", chosen))
            assert missing == set(), f"tests/samples.py has no sample with this {name}"


def test_ci_takes_its_matrix_from_the_list() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    matrix = workflow["jobs"]["sample"]["strategy"]["matrix"]
    assert matrix["sample"] == "${{ fromJSON(needs.list.outputs.samples) }}"
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    commands = [step.get("run", "") for step in workflow["jobs"]["list"]["steps"]]
    assert any("python tests/samples.py --list" in command for command in commands)


def test_ci_tries_every_driver_on_pre_releases_and_may_fail_there() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    job = workflow["jobs"]["prerelease"]
    assert job["continue-on-error"] is True
    assert job["strategy"]["matrix"]["sample"] == [f"{driver}-probes" for driver in DRIVERS]
    assert job["services"] == workflow["jobs"]["sample"]["services"]
    commands = "".join(step.get("run", "") for step in job["steps"])
    assert "--prerelease-package" in commands
    for package in ("sqlalchemy", "asyncpg", "psycopg", "pytest-asyncio"):
        assert f" {package} " in commands.replace('"', " ").replace("=", " ")


def test_ci_tries_the_default_sample_on_macos(template: Template) -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    job = workflow["jobs"]["macos"]
    default = template.questions["driver"]["default"]
    assert job["runs-on"] == "macos-latest"
    assert job["steps"][-1]["run"].endswith(f"python tests/samples.py {default}")


def test_ci_runs_the_tests_on_the_python_of_debian_12() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    job = workflow["jobs"]["debian-12"]
    commands = [step.get("run", "") for step in job["steps"]]
    assert job["container"] == "debian:12"
    assert any("sys.version_info[:3] == (3, 11, 2)" in command for command in commands)
    assert commands[-1] == "make test"


def test_the_list_is_printed_for_ci() -> None:
    command = [sys.executable, str(REPOSITORY / "tests" / "samples.py"), "--list"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(printed) == list(SAMPLES)


def test_a_sample_that_does_not_exist_is_refused() -> None:
    command = [sys.executable, str(REPOSITORY / "tests" / "samples.py"), "oracle"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such sample: oracle; there are aiosqlite, asyncpg, " in done.stderr


def test_the_workflow_pins_its_actions_and_may_only_read() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    actions = [step["uses"] for step in steps if "uses" in step]
    assert actions
    assert [action for action in actions if not re.search(r"@[0-9a-f]{40}$", action)] == []
    # What comes from outside enters a script as a variable, never as its text.
    assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []
    writers = [name for name, job in workflow["jobs"].items() if "permissions" in job]
    assert writers == ["release"]
    kept = [x for x in steps if "checkout" in x.get("uses", "")]
    assert {step["with"]["persist-credentials"] for step in kept} == {False}


@pytest.mark.parametrize("driver", ["the template", "asyncpg", "asyncmy"])
def test_zizmor_finds_nothing_in_a_workflow(render: Callable[..., Project], driver: str) -> None:
    root = render(ci="github", driver=driver).root if driver in DRIVERS else REPOSITORY
    command = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--no-progress"]
    done = subprocess.run(
        [*command, str(root / ".github" / "workflows")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout
