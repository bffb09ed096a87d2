"""The questions: which are asked when, and how an answer is refused."""

import ast
import keyword
import re
import sys
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from copier import Settings, run_copy
from harness import ANSWERS, SERVER_DRIVERS, Answers, Project, Template
from packaging.requirements import Requirement

Ask = Callable[..., Answers]
Render = Callable[..., Project]

LAYER = {"project_name", "scope", "package", "driver", "key", "web", "extras"}
DEFAULT_PATH = LAYER | {"starter", "ci"}
SERVER = {"pool", "pooler"}

# Every choice that was ever offered. Copier replaces a stored answer that is no choice any more by
# the default, without a word: so none is taken away.
OFFERED = {
    "scope": ["service", "layer"],
    "driver": ["aiosqlite", "asyncpg", "psycopg", "asyncmy", "aiomysql"],
    "pool": ["web", "worker", "serverless", "custom"],
    "pooler": ["none", "pgbouncer", "pgbouncer_statementless"],
    "key": ["uuid7", "bigint"],
    "web": ["none", "fastapi"],
    "starter": ["blog", "none"],
    "ci": ["none", "github"],
}

# Names that people give, and that break what does not expect them.
ODD_NAMES = [
    "x",
    "x" * 60,
    "9" * 60,
    "123",
    "class",
    "Json",
    "tests",
    "日本",
    "Café Noir",
    "Smile 🙂 👩‍💻",
    "İstanbul",
    "Rock 'n' \"Roll\"",
    'She said "hi"',
    "back\\slash\\",
    "{{ 1 }} {% raw %} {#",
    "${HOME} %(here)s $(id)",
    "# not: a, [comment]",
    "-",
    '"""',
]


# What is asked.


def test_nine_questions_are_asked_when_all_is_left_to_the_defaults(ask: Ask) -> None:
    assert ask().stored.keys() == DEFAULT_PATH


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
def test_a_server_adds_the_questions_of_the_way_to_it(ask: Ask, driver: str) -> None:
    answers = ask(driver=driver)
    # There are poolers for PostgreSQL only.
    other: set[str] = set() if answers["database"] == "postgresql" else {"pooler"}
    assert answers.stored.keys() == DEFAULT_PATH | SERVER - other


def test_a_custom_pool_adds_its_seven_numbers(ask: Ask) -> None:
    numbers = {"pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping"}
    budget = {"processes", "max_connections"}
    asked = ask(driver="asyncpg", pool="custom").stored.keys()
    assert asked == DEFAULT_PATH | SERVER | numbers | budget


def test_a_layer_adds_the_questions_where_the_package_and_the_tests_are(ask: Ask) -> None:
    assert ask(scope="layer").stored.keys() == LAYER | {"package_dir", "tests_dir"}


@pytest.mark.parametrize("scope", OFFERED["scope"])
@pytest.mark.parametrize("driver", OFFERED["driver"])
def test_at_most_eleven_questions_are_asked_unless_the_pool_is_custom(
    ask: Ask, driver: str, scope: str
) -> None:
    for pool in ("web", "worker", "serverless"):
        assert len(ask(driver=driver, scope=scope, pool=pool).stored) <= 11


def test_every_extra_that_was_ever_offered_is_still_accepted(ask: Ask) -> None:
    assert ask(driver="asyncpg", extras=["replicas", "probes"])["extras"] == ["replicas", "probes"]
    assert ask()["extras"] == []


def test_replicas_are_refused_where_there_is_no_server(ask: Ask) -> None:
    with pytest.raises(ValueError, match="replicas are copies on other servers, and SQLite has"):
        ask(extras=["replicas"])


@pytest.mark.parametrize("question", OFFERED)
def test_every_choice_that_was_ever_offered_is_still_accepted(ask: Ask, question: str) -> None:
    server = {"driver": "asyncpg"} if question in SERVER else {}
    for choice in OFFERED[question]:
        assert ask(**server, **{question: choice})[question] == choice


