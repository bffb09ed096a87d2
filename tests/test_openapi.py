"""The OpenAPI description of a service is true: a client generated from it decodes each answer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project

Render = Callable[..., Project]
RENDERED = Path(__file__).parent / "rendered"

# In an environment of its own: it needs an older typer than FastAPI's command line.
GENERATOR = "openapi-python-client@0.29.1"

DESCRIBE = """
import json
from pathlib import Path
from shop.app import create_app

Path("openapi.json").write_text(json.dumps(create_app().openapi()))
"""


@pytest.mark.more
def test_a_generated_client_decodes_an_answer_of_every_kind(render: Render, tmp_path: Path) -> None:
    project = render(web="fastapi")
    project.run("python", "-c", DESCRIBE)
    paths = ("--path", "openapi.json", "--output-path", "src/client")
    output = project.run("uv", "tool", "run", GENERATOR, "generate", "--meta", "none", *paths)
    assert "warning" not in output.lower() and "unsupported" not in output.lower(), output
    # A generated client needs these packages. A service does not.
    project.run("uv", "pip", "install", "--quiet", "--target", "src", "attrs")
    project["ask.py"] = (RENDERED / "client.py").read_text("utf-8")
    output = project.run_on_a_database("alembic upgrade head", f"python ask.py {tmp_path}")
    assert "decoded 25 answers of [200, 201, 204, 404, 409, 422, 500, 503]" in output
