"""The environment says where the database is; no message shows a password."""

import logging
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from . import db, dialect

Settings = db.DatabaseSettings
DRIVER = Settings().url.drivername
# Whatever people put into a password.
PASSWORD = "p%40@/#:?&[]'\"\\ 🔑"


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DATABASE_{name.upper()}", raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def setenv(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"DATABASE_{name.upper()}", value)

    return setenv


def test_an_address_in_parts_takes_any_password(setenv: Callable[..., None]) -> None:
    setenv(host="db.example", port="5", user="me@there", password=PASSWORD, name="shop")
    url = Settings().url
    assert (url.host, url.port, url.username, url.database) == ("db.example", 5, "me@there", "shop")
    assert url.password == PASSWORD
    assert sa.make_url(url.render_as_string(hide_password=False)) == url


def test_a_part_takes_the_place_of_what_the_url_says(setenv: Callable[..., None]) -> None:
    setenv(url=f"{DRIVER}://me@db.example/shop", password=PASSWORD)
    assert Settings().url == sa.URL.create(DRIVER, "me", PASSWORD, "db.example", None, "shop")


def test_a_url_that_a_program_gives_takes_no_part_from_the_environment(
    setenv: Callable[..., None],
) -> None:
    url = f"{DRIVER}://me@test.example/test"
    setenv(host="prod.example", password="x", name="shop", migration_url=f"{DRIVER}://prod/shop")
    settings = Settings.model_validate({"url": url})
    assert settings.url == sa.make_url(url)
    assert settings.migration_url is None


def test_migrations_connect_as_the_same_user(setenv: Callable[..., None]) -> None:
    setenv(url=f"{DRIVER}://me:x@pooler/shop", migration_url=f"{DRIVER}://direct/shop")
    assert Settings().migration_url == sa.make_url(f"{DRIVER}://me:x@direct/shop")


def test_a_url_that_names_the_same_user_takes_the_password_too(
    setenv: Callable[..., None],
) -> None:
    setenv(url=f"{DRIVER}://me@pooler/shop", password="x")
    for given, taken in (("me", "me:x"), ("me:y", "me:y"), ("you", "you")):
        setenv(migration_url=f"{DRIVER}://{given}@direct/shop")
        assert Settings().migration_url == sa.make_url(f"{DRIVER}://{taken}@direct/shop")


def test_an_empty_variable_is_none(setenv: Callable[..., None]) -> None:
    setenv(host="", port="", password="", tls="", pool_size="")
    assert Settings() == Settings.model_validate({})


def test_a_url_without_a_driver_or_with_an_old_name_is_understood(
    setenv: Callable[..., None],
) -> None:
    backend = DRIVER.partition("+")[0]
    for name in {backend, backend.replace("postgresql", "postgres")}:
        # A secret that is read from a file may end with a line's end.
        setenv(url=f"{name}://me@db.example/shop\n")
        assert Settings().url == sa.make_url(f"{DRIVER}://me@db.example/shop")


@pytest.mark.parametrize(
    "url",
    [
        "hidden",
        "nothing://me:hidden@db.example/shop",
        f"{DRIVER[0]}://me:hidden@db.example/shop",
        f"{DRIVER}://me:hidden@db.example:99999/shop",
        f"{DRIVER}://me:hidden@db.example:port/shop",
        f"{DRIVER}://me@db.example/shop?password=hidden",
        f"{DRIVER}://me:hidden@db.example/shop?sslmode=perhaps",
    ],
)
def test_a_url_that_is_refused_is_not_repeated(setenv: Callable[..., None], url: str) -> None:
    setenv(url=url)
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("host", ["one.example,two.example:5", "%2Frun%2Fserver"])
def test_a_host_in_libpqs_form_is_refused_in_words_of_its_own(
    setenv: Callable[..., None], host: str
) -> None:
    setenv(url=f"{DRIVER}://me:hidden@{host}/shop")
    with pytest.raises(ValidationError, match="the host of DATABASE_URL is not a single") as raised:
        Settings()
    assert "hidden" not in str(raised.value)


def test_a_misspelt_argument_is_refused_and_a_misspelt_variable_is_not(
    setenv: Callable[..., None],
) -> None:
    setenv(statment_timeout="600")
    assert Settings() == Settings.model_validate({})
    with pytest.raises(TypeError, match="no field statment_timeout"):
        Settings.model_validate({"statment_timeout": 600})


def test_a_url_without_a_database_is_completed_as_it_should_be() -> None:
    for url in (f"{DRIVER}://me:hidden@db.example", f"{DRIVER}://me:hidden@db.example/"):
        with pytest.raises(ValueError, match="names no") as raised:
            dialect.locate(sa.make_url(url))
        assert "hidden" not in str(raised.value)
        assert "//the_database" not in str(raised.value)


