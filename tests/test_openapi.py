"""The OpenAPI description of a service is true: a client generated from it decodes each answer."""

import re
import shutil
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


@pytest.mark.whole
def test_the_page_of_a_list_shows_its_filters_with_their_types(
    render: Render, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium, which opens /docs of a service: `apt-get install chromium`")
    project = render(web="fastapi")
    project["docs_page.py"] = (RENDERED / "docs_page.py").read_text("utf-8")
    picture = tmp_path / "list.png"
    page = project.run(
        "python", "docs_page.py", chromium, "posts/list_posts_posts_get", str(picture)
    )
    rows = re.findall(r'class="parameter__name[^>]*>(\w+)<.*?"parameter__type">(.*?)</div>', page)
    # The second type is the one that a parameter has beside null.
    types = {name: re.sub("<.*?>| \\|.*(?=\\(\\$)| \\|.*", "", kind) for name, kind in rows}
    assert {
        "cursor": "string",
        "size": "integer",
        "sort": "array&lt;string&gt;",
        "author_id": "string($uuid)",
        "created_at__gte": "string($date-time)",
        "title__contains": "string",
        "title__isnull": "boolean",
    }.items() <= types.items(), types
    assert re.findall(r"<option[^>]*>(-?title)</option>", page) == ["title", "-title"]
    # docs/list.png is this picture.
    assert picture.read_bytes().startswith(b"\x89PNG")