def test_the_choices_of_the_driver_are_the_rows_of_the_driver_table(ask: Ask) -> None:
    with pytest.raises(ValueError, match="Invalid choice") as refusal:
        ask(driver="sqlite3")
    offered = ast.literal_eval(str(refusal.value).partition(" is not in ")[2])
    assert offered == list(ask()["drivers"])


def test_a_test_that_answers_a_question_that_does_not_exist_is_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match="no such question: drivers, speed; there are"):
        ask(speed="high", drivers={})


# What the answers come to.


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_project_name_has_a_legal_package_as_its_default(ask: Ask, name: str) -> None:
    # Copier puts a default, too, to the question's validator.
    answers = ask(project_name=name)
    assert answers["package"].isidentifier() and not keyword.iskeyword(answers["package"])
    assert ast.literal_eval(answers["project_literal"]) == name


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("My Service", "my_service"),
        ("  a--B!".strip(), "a_b"),
        ("123", "service_123"),
        ("日本", "service"),
        ("class", "class_service"),
        ("SQLAlchemy", "sqlalchemy_service"),
    ],
)
def test_the_default_package_is_the_project_name_in_small_letters(
    ask: Ask, name: str, package: str
) -> None:
    assert ask(project_name=name)["package"] == package


@pytest.mark.parametrize(
    ("package", "distribution"),
    [("shop", "shop"), ("my_shop", "my-shop"), ("_x1_", "x1"), ("Shop__2", "shop-2")],
)
def test_the_distribution_has_a_name_that_pypi_allows(
    ask: Ask, package: str, distribution: str
) -> None:
    assert ask(package=package)["dist_name"] == distribution


def test_the_project_name_is_written_in_the_quotes_that_ruff_would_choose(ask: Ask) -> None:
    assert ask(project_name="it's")["project_literal"] == '"it\'s"'
    assert ask(project_name='"it"')["project_literal"] == "'\"it\"'"
    assert ask(project_name='"it\'s"')["project_literal"] == "'\"it\\'s\"'"


@pytest.mark.parametrize(
    ("driver", "url"),
    [
        ("aiosqlite", "sqlite+aiosqlite:///shop.db"),
        ("asyncpg", "postgresql+asyncpg://postgres@localhost:5432/shop"),
        ("psycopg", "postgresql+psycopg://postgres@localhost:5432/shop"),
        ("asyncmy", "mysql+asyncmy://root@localhost:3306/shop"),
        ("aiomysql", "mysql+aiomysql://root@localhost:3306/shop"),
    ],
)
def test_the_default_url_is_on_this_machine_and_holds_no_password(
    ask: Ask, driver: str, url: str
) -> None:
    assert ask(package="shop", driver=driver)["url"] == url


@pytest.mark.parametrize("pool", ["web", "worker", "serverless"])
def test_the_numbers_of_a_pool_are_computed_so_that_better_ones_reach_everyone(
    ask: Ask, pool: str
) -> None:
    answers = ask(driver="asyncpg", pool=pool)
    assert answers["pool_values"] == answers["pools"][pool]
    assert "pool_size" not in answers.stored


def test_the_numbers_of_a_custom_pool_begin_with_those_of_the_web_pool(ask: Ask) -> None:
    answers = ask(driver="asyncpg", pool="custom")
    assert answers["pool_values"] == answers["pools"]["web"]


def test_the_numbers_of_a_custom_pool_are_those_that_were_given(ask: Ask) -> None:
    answers = ask(
        driver="asyncpg",
        pool="custom",
        pool_size=7,
        max_overflow=0,
        pool_timeout=1,
        pool_recycle=-1,
        pool_pre_ping=False,
    )
    assert answers["pool_values"] == answers["pools"]["web"] | {
        "size": 7,
        "max_overflow": 0,
        "timeout": 1,
        "recycle": -1,
        "pre_ping": False,
    }