def test_no_secret_is_shown(setenv: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    setenv(url=f"{DRIVER}://me:hidden1@db.example/shop", password="hidden2")
    setenv(migration_url=f"{DRIVER}://me:hidden3@db.example/shop")
    settings = Settings()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger().warning("%s %r %s %r", settings, settings, settings.url, settings.url)
    shown = [caplog.text, str(settings.model_dump()), settings.model_dump_json()]
    assert "hidden" not in "".join(shown)


def test_the_client_waits_a_second_longer_than_the_server(setenv: Callable[..., None]) -> None:
    assert Settings.model_validate({"statement_timeout": 20}).command_timeout == 21
    assert Settings.model_validate({"statement_timeout": 0}).command_timeout == 0
    given = {"statement_timeout": 20, "command_timeout": 3}
    assert Settings.model_validate(given).command_timeout == 3


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("localhost", "disable"),
        ("127.0.0.1", "disable"),
        ("127.1.2.3", "disable"),
        ("[::1]", "disable"),
        ("", "disable"),
        ("db", "verify-full"),
        ("10.0.0.1", "verify-full"),
        ("localhost.example", "verify-full"),
        ("127.0.0.1.example", "verify-full"),
    ],
)
def test_the_way_is_verified_but_on_this_machine(host: str, mode: str) -> None:
    settings = Settings.model_validate({"url": f"{DRIVER}://me@{host}/shop"})
    assert settings.tls_mode == mode


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("sslmode=disable", "disable"),
        ("sslmode=allow", "verify-full"),
        ("sslmode=prefer", "verify-full"),
        ("sslmode=require", "require"),
        ("sslmode=require&sslrootcert=/ca.crt", "verify-ca"),
        ("sslmode=require&sslrootcert=system", "require"),
        ("sslmode=require&channel_binding=require", "verify-full"),
        ("sslmode=verify-ca", "verify-ca"),
        ("sslmode=verify-full", "verify-full"),
        ("ssl=require", "require"),
        ("ssl=true", "verify-full"),
        ("ssl-mode=REQUIRED", "require"),
        ("ssl_mode=VERIFY_IDENTITY", "verify-full"),
        ("ssl-mode=DISABLED", "disable"),
        ("hostaddr=127.0.0.1", "disable"),
        ("hostaddr=192.0.2.1", "verify-full"),
        ("hostaddr=127.0.0.1&host=db.example", "verify-full"),
        ("service=orders", "verify-full"),
    ],
)
def test_the_words_of_a_providers_url_are_understood(query: str, mode: str) -> None:
    url = f"{DRIVER}://me@db.example/shop?{query}"
    assert Settings.model_validate({"url": url}).tls_mode == mode
    assert Settings.model_validate({"url": url, "tls": "verify-full"}).tls_mode == "verify-full"


@pytest.mark.parametrize(
    ("hosts", "mode"),
    [
        ("host=127.0.0.1:5&host=localhost:6", "disable"),
        ("host=127.0.0.1,localhost&port=5,6", "disable"),
        ("host=[::1]:5&host=::1", "disable"),
        ("host=127.0.0.1:5&host=db.example:5", "verify-full"),
        ("host=127.0.0.1,db.example", "verify-full"),
    ],
)
def test_several_hosts_are_this_machine_only_if_all_are(hosts: str, mode: str) -> None:
    assert Settings.model_validate({"url": f"{DRIVER}://me@/shop?{hosts}"}).tls_mode == mode


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("host=one", {"host": "two"}),
        ("host=one:5", {"port": "6"}),
        ("host=one&port=5", {"port": "6"}),
        ("", {"host": "one,two"}),
    ],
)
def test_hosts_in_two_places_are_refused(
    setenv: Callable[..., None], query: str, parts: dict[str, str]
) -> None:
    setenv(url=f"{DRIVER}://me@/shop?{query}", **parts)
    with pytest.raises(ValidationError, match="DATABASE_HOST and DATABASE_PORT are for one host"):
        Settings()


def test_a_host_behind_the_question_mark_takes_the_port_of_the_settings(
    setenv: Callable[..., None],
) -> None:
    setenv(url=f"{DRIVER}://me@/shop?host=/run/server", port="6")
    assert Settings().url == sa.make_url(f"{DRIVER}://me@:6/shop?host=/run/server")


@pytest.mark.parametrize(
    "query", ["sslmode=require&sslmode=disable", "sslmode=require&ssl=false", "options=a&options=b"]
)
def test_a_parameter_that_is_there_twice_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="several"):
        Settings.model_validate({"url": f"{DRIVER}://me@db.example/shop?{query}"})


@pytest.mark.parametrize(
    ("name", "value", "url"),
    [("PGHOST", "db.example", "///shop"), ("PGSSLMODE", "require", "//me@127.0.0.1/shop")],
)
async def test_a_variable_of_libpq_that_contradicts_the_settings_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, url: str
) -> None:
    if "postgresql" not in DRIVER:
        pytest.skip("only the drivers of PostgreSQL read these variables")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        async with db.Database(Settings.model_validate({"url": f"{DRIVER}:{url}"})):
            pass
