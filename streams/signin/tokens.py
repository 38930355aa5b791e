"""Bearer tokens with their roles, from a file or the environment."""

import hmac
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import structlog

from streams.keys import secret_text
from streams.settings import Settings, WrongSetting
from streams.signin.pages import ROLES, Role

log = structlog.get_logger(__name__)

# `openssl rand -hex 16` gives so many.
SHORTEST_TOKEN_CHARS = 32

_ROLES: dict[str, Role] = {role: role for role in ROLES}


class Reader(NamedTuple):
    """Who asks for a page: a role, and a name where the sign-in has one."""

    role: Role
    name: str = ""

    def __str__(self) -> str:
        return f"{self.role}/{self.name}" if self.name else self.role


class Tokens:
    """The tokens of the settings. A file that changes is read again; one that became wrong is logged and changes nothing.

    Raises:
        WrongSetting: a line is not `role:token` or `role/name:token`, a token is short, or the file cannot be read. The
            message names the line, never the token.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = settings.web_token_file
        self._of_variable = parse_tokens(settings.web_tokens.get_secret_value(), "REGULARS_WEB_TOKENS")
        self._of_file: list[tuple[bytes, Reader]] = []
        self._read_state: tuple[int, int, int] | None = None
        if self._file is not None:
            self._read_state = _state(self._file)
            self._of_file = _read(self._file)

    def __bool__(self) -> bool:
        return self._file is not None or bool(self._of_variable)

    def reader(self, token: str) -> Reader | None:
        """Who has this token; None: nobody. It is compared with every token, each in constant time."""
        self._read_again()
        digest, match = _digest(token), None
        for known, reader in (*self._of_variable, *self._of_file):
            if hmac.compare_digest(digest, known):
                match = reader
        return match

    def _read_again(self) -> None:
        if self._file is None or (state := _state(self._file)) == self._read_state:
            return
        self._read_state = state
        try:
            self._of_file = _read(self._file)
        except WrongSetting as exc:
            log.error("the file of tokens changed and cannot be used, the tokens before stay", why=str(exc))


def parse_tokens(text: str, where: str) -> list[tuple[bytes, Reader]]:
    """Digest and reader of each line of `text`; empty lines and those that begin with # are passed over.

    Raises:
        WrongSetting: a line is not `role:token` or `role/name:token`; the message names `where` and the line's number.
    """
    tokens: list[tuple[bytes, Reader]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        who, colon, token = line.partition(":")
        role, _, name = who.partition("/")
        if not colon or role not in _ROLES:
            raise WrongSetting(
                f"{where}, line {number}: write `role:token` or `role/name:token`, the role being {' or '.join(ROLES)}"
            )
        if len(token) < SHORTEST_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
            raise WrongSetting(
                f"{where}, line {number}: a token has at least {SHORTEST_TOKEN_CHARS} ASCII characters and no space; "
                "`openssl rand -hex 32` makes one"
            )
        tokens.append((_digest(token), Reader(_ROLES[role], name)))
    return tokens


def own_headers(settings: Settings) -> dict[str, str]:
    """The headers with which a command asks workers' pages: the first token of the settings; without any, none.

    Raises:
        WrongSetting: the file of tokens cannot be read.
    """
    text = settings.web_tokens.get_secret_value()
    if not text and settings.web_token_file is not None:
        text = secret_text(settings.web_token_file, "REGULARS_WEB_TOKEN_FILE")
    lines = [line.strip() for line in text.splitlines()]
    tokens = [line.partition(":")[2] for line in lines if line and not line.startswith("#")]
    return {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}


def _read(file: Path) -> list[tuple[bytes, Reader]]:
    tokens = parse_tokens(secret_text(file, "REGULARS_WEB_TOKEN_FILE"), str(file))
    if not tokens:
        raise WrongSetting(f"{file} has no token; write `role:token` lines, or unset REGULARS_WEB_TOKEN_FILE")
    return tokens


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _digest(token: str) -> bytes:
    return blake2b(token.encode(), digest_size=32).digest()
