"""Commands that print what is made from the settings' model: the JSON schema for editors, the page for people."""

import sys
from typing import Any

from invoke.tasks import task


@task
def schema(_c: Any) -> None:
    """The JSON schema of move.yaml: `inv settings.schema > move.schema.json`."""
    from .. import settings_reference

    sys.stdout.write(settings_reference.schema())


@task
def docs(_c: Any) -> None:
    """All settings as a page: `inv settings.docs > docs/settings.md`."""
    from .. import settings_reference

    sys.stdout.write(settings_reference.page())
