"""A policy from its YAML text or file."""

from importlib.resources import files
from pathlib import Path

import msgspec

from models.marks import Marked, NotYaml
from models.policy.document import Policy, PolicyError
from models.policy.validation import check, check_calibrated, check_slips

# The default policy has 1 KB. Twenty such documents, the history that a record of the topic carries, stay below Kafka's
# default of 1 MiB per record with this limit.
MOST_BYTES = 32 * 1024


def parse(document: str, *, published: bool = False) -> Policy:
    """The policy in a YAML document.

    Args:
        document: the YAML.
        published: the policy was published before, perhaps by a version of the program that accepted slips; it is
            served as it is.

    Raises:
        PolicyError: the document is not YAML, not a policy, or a policy that is still to be calibrated.
    """
    policy, marked = parse_marked(document, published=published)
    check_calibrated(policy, marked)
    return policy


def parse_marked(document: str, *, published: bool = False) -> tuple[Policy, Marked]:
    """The policy as from `parse`, but quantiles are allowed; and the places of everything in the document."""
    size = len(document.encode())
    if size > MOST_BYTES:
        raise PolicyError(f"{size:,} bytes; a policy has at most {MOST_BYTES:,}")
    try:
        marked = Marked(document)
    except NotYaml as exc:
        raise PolicyError(f"not YAML: {exc}", exc.mark) from exc
    try:
        policy = msgspec.convert(marked.tree, Policy)
    except msgspec.ValidationError as exc:
        raise PolicyError(*marked.explain(exc)) from exc
    check(policy, marked)
    if not published:
        check_slips(policy, marked)
    return policy, marked


def load(path: Path | None = None) -> Policy:
    """The policy in the file at `path`, or the one shipped with the package.

    Raises:
        PolicyError: the file can't be read, or holds no policy; the message begins with its path.
    """
    document = read(path)
    try:
        return parse(document)
    except PolicyError as exc:
        named = PolicyError(f"{path or 'default policy'}: {exc}")
        named.mark = exc.mark
        raise named from exc


def read(path: Path | None = None) -> str:
    """The document in the file at `path`, or the one shipped with the package. Raises as `load` does."""
    try:
        if path is None:
            return (files("models") / "policies" / "default.yaml").read_text(encoding="utf-8")
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise PolicyError(f"{path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise PolicyError(f"{path}: not UTF-8 (byte {exc.start})") from exc
