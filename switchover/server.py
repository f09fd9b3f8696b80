"""A server of the move, with what runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .hosts import Host

if TYPE_CHECKING:
    from .settings import ServerSettings
    from .site.kinds import Kind


class Server(Host):
    """Old or new, and the parts of the site on it, each by the kind that the settings name: see `site`."""

    def __init__(
        self, role: str, settings: ServerSettings, *, ssh_config: str | None = None, dry: bool = False
    ) -> None:
        addresses = [str(address) for address in settings.address]
        super().__init__(role, settings.ssh, addresses, ssh_config=ssh_config, dry=dry)
        self.database, self.certificate = settings.database, settings.certificate
        self.app = settings.app.on(self)
        self.in_app = self.app.within
        self.code, self.worker = settings.code.on(self, self.app), settings.worker.on(self, self.app)
        self.schedule = settings.schedule.on(self, self.app)
        self.deploys = settings.deploys.on(self, self.app, self.worker, self.schedule)
        self.monitor = settings.watch.on(self, self.app, self.worker)
        self.firewall, self.web = settings.firewall.on(self), settings.web.on(self, self.app)

    @property
    def parts(self) -> tuple[Kind[Any], ...]:
        """What runs there, part by part."""
        application = (self.app, self.code, self.worker, self.schedule, self.deploys)
        return (*application, self.monitor, self.firewall, self.web)
