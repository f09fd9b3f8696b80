"""The words that settings are made of: texts of a form, paths, ports, seconds; and what a part of them is.

Everything is checked before a server is touched; each fault names its key and what to write instead.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyAddress, WithJsonSchema
from pydantic.annotated_handlers import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Form:
    """What a whole text must match, and what to write instead; the JSON schema gives editors both.

    The pattern means the same to Python and to the editors' JavaScript.
    """

    pattern: str
    hint: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, inner: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(inner)
        own = {"pattern": f"^(?:{self.pattern})$", "patternErrorMessage": self.hint}
        return {**schema, "allOf": [*schema.get("allOf", []), own]} if "pattern" in schema else {**schema, **own}

    def check(self, value: str) -> str:
        """The same *value*. Raises ValueError with the hint."""
        if not re.fullmatch(self.pattern, value):
            raise ValueError(self.hint)
        return value


def _bare(value: str) -> str:
    return value.rstrip("/") or "/"


ADDRESS = "an IPv4 or IPv6 address, in quotes"


def _text(value: object) -> object:
    # 1 is an address too, and none that anybody means; and behind a % Python takes any text for an interface.
    if not isinstance(value, str) or "%" in value:
        raise ValueError(ADDRESS)
    return value


Name = Annotated[str, Form(r"[A-Za-z_][A-Za-z0-9_.@-]*", "a name of letters, digits and _ . @ -")]
_LABELS = r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}"
Domain = Annotated[str, Form(_LABELS, "a domain like shop.org")]
_SSH = r"([A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+(:[0-9]{1,5})?"
Destination = Annotated[str, Form(_SSH, "as for ssh: name, user@name or user@name:port")]
_ONE_LINE = Form(r"(?=\s*\S)[^\x00-\x1f\x7f]+", "a path is one line of text")
AnyPath = Annotated[str, _ONE_LINE, Form(r"(?!([^/]*/)*\.\.(/|$))[^\x00]*", "a path without '..'")]
Absolute = Annotated[AnyPath, Form(r"/[^\x00]*", "an absolute path, like /home/app/current"), AfterValidator(_bare)]
_NO_MAIL = r"(?!/var/spool/(postfix|exim4?|mqueue|nullmailer)(/|$))[^\x00]*"
Source = Annotated[AnyPath, Form(_NO_MAIL, "not a mail queue: old sends that mail, and it would be sent twice")]
Page = Annotated[str, Form(r"""/[^\s"'\\]*""", "a page's path, like /products/1")]
Language = Annotated[str, Form(r"[a-z]{2}(-[A-Za-z]+)?", "a language like en or pt-BR")]
Text = Annotated[str, Form(r"[^\x00]*", "text without NUL")]
Email = Annotated[str, Form(r"[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+", "an address like me@shop.org")]
_FORMATS = [{"format": name, "errorMessage": ADDRESS} for name in ("ipv4", "ipv6")]
Address = Annotated[IPvAnyAddress, BeforeValidator(_text), WithJsonSchema({"type": "string", "anyOf": _FORMATS})]
Line = Annotated[str, Form(r"[^\x00-\x1f\x7f]+", "one line of text")]
Flag = Annotated[bool, Field(strict=True)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Seconds = Annotated[int, Field(strict=True, ge=1, le=86400)]


def given(key: str, value: dict[str, Any] | None = None) -> dict[str, Any]:
    """For the JSON schema: the *key* is there, with such a *value*, or with any."""
    return {"required": [key], "properties": {key: value or {"not": {"type": "null"}}}}


class Part(BaseModel):
    """A mapping of the settings in which every key is known, and has a line that says what it means."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
