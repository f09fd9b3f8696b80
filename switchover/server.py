"""A server of the move, with what runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .hosts import Host

if TYPE_CHECKING:
    from . import settings
    from .site.kinds import Kind


class Server(Host):
    """Old or new, and the parts of the site on it, each by the kind that the settings name: see `site`."""

    def __init__(
        self, role: str, said: settings.ServerSettings, *, ssh_config: str | None = None, dry: bool = False
    ) -> None:
        super().__init__(role, said.ssh, [str(address) for address in said.address], ssh_config=ssh_config, dry=dry)
        self.database, self.certificate = said.database, said.certificate
        self.app = said.app.on(self)
        self.in_app = self.app.within
        self.code, self.worker = said.code.on(self, self.app), said.worker.on(self, self.app)
        self.schedule = said.schedule.on(self, self.app)
        self.deploys = said.deploys.on(self, self.app, self.worker, self.schedule)
        self.monitor = said.watch.on(self, self.app, self.worker)
        self.firewall, self.web = said.firewall.on(self), said.web.on(self, self.app)

    @property
    def parts(self) -> tuple[Kind[Any], ...]:
        """What runs there, part by part."""
        return (
            *(self.app, self.code, self.worker, self.schedule, self.deploys),
            *(self.monitor, self.firewall, self.web),
        )
