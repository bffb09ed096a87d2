"""TLS: the parameters of a URL that describe it, and the SSL context that they mean."""

import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

TLSMode = Literal["disable", "require", "verify-ca", "verify-full"]

# Names of libpq, and of the clients of MySQL.
_MODE_PARAMETERS = ("sslmode", "ssl-mode", "ssl_mode", "ssl")
_AUTHORITY_PARAMETERS = ("sslrootcert", "ssl-ca", "ssl_ca")
_MODES: dict[str, TLSMode | None] = {
    **dict.fromkeys(("disable", "disabled", "false"), "disable"),
    # A mode that falls back to plain text protects nothing, so the default replaces it.
    **dict.fromkeys(("allow", "prefer", "preferred", "true"), None),
    **dict.fromkeys(("require", "required"), "require"),
    "verify-ca": "verify-ca",
    **dict.fromkeys(("verify-full", "verify-identity"), "verify-full"),
}


def mode_of(url: URL) -> TLSMode | None:
    """Return the mode that a URL names, or None if it names none.

    Raises:
        ValueError: The URL names an unknown mode.
    """
    word = _parameter(url, _MODE_PARAMETERS) or "true"
    try:
        mode = _MODES[word.lower().replace("_", "-")]
    except KeyError:
        raise ValueError(f"{word} is not a TLS mode: write one of {', '.join(_MODES)}") from None
    # Channel binding protects from a man in the middle. On any driver, verification does the same.
    bound = _parameter(url, ("channel_binding",)) == "require"
    return "verify-full" if mode == "require" and bound else mode


def authority_of(url: URL) -> Path | None:
    """Return the file of authorities that a URL names; None means those of the system."""
    file = _parameter(url, _AUTHORITY_PARAMETERS)
    return Path(file) if file and file != "system" else None


def without_parameters(url: URL) -> URL:
    """Return the URL without these parameters, since not every driver knows them."""
    return url.difference_update_query([*_MODE_PARAMETERS, *_AUTHORITY_PARAMETERS])


def default_mode(url: URL) -> TLSMode:
    """Return the mode for a URL that names none: `disable` for this machine, else `verify-full`."""
    hosts = url.query.get("host", url.host or "localhost")
    local = map(_is_local, (hosts,) if isinstance(hosts, str) else hosts)
    return "disable" if all(local) else "verify-full"


def create_context(mode: TLSMode, authority: Path | None) -> ssl.SSLContext | None:
    """Return the SSL context for a driver, or None if TLS is disabled.

    Raises:
        ValueError: The file of authorities contains no certificate.
    """
    if mode == "disable":
        return None
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise ValueError(f"{authority} contains no certificate of an authority: {error}") from error
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def _parameter(url: URL, names: tuple[str, ...]) -> str:
    value = next((url.query[name] for name in names if name in url.query), "")
    return value if isinstance(value, str) else value[-1]


def _is_local(host: str) -> bool:
    """Return whether a host is this machine: by name, by address, or as a socket directory."""
    if host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