def test_a_database_without_a_server_has_a_pool_of_its_own_whatever_is_answered(ask: Ask) -> None:
    answers = ask(driver="aiosqlite", pool="serverless")
    assert answers["pool_values"] == answers["pools"]["embedded"]


def test_a_pooler_of_another_database_is_none_whatever_is_answered(ask: Ask) -> None:
    assert ask(driver="aiosqlite", pooler="pgbouncer")["pooler_value"] == "none"
    assert ask(driver="asyncpg", pooler="pgbouncer")["pooler_value"] == "pgbouncer"


@pytest.mark.parametrize(
    ("key", "key_type", "primary_key"),
    [("uuid7", "UUID", "UUIDPrimaryKey"), ("bigint", "int", "BigIntPrimaryKey")],
)
def test_the_key_decides_the_type_and_the_mixin(
    ask: Ask, key: str, key_type: str, primary_key: str
) -> None:
    answers = ask(key=key)
    assert (answers["key_type"], answers["primary_key"]) == (key_type, primary_key)


def test_a_service_has_its_package_in_src(ask: Ask) -> None:
    assert ask(package="shop")["package_dir"] == "src/shop"


@pytest.mark.parametrize(
    "package_dir", ["shop", "src/shop", "libs/core-1.0/src/shop", "_a/b.c/shop"]
)
def test_a_layer_goes_where_the_package_is(ask: Ask, package_dir: str) -> None:
    answers = ask(scope="layer", package="shop", package_dir=package_dir)
    assert answers["package_dir"] == package_dir


def test_a_layer_goes_into_a_package_of_a_package(ask: Ask) -> None:
    answers = ask(scope="layer", package="shop.data", driver="asyncpg")
    assert answers["package_dir"] == "src/shop/data"
    assert answers["url"].endswith("/shop_data")


# How an answer is refused.


@pytest.mark.parametrize("package", ["shop.", ".shop", "shop..data", "shop.1", "shop.a-b", "a.b\n"])
def test_a_package_of_a_package_that_cannot_be_imported_is_refused(ask: Ask, package: str) -> None:
    with pytest.raises(ValueError, match="1 to 60 ASCII letters, digits and underscores"):
        ask(scope="layer", package=package)


