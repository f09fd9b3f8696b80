"""Moves a live Rails site from an old server to a new one; see docs/ and README.md."""

__version__ = "0.2.0"  # pyproject.toml reads it here; CHANGELOG.md's newest heading names it
