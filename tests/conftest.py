"""What every test starts from: the template as it lies here, and a way to render it."""

from collections.abc import Callable

import pytest
from harness import Answers, Project, Template, isolate_git

isolate_git()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The working tree, as a release."""
    return Template.snapshot(tmp_path_factory.mktemp("template"))


@pytest.fixture
def render(template: Template) -> Callable[..., Project]:
    """`render(driver="asyncpg")`: a project of the test's own."""
    return template.render


@pytest.fixture
def ask(template: Template) -> Callable[..., Answers]:
    """`ask(driver="asyncpg")`: what the questions make of these answers, with nothing rendered."""
    return template.ask
