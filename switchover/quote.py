"""Quoting, in one place: a value from the settings never becomes shell, SQL or nginx syntax."""

import re
import shlex
from pathlib import PurePosixPath


def sh(value: object) -> str:
    """*value* as one word of a POSIX shell."""
    return shlex.quote(str(value))


def _without(value: object, forbidden: str, why: str) -> str:
    """*value* as a text. Raises ValueError, saying *why*, where a part of it matches the pattern *forbidden*."""
    text = str(value)
    if re.search(forbidden, text):
        raise ValueError(why.format(text))
    return text


def sql(value: object) -> str:
    """*value* as a string literal of PostgreSQL, whatever standard_conforming_strings says."""
    text = _without(value, "\0", "PostgreSQL has no NUL in texts")
    literal = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f" E{literal}" if "\\" in text else literal


def ident(value: object) -> str:
    """*value* as an identifier of PostgreSQL."""
    return '"' + _without(value, "\0", "PostgreSQL has no NUL in names").replace('"', '""') + '"'


def nginx(value: object) -> str:
    """*value* as one argument of an nginx directive.

    nginx expands `$name` inside quotes too and has no escape for it, so a value with `$` is refused.
    """
    text = _without(value, r"[$\n\0]", "nginx cannot hold {!r} as plain text")
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,~\[\]-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def yaml(value: object) -> str:
    """*value* as a YAML scalar (JSON's double-quoted form, which YAML shares)."""
    import json

    text = json.dumps(value if isinstance(value, (int, bool)) else str(value), ensure_ascii=False)
    # What JSON lets stand and YAML does not, or reads as the end of a line.
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def html(value: object) -> str:
    """*value* as text of an HTML page."""
    import html as library

    return library.escape(str(value))


def systemd(value: object) -> str:
    """*value* as one word of a systemd unit's command line (`%` and `$` are specifiers there)."""
    text = line(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if re.search(r"[\s\"';]", text) or not text else text


def quoted(value: object) -> str:
    """*value* in quotes, for configurations that have both kinds of them and no escape."""
    text = _without(value, r"[\n\0]", "{!r} does not fit between quotes")
    mark = next((m for m in "\"'" if m not in text), None)
    if mark is None:
        raise ValueError(f"it has both kinds of quotes, which cannot be written here: {text}")
    return mark + text + mark


def rendered(value: str) -> str:
    """*value* as it is: another template was rendered to it, each value in that for where it stands."""
    return value.rstrip("\n")


def pgpass(value: object) -> str:
    """*value* as one field of a PostgreSQL password file."""
    return str(value).replace("\\", "\\\\").replace(":", "\\:")


def conninfo(value: object) -> str:
    """*value* as a value in a connection string of libpq's."""
    text = str(value)
    if re.fullmatch(r"[A-Za-z0-9_./:@%-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def line(value: object) -> str:
    """*value* as the rest of a line, for files that know no quoting: one that would not stay as it is is refused."""
    return _without(value, r"[\x00-\x1f\x7f]|^\s|\s$", "{!r} does not fit on a line of its own")


def under(base: object, path: object) -> str:
    """*path* as it is when absolute, else below *base*; a final slash is kept (rsync reads it)."""
    joined = str(PurePosixPath(str(base)) / str(path))
    return joined + "/" if str(path).endswith("/") and not joined.endswith("/") else joined
