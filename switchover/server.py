"""A server of the move, with what runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .hosts import Host

if TYPE_CHECKING:
    from .settings import ServerSettings
    from .site.kinds import Kind


class Server(Host):
    """Old or new, and the parts of the site on it, each by the kind that the settings name: see `site`."""

    def __init__(self, role: str, settings: ServerSettings, *, ssh_config: str = "", dry: bool = False) -> None:
        from .site import app, code, deploys, firewall, monitor, schedule, web, worker  # with pydantic, which is slow

        addresses = [str(address) for address in settings.address]
        super().__init__(role, settings.ssh, addresses, ssh_config=ssh_config, dry=dry)
        self.database, self.certificate = settings.database, settings.certificate
        self.app = app.Application[Any].of(self, settings.app)
        self.in_app = self.app.within
        self.code = code.Code[Any].of(self, settings.code, self.app)
        self.worker = worker.Worker[Any].of(self, settings.worker, self.app)
        self.schedule = schedule.Schedule[Any].of(self, settings.schedule, self.app)
        self.deploys = deploys.Deploys[Any].of(self, settings.deploys, self.app, self.worker, self.schedule)
        self.monitor = monitor.Monitor[Any].of(self, settings.watch, self.app, self.worker)
        self.firewall = firewall.Firewall[Any].of(self, settings.firewall)
        self.web = web.Web[Any].of(self, settings.web, self.app)

    @property
    def parts(self) -> tuple[Kind[Any], ...]:
        """What runs there, part by part."""
        application = (self.app, self.code, self.worker, self.schedule, self.deploys)
        return (*application, self.monitor, self.firewall, self.web)