@pytest.mark.parametrize("name", ["", " ", " x", "x ", "x" * 61])
def test_a_project_name_that_is_empty_or_too_long_is_refused(ask: Ask, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 60 characters, and no space at either end"):
        ask(project_name=name)


def test_a_folder_whose_path_alembic_cannot_read_is_refused(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Alembic could not read"):
        ask(tmp_path / "50% off" / "shop")


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x1b", "\x7f", "\u2028", "\u202e"])
def test_a_project_name_that_is_not_one_printable_line_is_refused(ask: Ask, character: str) -> None:
    with pytest.raises(ValueError, match="one line of printable characters"):
        ask(project_name=f"a{character}b")


@pytest.mark.parametrize(
    "package", ["", "1a", "a-b", "a.b", "a b", "ünder", "x\n", "x" * 61, "{{ 1 }}"]
)
def test_a_package_that_cannot_be_imported_is_refused(ask: Ask, package: str) -> None:
    with pytest.raises(ValueError, match="1 to 60 ASCII letters, digits and underscores"):
        ask(package=package)


@pytest.mark.parametrize("package", ["_", "_1", "__x", "__future__", "__main__"])
def test_a_package_that_is_all_but_a_name_is_refused(ask: Ask, package: str) -> None:
    with pytest.raises(ValueError, match="at least one letter, and at most one underscore"):
        ask(package=package)


@pytest.mark.parametrize(
    ("package", "kind"),
    [
        ("class", "a Python keyword"),
        ("true", "a Python keyword"),
        ("json", "a module of the standard library"),
        ("cProfile", "a module of the standard library"),
        ("sqlalchemy", "the name of a dependency"),
        ("asyncmy", "the name of a dependency"),
        ("db", "a name of the project's own layout"),
        ("DB", "a name of the project's own layout"),
        ("tests", "a name of the project's own layout"),
        ("migrations", "a name of the project's own layout"),
    ],
)
def test_a_package_whose_name_is_taken_is_refused(ask: Ask, package: str, kind: str) -> None:
    with pytest.raises(ValueError, match=rf"{package} is {kind}: take another name, such as"):
        ask(package=package)


def test_a_package_whose_distribution_would_be_a_dependency_is_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match="_PyTest__Asyncio_ is too close to pytest_asyncio, the"):
        ask(package="_PyTest__Asyncio_")


@pytest.mark.parametrize("package", ["_x1_", "x", "X", "match", "Shop", "x" * 60])
def test_a_package_that_is_merely_unusual_is_accepted(ask: Ask, package: str) -> None:
    assert ask(package=package)["package"] == package


def test_no_keyword_and_no_standard_module_can_be_a_package(ask: Ask) -> None:
    answers = ask()
    names = {*keyword.kwlist, *sys.stdlib_module_names}
    assert {name for name in names if not _is_refused(name, answers)} == set()


def test_no_dependency_of_the_service_can_be_its_package(ask: Ask, render: Render) -> None:
    answers = ask()
    project = tomllib.loads(render(web="fastapi")["pyproject.toml"])
    names = {Requirement(line).name for line in project["project"]["dependencies"]}
    names |= {Requirement(line).name for line in project["dependency-groups"]["dev"]}
    names |= {
        Requirement(x).name for row in answers["drivers"].values() for x in row["requirements"]
    }
    modules = {
        module
        for module, distributions in packages_distributions().items()
        if module.isidentifier() and names.intersection(distributions)
    }
    assert {name for name in names | modules if not _is_refused(name, answers)} == set()


@pytest.mark.parametrize(
    "package_dir",
    [
        "",
        "/src/shop",
        "../shop",
        "src/../shop",
        "./src/shop",
        "src//shop",
        "src/shop/",
        "src\\shop",
        "C:/shop",
        "src/shop\n",
        "src/other",
        "src/workshop2",
        "db/shop",
        "ünder/shop",
        ".hidden/shop",
    ],
)
def test_a_package_dir_that_is_not_a_plain_path_to_the_package_is_refused(
    ask: Ask, package_dir: str
) -> None:
    with pytest.raises(ValueError, match="a path inside the project that ends in shop"):
        ask(scope="layer", package="shop", package_dir=package_dir)


def test_a_package_dir_for_a_service_is_refused_since_it_would_be_forgotten(ask: Ask) -> None:
    with pytest.raises(ValueError, match="package_dir is for scope=layer"):
        ask(package="shop", package_dir="lib/shop")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("pool_size", "0", "from 1 to 500"),
        ("pool_size", "501", "from 1 to 500"),
        ("pool_size", "many", "from 1 to 500"),
        ("pool_size", "5.5", "from 1 to 500"),
        ("max_overflow", "-1", "from 0 to 500"),
        ("max_overflow", "501", "from 0 to 500"),
        ("pool_timeout", "0", "from 1 to 300"),
        ("pool_timeout", "301", "from 1 to 300"),
        ("pool_recycle", "59", "from 60 to 86400, or -1 for never"),
        ("pool_recycle", "86401", "from 60 to 86400, or -1 for never"),
        ("pool_recycle", "-2", "from 60 to 86400, or -1 for never"),
        ("pool_recycle", "", "from 60 to 86400, or -1 for never"),
    ],
)
def test_a_number_of_the_pool_that_is_out_of_range_is_refused(
    ask: Ask, name: str, value: str, allowed: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} is a whole number.* {re.escape(allowed)}"):
        ask(driver="asyncpg", pool="custom", **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("processes", "0", "from 1 to 10000"),
        ("processes", "10001", "from 1 to 10000"),
        ("processes", "two", "from 1 to 10000"),
        ("max_connections", "0", "from 1 to 999999"),
        ("max_connections", "1000000", "from 1 to 999999"),
        ("max_connections", "many", "from 1 to 999999"),
    ],
)
def test_a_number_of_the_budget_that_is_out_of_range_is_refused(
    ask: Ask, name: str, value: str, allowed: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} is a whole number {allowed}"):
        ask(driver="asyncpg", pool="custom", **{name: value})


