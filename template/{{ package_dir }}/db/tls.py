"""How the way to the server is protected: what URLs say of TLS, and what drivers make of it."""

import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

TLSMode = Literal["disable", "require", "verify-ca", "verify-full"]

# How URLs speak of it: in libpq's words, or in those of MySQL's clients.
_MODE_WORDS = ("sslmode", "ssl-mode", "ssl_mode", "ssl")
_AUTHORITY_WORDS = ("sslrootcert", "ssl-ca", "ssl_ca")
_MODES: dict[str, TLSMode | None] = {
    **dict.fromkeys(("disable", "disabled", "false"), "disable"),
    # What falls back to plain text protects nothing: the default takes its place.
    **dict.fromkeys(("allow", "prefer", "preferred", "true"), None),
    **dict.fromkeys(("require", "required"), "require"),
    "verify-ca": "verify-ca",
    **dict.fromkeys(("verify-full", "verify-identity"), "verify-full"),
}


def mode_of(url: URL) -> TLSMode | None:
    """The mode that a URL names; None if it leaves it open. Raises ValueError for no mode."""
    word = _parameter(url, _MODE_WORDS) or "true"
    try:
        mode = _MODES[word.lower().replace("_", "-")]
    except KeyError:
        raise ValueError(f"{word} is no TLS mode: one of {', '.join(_MODES)}") from None
    # What binding the channel protects from, a stranger in between, verification does on any driver.
    bound = _parameter(url, ("channel_binding",)) == "require"
    return "verify-full" if mode == "require" and bound else mode


def authority_of(url: URL) -> Path | None:
    """The file of authorities that a URL names; None stands for the system's own."""
    file = _parameter(url, _AUTHORITY_WORDS)
    return Path(file) if file and file != "system" else None


def without_words(url: URL) -> URL:
    """The same URL without what these functions read in it: not every driver knows the words."""
    return url.difference_update_query([*_MODE_WORDS, *_AUTHORITY_WORDS])


def default_mode(url: URL) -> TLSMode:
    """What protects the way to a server that nothing is said of: all there is, but locally none."""
    hosts = url.query.get("host", url.host or "localhost")
    local = map(_is_local, (hosts,) if isinstance(hosts, str) else hosts)
    return "disable" if all(local) else "verify-full"


def create_context(mode: TLSMode, authority: Path | None) -> ssl.SSLContext | None:
    """What a driver encrypts with and verifies by; None for no TLS.

    Raises ValueError if the file of authorities holds none.
    """
    if mode == "disable":
        return None
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise ValueError(f"{authority} holds no certificate of an authority: {error}") from error
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def _parameter(url: URL, names: tuple[str, ...]) -> str:
    given = next((url.query[name] for name in names if name in url.query), "")
    return given if isinstance(given, str) else given[-1]


def _is_local(host: str) -> bool:
    """Whether a host is this machine: by name, by address, or as the directory of a socket."""
    if host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
