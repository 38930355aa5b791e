"""How every page of the package is rendered: a template, escaped, in which a name that is not given is an error."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates() -> Environment:
    """The templates of `streams/report/templates/`."""
    return Environment(
        loader=PackageLoader("streams.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
