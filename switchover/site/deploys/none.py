"""New code arrives in a way that this tool does not know: whoever deploys has to wait for the end of the move."""

from .. import deploys
from ..kinds import nothing


class Settings(deploys.Settings):
    """In a way that this tool does not know: nobody may deploy during the move."""


class NoDeploys(deploys.Deploys[Settings]):
    """They are left alone."""

    refused = ended = accepted = complete = remote = deploys = nothing(
        "deploys to {role} are left alone, as {role}.deploys.kind is none"
    )
