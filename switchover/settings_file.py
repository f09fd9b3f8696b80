"""Reads the settings' file, in Invoke's stead: a fault in it is one line, not a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from invoke.config import Config

from .errors import Problem


def read(path: str | Path) -> dict[Any, Any]:
    """The mapping in the YAML file *path*. Raises Problem where there is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Problem(
            "there is no such file",
            str(path),
            "Copy move.example.yaml to move.yaml and say there what runs on your servers",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"cannot be read ({error})", str(path), "Save it as UTF-8 text that you may read") from None
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "no valid text"
        raise Problem(f"is not YAML{line} ({what})", str(path), "Compare it with move.example.yaml") from None
    if not isinstance(data, dict):
        raise Problem("has no settings", str(path), "Compare it with move.example.yaml")
    return data


def take_over() -> None:
    """From now on Invoke leaves the file of its `-f` to us, whatever is in it, and only remembers its name."""

    def load_runtime(self: Config, merge: bool = True) -> None:
        """Nothing: see `settings.load`."""

    Config.load_runtime = load_runtime  # type: ignore[method-assign]
