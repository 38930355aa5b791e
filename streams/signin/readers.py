"""Who asks for a page: by a bearer token, or by a sign-in in front that sends a header."""

import base64
import binascii
import ipaddress
from collections.abc import Iterable

from aiohttp import web

from streams.settings import Settings, WrongSetting
from streams.signin.tokens import Reader, Tokens

NAME_LIMIT_CHARS = 128

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SignIn:
    """The sign-ins that the settings allow.

    Attributes:
        is_set: there is one. Without any, pages answer only on a loopback address.

    Raises:
        WrongSetting: tokens, trusted header or trusted proxies are not what they must be.
    """

    def __init__(self, settings: Settings) -> None:
        self._tokens = Tokens(settings)
        self._header, self._role = settings.web_trusted_header, settings.web_trusted_role
        self._proxies = parse_networks(settings.web_trusted_proxies)
        self.is_set = bool(self._tokens) or bool(self._header)

    def reader(self, request: web.Request) -> Reader | None:
        """Who asks; None: nobody that is known."""
        token = _token(request.headers.get("Authorization", ""))
        reader = None if token is None else self._tokens.reader(token)
        return self._named_by_proxy(request) if reader is None and self._header else reader

    def _named_by_proxy(self, request: web.Request) -> Reader | None:
        """Whoever the header names, if a trusted proxy sent it, and exactly once: a second one may be the client's own."""
        names = request.headers.getall(self._header, [])
        if len(names) != 1 or not is_within(request.remote, self._proxies):
            return None
        (name,) = names
        if not 1 <= len(name) <= NAME_LIMIT_CHARS or not name.isprintable():
            return None
        return Reader(self._role, name)


def host_name(host: str) -> str:
    """The name in a Host header, in lower case, without its port.

    >>> host_name("Shop.example:6066"), host_name("[::1]:6066"), host_name("::1")
    ('shop.example', '[::1]', '::1')
    """
    name, colon, port = host.rpartition(":")
    is_port = colon and port.isdecimal() and (":" not in name or name.endswith("]"))
    return (name if is_port else host).lower()


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma-separated list.

    Raises:
        WrongSetting: one is neither an address nor a network.
    """
    try:
        return tuple(ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip())
    except ValueError as exc:
        raise WrongSetting(
            f"REGULARS_WEB_TRUSTED_PROXIES: {exc}; write addresses or networks with commas, as in 127.0.0.1,10.1.0.0/16"
        ) from exc


def is_within(address: str | None, networks: Iterable[Network]) -> bool:
    """Whether an IP address lies in one of the networks; an IPv4 address that is written as IPv6 counts as IPv4."""
    if address is None:
        return False
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(plain in network for network in networks)


def _token(authorization: str) -> str | None:
    """The token of an Authorization header; None: there is none. A browser asks for it as a password (Basic)."""
    scheme, _, rest = authorization.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            try:
                return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
        case _:
            return None
