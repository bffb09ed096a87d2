"""What MySQL's drivers leave undone when they connect: the layer does it, on each of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import DRIVERS, Project

Render = Callable[..., Project]

MYSQL_DRIVERS = [name for name, row in DRIVERS.items() if row["database"] == "mysql"]
SCRIPT = Path(__file__).parent / "rendered" / "mysql_connections.py"


@pytest.mark.server
@pytest.mark.parametrize("driver", MYSQL_DRIVERS)
def test_a_connection_is_made_and_dropped_whatever_the_server_does(
    render: Render, certificates: Path, driver: str
) -> None:
    project = render(driver=driver)
    shutil.copy(SCRIPT, project.root / "check.py")
    printed = project.run("python", "check.py", str(certificates))
    outcomes = json.loads(printed.splitlines()[-1])
    assert outcomes == dict.fromkeys(outcomes, "ok")
    assert len(outcomes) > 10
