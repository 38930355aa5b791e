"""The secret of an installation, and the keys that are made of it, one for each use.

The secret is the setting `pseudonym_key`: from a file or the environment, the same for all workers. It names customers in
`model-train`. Its other keys are digests of it, so that none of them says anything about another one.

A group whose broker is on this machine needs no secret from its user: all of its workers are on this machine too, so one is
made at random, once, in a file for its owner alone.
"""

import secrets
from contextlib import suppress
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path

from streams.settings import Settings, WrongSetting

# `openssl rand -hex 16` gives so many. Whoever has the labels can try keys as fast as a machine computes digests.
SHORTEST_SECRET_CHARS = 32
KEY_BYTES = 32
LOOPBACK_NAMES = frozenset({"localhost", "localhost."})
LOCAL_SECRET_FILE = "pseudonym.key"  # in `cache_dir`

WAY_OUT = (
    "make one once, for all workers, and keep it: `openssl rand -hex 32 > FILE` and REGULARS_PSEUDONYM_KEY_FILE=FILE, "
    "or REGULARS_PSEUDONYM_KEY"
)


def secret_text(path: Path, variable: str) -> str:
    """What the file of a secret holds, without the line end.

    Raises:
        WrongSetting: the file cannot be read or is empty; the message names `variable`, the setting that names the file.
    """
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise WrongSetting(f"{path}: {why}; correct {variable}") from None
    if not text:
        raise WrongSetting(f"{path} is empty; correct {variable}")
    return text


def is_local(bootstrap_servers: str) -> bool:
    """Whether every broker is reached over this machine's loopback.

    >>> is_local("127.0.0.1:9092"), is_local("localhost:9092,[::1]:9093"), is_local("127.0.0.1:9092,kafka-1:9092")
    (True, True, False)
    """
    return all(is_loopback(server.strip().rpartition(":")[0]) for server in bootstrap_servers.split(","))


def is_loopback(host: str) -> bool:
    """Whether a host name or address, as in a URL or a setting, is this machine's own.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "[::1]", "0.0.0.0", "shop.example")]
    [True, True, True, True, False, False]
    """
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def pseudonym_key(settings: Settings) -> bytes:
    """The key of customers' pseudonyms, 32 bytes.

    Raises:
        WrongSetting: there is no secret and a broker is on another machine, there are two, or it is shorter than
            `SHORTEST_SECRET_CHARS`.
    """
    return blake2b(_secret(settings).encode(), digest_size=KEY_BYTES).digest()


def pseudonym_of(customer_id: str, key: bytes) -> str:
    """Names a customer in `model-train`, 16 hex digits; `key` is `pseudonym_key`."""
    return blake2b(customer_id.encode(), key=key, digest_size=8).hexdigest()


def has_secret(settings: Settings) -> bool:
    """Whether `pseudonym_key` finds a secret that is there already, and would not make one that no worker has used."""
    given = bool(settings.pseudonym_key.get_secret_value()) or settings.pseudonym_key_file is not None
    return given or (is_local(settings.bootstrap_servers) and (settings.cache_dir / LOCAL_SECRET_FILE).exists())


def key_for(settings: Settings, use: str) -> bytes:
    """The key for `use` (`look-ups`, `text-cache`), 32 bytes. Raises as `pseudonym_key`."""
    return blake2b(use.encode(), key=pseudonym_key(settings), digest_size=KEY_BYTES).digest()


def text_cache_key(settings: Settings) -> bytes:
    """The key of the text cache: of the secret, or of a file beside the cache, for commands that run without the secret.

    Raises:
        WrongSetting: the secret is too short, or the file beside the cache cannot be read.
    """
    if settings.pseudonym_key.get_secret_value() or settings.pseudonym_key_file is not None:
        return key_for(settings, "text-cache")
    try:
        secret = _kept_secret(settings.cache_dir / "text-vectors.key")
    except OSError:  # no disk: a cache that nobody finds again, which is what the cache itself does then
        return secrets.token_bytes(KEY_BYTES)
    return blake2b(secret.encode(), digest_size=KEY_BYTES).digest()


def _kept_secret(file: Path) -> str:
    """The secret in `file`, made at random where there is none.

    Raises:
        OSError: it cannot be written.
    """
    if not file.exists():
        _make_key_file(file)
    return secret_text(file, "REGULARS_CACHE_DIR")


def _make_key_file(file: Path) -> None:
    """Appears complete, and the first of several processes makes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(KEY_BYTES), encoding="utf-8")
        with suppress(FileExistsError):
            file.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def _secret(settings: Settings) -> str:
    given, file = settings.pseudonym_key.get_secret_value(), settings.pseudonym_key_file
    if given and file is not None:
        raise WrongSetting("REGULARS_PSEUDONYM_KEY and REGULARS_PSEUDONYM_KEY_FILE are both set; unset one")
    secret = given if file is None else secret_text(file, "REGULARS_PSEUDONYM_KEY_FILE")
    if not secret and is_local(settings.bootstrap_servers):
        with suppress(OSError):
            secret = _kept_secret(settings.cache_dir / LOCAL_SECRET_FILE)
    if not secret:
        raise WrongSetting(f"a worker needs a secret of its own to name customers in model-train; {WAY_OUT}")
    if len(secret) < SHORTEST_SECRET_CHARS:
        raise WrongSetting(
            f"the pseudonym key has {len(secret)} characters, and {SHORTEST_SECRET_CHARS} are the least; {WAY_OUT}"
        )
    return secret
