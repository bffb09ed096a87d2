"""Open /docs of the service in Chromium: print the page, and write a picture of its first list.

`python docs_page.py CHROMIUM OPERATION PICTURE`, where OPERATION is opened on the page.
"""

import asyncio
import sys

import uvicorn
from fastapi import applications
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from shop.app import create_app

# For the picture: one operation, and the first of its parameters.
STYLE = """<style>
.information-container, .opblock:not(.is-open), .responses-wrapper { display: none }
.models, .opblock-tag, tr:nth-child(n+11) { display: none !important }
</style>"""


def render(**arguments: str) -> HTMLResponse:
    """Return FastAPI's page, with the files that it loads from the internet."""
    arguments |= {"swagger_js_url": "/files/swagger-ui-bundle.js"}
    arguments |= {"swagger_css_url": "/files/swagger-ui.css"}
    page = bytes(get_swagger_ui_html(**arguments).body).decode()
    return HTMLResponse(page.replace("</head>", f"{STYLE}</head>"))


async def browse(chromium: str, url: str, *options: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--hide-scrollbars", "--window-size=800,1080", "--virtual-time-budget=20000"),
        *(*options, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return output.decode()


async def main(chromium: str, operation: str, picture: str) -> None:
    vars(applications)["get_swagger_ui_html"] = render
    app = create_app()
    app.mount("/files", StaticFiles(packages=[("fastapi_offline", "static")]))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.1)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/docs#/{operation}"
    print(await browse(chromium, url, "--dump-dom"))
    await browse(chromium, url, f"--screenshot={picture}")
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