@pytest.mark.parametrize(
    ("answers", "sum_"),
    [
        ({"processes": 8}, "8 processes x (5 + 10) connections = 120, more than the 97"),
        (
            {"processes": 2, "pool_size": 45, "max_overflow": 4},
            "2 processes x (45 + 4) connections = 98, more than the 97",
        ),
        (
            {"processes": 7, "pooler": "pgbouncer"},
            "7 processes x (5 + 10) connections = 105, more than the 100",
        ),
    ],
)
def test_more_connections_than_the_server_allows_are_refused_with_the_sum(
    ask: Ask, answers: dict[str, object], sum_: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{sum_} that max_connections leaves")):
        ask(driver="asyncpg", pool="custom", **answers)


@pytest.mark.parametrize("driver", SERVER_DRIVERS)
@pytest.mark.parametrize("pool", OFFERED["pool"])
def test_every_pool_fits_the_server_that_is_there_by_default(
    ask: Ask, driver: str, pool: str
) -> None:
    ask(driver=driver, pool=pool)


def test_as_many_connections_as_the_server_allows_are_accepted(ask: Ask) -> None:
    ask(driver="asyncpg", pool="custom", processes=97, pool_size=1, max_overflow=0)
    ask(driver="asyncpg", pool="custom", processes=8, max_connections=123)
    ask(driver="aiosqlite", processes=8)


def test_a_refused_answer_leaves_nothing_behind(template: Template, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a Python keyword"):
        template.render(tmp_path / "new", package="class")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "theirs", ["src/shop/db/models.py", "src/shop/db.py", "src/shop/db/a/b.py"]
)
@pytest.mark.parametrize("scope", ["service", "layer"])
def test_a_db_that_is_not_ours_is_refused_before_anything_is_written(
    template: Template, tmp_path: Path, scope: str, theirs: str
) -> None:
    _write(tmp_path / theirs)
    with pytest.raises(ValueError, match=r"src/shop/db\.py exists and is not this template's"):
        template.render(tmp_path, scope=scope)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / theirs]


# A module of that name would be hidden by the package.
@pytest.mark.parametrize("theirs", ["db/test_models.py", "db/unit/test_models.py", "db.py"])
def test_tests_of_theirs_in_tests_db_are_refused_too(
    template: Template, tmp_path: Path, theirs: str
) -> None:
    _write(tmp_path / "tests" / theirs)
    with pytest.raises(ValueError, match=r"tests/db\.py exists and is not this template's"):
        template.ask(tmp_path, scope="layer")


@pytest.mark.parametrize(
    ("files", "tests_dir"),
    [
        ([], "tests"),
        (["tests/test_it.py", "src/shop/tests/test_it.py"], "tests"),
        (["test/test_it.py"], "test"),
        (["src/shop/tests/unit/test_it.py", "src/shop/tests/__init__.py"], "src/shop/tests"),
        (["a/b/c/d/e/tests/conftest.py"], "a/b/c/d/e/tests"),
        # More than one: the folder in the package's folder.
        (["src/tests/test_it.py", "web/tests/test_it.py"], "src/tests"),
        (["src/a/tests/test_it.py", "src/b/tests/test_it.py"], "tests"),
        # Those of others.
        (["venv/lib/site-packages/x/tests/test_it.py"], "tests"),
        (["src/tests/db/tests/test_it.py"], "tests"),
        (["src/contests/test_it.py"], "tests"),
    ],
)
def test_the_tests_of_a_project_are_found_at_any_depth(
    ask: Ask, tmp_path: Path, files: list[str], tests_dir: str
) -> None:
    for file in files:
        _write(tmp_path / file)
    assert ask(tmp_path, scope="layer", package="shop")["tests_dir"] == tests_dir


