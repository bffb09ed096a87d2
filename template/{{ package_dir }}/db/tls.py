"""TLS: the parameters of a URL that describe it, and the SSL context that they mean."""

import re
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
        ValueError: The URL names an unknown mode, or several.
    """
    words = [word for name in _MODE_PARAMETERS for word in _words(url, name)]
    if len(words) > 1:
        raise ValueError(f"the URL names several TLS modes, {' and '.join(words)}: write one")
    mode = parse_mode(*words)
    # Channel binding protects from a man in the middle. On any driver, verification does the same.
    bound = _parameter(url, ("channel_binding",)) == "require"
    return "verify-full" if mode == "require" and bound else mode


def parse_mode(word: str = "true") -> TLSMode | None:
    """Return the mode of a word, or None if it falls back to plain text. Raise ValueError."""
    try:
        return _MODES[word.lower().replace("_", "-")]
    except KeyError:
        raise ValueError(f"{word} is not a TLS mode: write one of {', '.join(_MODES)}") from None


def authority_of(url: URL) -> Path | None:
    """Return the file of authorities that a URL names; None means those of the system."""
    file = _parameter(url, _AUTHORITY_PARAMETERS)
    return Path(file) if file and file != "system" else None


def without_parameters(url: URL) -> URL:
    """Return the URL without these parameters, since not every driver knows them."""
    return url.difference_update_query([*_MODE_PARAMETERS, *_AUTHORITY_PARAMETERS])


def default_mode(url: URL) -> TLSMode:
    """Return the mode for a URL that names none: `disable` for this machine, else `verify-full`."""
    # libpq connects to `hostaddr` whatever the host is, and a service has an address of its own.
    texts = [text for name in ("hostaddr", "host", "service") for text in _words(url, name)]
    hosts = [host for text in texts for host in text.split(",")]
    return "disable" if all(map(_is_local, hosts or [url.host or "localhost"])) else "verify-full"


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


def _words(url: URL, name: str) -> tuple[str, ...]:
    value = url.query.get(name, ())
    return (value,) if isinstance(value, str) else value


def _parameter(url: URL, names: tuple[str, ...]) -> str:
    return next((word for name in names for word in _words(url, name)), "")


def _is_local(host: str) -> bool:
    """Return whether a host is this machine: by name, by address, or as a socket directory."""
    # A list of hosts has ports. An IPv6 address needs brackets to have one.
    host = re.sub(r"^([^:]+):\d+$|^\[(.+)\](?::\d+)?$", r"\1\2", host)
    if host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
