"""The settings of DNS."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from ..vocabulary import Address, AnyPath, Domain, Name, Part, Seconds, given

NEEDS = {"update": "key_file", "lexicon": "provider"}  # kind -> the key that it needs
RULES: list[Any] = [{"if": given("kind", {"const": kind}), "then": given(key)} for kind, key in NEEDS.items()]


class Dns(Part):
    """Who changes the domains' DNS records when they move."""

    model_config = ConfigDict(json_schema_extra={"allOf": RULES})

    kind: Literal["by-hand", "update", "lexicon", "none"] = "by-hand"
    """`by-hand`: you, and the exact records are shown; `update`: a dynamic update (RFC 2136); `lexicon`: your
    provider's API, with dns-lexicon; `none`: nobody, DNS is left alone."""
    ttl: Annotated[int, Field(strict=True, ge=1, le=3600)] = 300
    """Seconds for which resolvers may cache the records during the move."""
    zone: Domain | None = None
    """The domains' zone, where DNS does not show it."""
    within: Seconds = 600
    """Seconds until every authoritative server must have a change."""
    server: Address | None = None
    """With `update`: the server to send it to, where that is not the zone's primary server."""
    key: Name | None = None
    """With `update`: the key's name, where the file has only the secret."""
    algorithm: Literal["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"
    """With `update`: the key's algorithm, where the file has only the secret."""
    key_file: AnyPath | None = None
    """With `update`: the file of the key, as `tsig-keygen` writes it, or with only its secret."""
    key_on: Literal["here", "old", "new", "ci"] = "here"
    """With `update`: where that file is; `here` is your own machine, and a relative path is beside the settings."""
    through: Literal["here", "old", "new"] = "new"
    """With `update`: the machine that sends it."""
    provider: Name | None = None
    """With `lexicon`: the provider, as dns-lexicon calls it; it finds the credentials itself."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = NEEDS.get(self.kind)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"kind: {self.kind} needs {needed}")
        return self