@pytest.mark.parametrize("tests_dir", ["/tests", "../tests", "tests/", "tests/db", "täsks", ""])
def test_a_folder_of_tests_that_is_no_plain_path_is_refused(ask: Ask, tests_dir: str) -> None:
    with pytest.raises(ValueError, match="tests_dir is a path inside the project"):
        ask(scope="layer", tests_dir=tests_dir)


def test_a_folder_of_tests_for_a_service_is_refused_since_it_would_be_forgotten(ask: Ask) -> None:
    with pytest.raises(ValueError, match="tests_dir is for scope=layer"):
        ask(tests_dir="test")


@pytest.mark.parametrize(
    ("installed", "is_old"),
    [
        ("pytest-7.4.4", True),
        ("pytest-8.1.2", True),
        ("pytest-8.2.0", False),
        ("pytest-10.0.0", False),
        ("pytest_asyncio-0.9.0", True),
        ("pytest_asyncio-0.23.8", True),
        ("pytest_asyncio-0.24.0", False),
        ("pytest_asyncio-1.0.0", False),
    ],
)
def test_packages_that_are_too_old_for_the_tests_are_named_before_anything_is_written(
    ask: Ask, tmp_path: Path, installed: str, is_old: bool
) -> None:
    _write(tmp_path / f".venv/lib/python3.12/site-packages/{installed}.dist-info/METADATA")
    name = installed.replace("_", "-")
    refusal = pytest.raises(ValueError, match=rf"\.venv has {name}: install newer ones first")
    with refusal if is_old else nullcontext():
        ask(tmp_path, scope="layer")
    ask(tmp_path, scope="layer", tests_dir="none")


@pytest.mark.parametrize(
    ("package", "there", "package_dir"),
    [
        ("shop", "shop/__init__.py", "shop"),
        ("shop", "src/shop/__init__.py", "src/shop"),
        ("src.app", "src/app/__init__.py", "src/app"),
        ("src.app.data", "src/app/__init__.py", "src/app/data"),
    ],
)
def test_the_package_of_a_project_is_looked_for(
    ask: Ask, tmp_path: Path, package: str, there: str, package_dir: str
) -> None:
    _write(tmp_path / there)
    answers = ask(tmp_path, scope="layer", package=package)
    assert answers["package_dir"] == package_dir


@pytest.mark.parametrize("package", ["src", "src.json", "src.tests"])
def test_src_alone_is_no_package(ask: Ask, package: str) -> None:
    with pytest.raises(ValueError, match=r"is a (name|module) of"):
        ask(scope="layer", package=package)


@pytest.mark.parametrize(
    ("files", "made"),
    [
        ([], True),
        (["alembic.ini"], False),
        (["a/b/c/d/alembic.ini"], False),
        (["a/b/c/migrations/script.py.mako"], False),
        (["migrations/script.py.mako"], False),
        (["venv/lib/python3.13/site-packages/x/alembic.ini"], True),
    ],
)
def test_alembic_is_made_where_the_project_has_none_at_any_depth(
    ask: Ask, tmp_path: Path, files: list[str], made: bool
) -> None:
    for file in files:
        _write(tmp_path / file)
    seeds = {"alembic.ini", "migrations/env.py", "migrations/script.py.mako"}
    assert seeds.isdisjoint(ask(tmp_path, scope="layer")["made"]) is not made


def test_a_project_whose_path_looks_like_a_pattern_is_looked_at_all_the_same(
    template: Template, tmp_path: Path
) -> None:
    project = tmp_path / "a[b]*?"
    _write(project / "src/shop/db/models.py")
    with pytest.raises(ValueError, match="exists and is not this template's"):
        template.ask(project, scope="layer", package="shop")


