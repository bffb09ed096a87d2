"""The settings of the database, which are read from the environment: DATABASE_URL and so on.

The defaults are the answers that the service was generated with. No other module contains answers.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from .tls import TLSMode, authority_of, default_mode, mode_of

DRIVER = "postgresql+asyncpg"


def _parse_url(value: object, info: ValidationInfo) -> URL:
    setting = f"DATABASE_{(info.field_name or 'url').upper()}"
    text = value if isinstance(value, URL) else str(value).strip()
    host = str(text).partition("://")[2].partition("/")[0].rpartition("@")[2]
    if "," in host or "%2f" in host.lower():
        # libpq accepts several hosts, or a socket directory, here. SQLAlchemy does not.
        raise ValueError(
            f"the host of {setting} is not a single name or address: write several hosts, or the"
            " directory of a socket, as `host` parameters behind a `?`"
        )
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # `from None`, because the message of the original error contains the URL and its password.
        raise ValueError(f"{setting} is not a database URL: write {DRIVER}://...") from None
    # Hosting providers give URLs without a driver, or with an old name of the database.
    if url.drivername in ["postgresql", "postgres"]:
        url = url.set(drivername=DRIVER)
    if url.drivername != DRIVER:
        raise ValueError(f"{setting} is for {url.drivername}, and this service for {DRIVER}")
    if url.port is not None and not 1 <= url.port <= 65535:
        # The message does not contain the port, which may be a part of a password.
        raise ValueError(f"the port of {setting} is not between 1 and 65535")
    if "password" in url.query:
        raise ValueError(f"write the password of {setting} before the host: user:password@host")
    repeated = [name for name, x in url.query.items() if isinstance(x, tuple) and name != "host"]
    if repeated:
        raise ValueError(f"{setting} has the parameter {repeated[0]} several times: write it once")
    # It raises ValueError for an unknown TLS mode.
    mode_of(url)
    return url


def _take_credentials(url: URL, info: ValidationInfo) -> URL:
    main: URL | None = info.data.get("url")
    if main is None or url.username not in (None, "", main.username):
        return url
    if url.username and url.password is not None:
        return url
    return url.set(username=main.username, password=main.password)


DatabaseURL = Annotated[
    URL,
    NoDecode,
    BeforeValidator(_parse_url),
    # This keeps passwords out of dumps of the settings.
    PlainSerializer(URL.render_as_string, return_type=str),
]
# It takes the user and the password of DATABASE_URL, unless it names another user.
OtherURL = Annotated[DatabaseURL, AfterValidator(_take_credentials)]


class DatabaseSettings(BaseSettings):
    """Settings from arguments, from the environment (DATABASE_<FIELD>), or from the file .env.

    All times are in seconds. If `url` is given as an argument, then no other part of the address is
    read from the environment.
    """

    # hide_input_in_errors: the input may be a URL with a password.
    model_config = SettingsConfigDict(
        env_prefix="DATABASE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        validate_default=True,
    )

    # An argument `url` resets these fields: they are parts of the same address.
    ADDRESS: ClassVar[list[str]] = ["host", "port", "user", "password", "name", "migration_url"]

    # Parts of the address. Each replaces the same part of the URL, and needs no escaping.
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    user: str | None = None
    password: SecretStr | None = None
    name: str | None = None
    url: DatabaseURL = make_url(
        "postgresql+asyncpg://postgres@localhost:5432/shop",
    )
    # The connection pooler between the service and the server. Migrations connect to the server
    # itself, at migration_url.
    pooler: Literal["none", "pgbouncer", "pgbouncer_statementless"] = "none"
    migration_url: OtherURL | None = None

    # Without a value the mode of the URL counts, then `disable` if the server runs on this machine,
    # and else `verify-full`.
    tls: TLSMode | None = None
    # A file of certificate authorities that replaces the authorities of the system.
    tls_ca_file: FilePath | None = None

    application_name: str = Field(
        default="My Service",
    )
    echo: bool = False
    # Statements that take at least this long are logged without parameters. 0 turns this off.
    slow_query_threshold: float = Field(default=1, ge=0)

    # The number of processes that share the server, for `python -m ...db doctor`.
    processes: int = Field(default=4, ge=1)
    # With 0 there is no pool: each session opens and closes a connection.
    pool_size: int = Field(default=5, ge=0)
    max_overflow: int = Field(default=10, ge=0)
    pool_timeout: float = Field(default=5, gt=0)
    pool_recycle: float = Field(default=1800, ge=-1)
    pool_pre_ping: bool = True

    connect_timeout: float = Field(default=5, gt=0)
    # Limits that the server applies: to the wait for a lock, to a statement, and to the time that a
    # transaction is idle. For the last two, 0 means no limit.
    lock_timeout: float = Field(default=3, gt=0)
    statement_timeout: float = Field(default=5, ge=0)
    idle_in_transaction_timeout: float = Field(default=60, ge=0)
    # The client drops a connection if the server has not answered for this long. -1 means one
    # second more than statement_timeout; 0 means no limit.
    command_timeout: float = Field(default=-1, ge=-1)
    migration_timeout: float = Field(default=300, gt=0)

    @property
    def tls_authority(self) -> Path | None:
        """Return the file of trusted authorities; None means those of the system."""
        return self.tls_ca_file or authority_of(self.url)

    @property
    def tls_mode(self) -> TLSMode:
        """Return the TLS mode of connections to the server."""
        mode = self.tls or mode_of(self.url) or default_mode(self.url)
        # libpq does the same: a named authority is used, so `require` becomes `verify-ca`.
        return "verify-ca" if mode == "require" and self.tls_authority else mode

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Refuse unknown arguments. With the argument `url`, read no other part of the address."""
        arguments = init_settings()
        names = {x for key, field in settings_cls.model_fields.items() for x in (key, field.alias)}
        unknown = sorted(set(arguments) - names)
        # Unknown environment variables are ignored. An unknown argument is a mistake in code.
        if unknown and settings_cls.model_config.get("extra") == "ignore":
            raise TypeError(f"{settings_cls.__name__} has no field {', '.join(unknown)}")
        if "url" in arguments:
            # Tests must not connect to DATABASE_HOST, nor migrate DATABASE_MIGRATION_URL.
            parts = dict.fromkeys(cls.ADDRESS)
            init_settings = InitSettingsSource(settings_cls, parts | arguments)
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @field_validator("url")
    @classmethod
    def _take_parts(cls, url: URL, info: ValidationInfo) -> URL:
        parts = info.data
        password: SecretStr | None = parts.get("password")
        return url.set(
            host=parts.get("host") or url.host,
            port=parts.get("port") or url.port,
            username=parts.get("user") or url.username,
            password=password.get_secret_value() if password else url.password,
            database=parts.get("name") or url.database,
        )

    @field_validator("command_timeout")
    @classmethod
    def _outlast_statements(cls, timeout: float, info: ValidationInfo) -> float:
        limit: float = info.data.get("statement_timeout", 0)
        return timeout if timeout >= 0 else limit and limit + 1
