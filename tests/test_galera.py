"""Galera: three real nodes, conflicting writers, migrations, and nodes that are killed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project, tiered

Render = Callable[..., Project]
RENDERED = Path(__file__).parent / "rendered"
PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")


@pytest.mark.whole
@pytest.mark.server
@pytest.mark.parametrize("driver", tiered(["asyncmy", "aiomysql"], "asyncmy", "aiomysql"))
def test_a_cluster_loses_no_unit_and_migrates_once(render: Render, driver: str) -> None:
    if not PROVIDER.exists() and os.environ.get("REQUIRE_ALL_SERVERS") != "1":
        pytest.skip("no Galera: `make servers` installs galera-4")
    project = render(driver=driver, extras=["probes"])
    file = "tests/db/layer_tests/probes/test_galera_nodes.py"
    project[file] = (RENDERED / "galera.py").read_text("utf-8")
    output = project.run("python", "-m", "pytest", "-q", "-s", "-p", "no:randomly", file)
    for line in output.splitlines():
        if "GALERA " in line:
            print(f"{driver}: {line.partition('GALERA ')[2]}")