def test_the_answers_of_another_template_are_not_taken_for_ours(
    template: Template, tmp_path: Path
) -> None:
    (tmp_path / ANSWERS).write_text("_src_path: gh:somebody/else\nproject_name: Theirs\n")
    with pytest.raises(
        ValueError, match=r"another template: add `--answers-file \.copier-answers\.db"
    ):
        template.render(tmp_path, scope="layer")
    project = template.render_beside(tmp_path, scope="layer")
    assert project.answers["project_name"] == "Shop"
    assert project[ANSWERS].endswith("Theirs\n")


@pytest.mark.parametrize(
    ("scope", "changed", "reason"),
    [
        (
            "service",
            {"package": "store"},
            "The package is not renamed by a command: rename its fol",
        ),
        ("service", {"scope": "layer"}, "'scope': this project was generated as a service, and th"),
        ("layer", {"scope": "service"}, "'scope': this project was given the layer alone, and tha"),
        ("layer", {"package_dir": "lib/shop"}, "The package is not moved by a command: move its f"),
        ("layer", {"tests_dir": "test"}, "The tests are not moved by a command: move tests/db, wr"),
    ],
)
def test_an_answer_that_would_move_the_layer_is_refused_once_a_project_is_generated(
    ask: Ask, tmp_path: Path, scope: str, changed: dict[str, str], reason: str
) -> None:
    stored = ask(scope=scope, package="shop").stored
    (tmp_path / ANSWERS).write_text("".join(f"{name}: {stored[name]}\n" for name in stored))
    (tmp_path / "src/shop/db").mkdir(parents=True)
    (tmp_path / "src/shop/db/__init__.py").touch()
    assert ask(tmp_path).stored == stored
    with pytest.raises(ValueError, match=reason):
        ask(tmp_path, **changed)


@pytest.mark.parametrize("scope", ["service", "layer"])
def test_a_first_copy_says_nothing_of_an_answers_file_that_is_missing(
    template: Template, tmp_path: Path, recwarn: pytest.WarningsRecorder, scope: str
) -> None:
    source, answers = str(template.repository), {"scope": scope, "package": "shop"}
    run_copy(source, tmp_path, answers, settings=Settings(), defaults=True, quiet=True)
    assert [str(warning.message) for warning in recwarn] == []


def test_a_template_that_is_named_by_a_relative_path_is_refused(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(template.repository)
    for path in (".", f"../{template.repository.name}"):
        with pytest.raises(ValueError, match=rf"{re.escape(path)} is a relative path, where no up"):
            run_copy(path, tmp_path, settings=Settings(), defaults=True, quiet=True)
    assert list(tmp_path.iterdir()) == []
    for path in (str(template.repository), f"git+file://{template.repository}"):
        run_copy(path, tmp_path, settings=Settings(), defaults=True, quiet=True, pretend=True)


# Words from people never become code.


@pytest.mark.parametrize(
    "name", ['Rock \'n\' """Roll\\', "{{ 1 }} {% raw %} # é 日本 🙂", '"' * 60]
)
def test_an_odd_project_name_stays_a_text_in_every_file(render: Render, name: str) -> None:
    project = render(project_name=name, package="shop", driver="asyncpg", ci="github")
    for path in project.tree:
        if path.endswith(".py"):
            ast.parse(project[path])
        if path.endswith(".toml"):
            tomllib.loads(project[path])
    settings = ast.parse(project["src/shop/db/settings.py"])
    texts = {node.value for node in ast.walk(settings) if isinstance(node, ast.Constant)}
    assert name in texts


def _write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("theirs = True\n")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).strip("_").lower()


def _is_refused(name: str, answers: Answers) -> bool:
    reserved = " ".join(answers["reserved"].values()).split()
    return name.startswith("__") or name.lower() in reserved or _normal(name) in reserved
