"""What a lab is made of: its hosts with their names and addresses, the sites that live on them, and who deploys these.

`SHOP` is the usual one. Another lab is another instance:

    web2 = LabHost("web2.shop.test", "ubuntu", 15)
    Lab(world=replace(SHOP, hosts=SHOP.hosts | {"web2": web2}))     # a third server beside old and new
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from switchover.errors import Problem

Role = str  # what a host is in its lab: `old`, `new`, `ci`, or another word of small letters and digits
By = Literal["ci", "dev"]
VISITORS = "visitors"  # not a host, but in the network too


@dataclass(frozen=True)
class LabHost:
    """A host of the lab; *number* is the last part of its addresses, *debian* its release."""

    name: str
    sudo_user: str
    number: int
    debian: str = "12"


@dataclass(frozen=True)
class Site:
    """The names that one server has for everything of a site."""

    name: str  # what services, monit checks and nginx sites are named after
    domain: str  # what its nginx site answers to, and has a certificate for
    user: str
    database: str
    owner: str
    password: str

    @property
    def home(self) -> str:
        """Where the app's user lives, and the app below it."""
        return f"/home/{self.user}"

    @property
    def app(self) -> str:
        """The app's checkout."""
        return f"{self.home}/apps/{self.name}/current"

    @property
    def shared(self) -> str:
        """Beside the checkout: what outlives a deploy."""
        return f"{self.home}/apps/{self.name}/shared"


@dataclass(frozen=True)
class Pusher:
    """A user of the ci host with a checkout of the site, a remote there that leads to production, and a key."""

    user: str
    home: str
    checkout: str
    remote: str
    known_by: tuple[Role, ...]  # the servers that let the key in, and whose host key is known

    @property
    def key(self) -> str:
        """Where the private key is; the public one is beside it."""
        return f"{self.home}/.ssh/id_ed25519"


@dataclass(frozen=True)
class Deployment:
    """A site that moves: as old and new have it, who deploys it from the ci host, if anybody, and what runs it there.

    *installed*: the name of one of `lab.sites.installations`.
    """

    servers: dict[Role, Site]
    pushers: dict[By, Pusher] = field(default_factory=dict)
    installed: str = "usual"

    @property
    def domain(self) -> str:
        """The name that moves: old's site answers to it."""
        return self.servers["old"].domain


@dataclass(frozen=True)
class World:
    """A lab's constants. Visitors come to the first of *sites*, and the lab's move.yaml describes that one.

    *ipv4* and *ipv6* begin all addresses (a /24 and a /64). *second_name_server*: the number of the ci host's second
    address. *customers*: the domain of their mail. *authority*: names the certificate authority that is trusted here,
    of those that the lab's directory holds.
    """

    hosts: dict[Role, LabHost]
    sites: tuple[Deployment, ...]
    ipv4: str = "10.77.0."
    ipv6: str = "fd77::"
    visitors: int = 100
    second_name_server: int = 14
    customers: str = "customers.test"
    authority: str = "authority"

    def __post_init__(self) -> None:
        """Raises Problem for hosts that no lab can have."""
        if missing := {"old", "new", "ci"} - {*self.hosts}:
            raise Problem(f"no {', '.join(sorted(missing))} among its hosts", "world", "Each lab has old, new and ci")
        for role in self.hosts:  # also a directory's, a network namespace's and its cable's name
            if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", role) or role in (VISITORS, "hub", "ssh", "operator"):
                raise Problem(f"'{role}' is no name for a host", "world", "Use up to 12 small letters and digits")
        numbers = [self.visitors, self.second_name_server, *(host.number for host in self.hosts.values())]
        if len(numbers) != len({*numbers}):
            raise Problem(f"two of its addresses are the same: {sorted(numbers)}", "world", "Give each its own number")

    @property
    def domain(self) -> str:
        """The name that visitors know."""
        return self.sites[0].domain

    @property
    def name_servers(self) -> tuple[str, str]:
        """The addresses of the ci host's first and second name server."""
        return self.address4("ci"), f"{self.ipv4}{self.second_name_server}"

    def addresses(self, part: str) -> tuple[str, str]:
        """The IPv4 and the IPv6 address of a host, or of `visitors`."""
        number = self.visitors if part == VISITORS else self.hosts[part].number
        return f"{self.ipv4}{number}", f"{self.ipv6}{number}"

    def address4(self, part: str) -> str:
        """The IPv4 address of a host, or of `visitors`."""
        return self.addresses(part)[0]

    def deployment(self, domain: str = "") -> Deployment:
        """The site that is called so; the first unless *domain* is given. Raises Problem when there is none."""
        deployments = {deployment.domain: deployment for deployment in self.sites}
        return deployments[one_of("site", domain or self.domain, deployments)]

    def site(self, role: Role, domain: str = "") -> Site:
        """What a server has of a site, of the first unless *domain* is given."""
        return self.deployment(domain).servers[role]

    def names(self, role: Role) -> list[str]:
        """All names that lead to a host: its own first, then those of the sites that are there."""
        sites = [d.servers[role].domain for d in self.sites if role in d.servers]
        return list(dict.fromkeys([self.hosts[role].name, *sites]))


OLDS, NEWS = "apples' & pears: 7", "Sow-When-It-Rains"  # the passwords of their databases
NEW, AGENT = "prod2.shop.test", "/var/lib/buildkite-agent"


def one_of(what: str, name: str, names: Iterable[str]) -> str:
    """The *name*, which is one of *names*. Raises Problem when it is not; *what*: of things they are the names."""
    if name not in (known := [*names]):
        raise Problem(f"there is no {what} '{name}'", "lab", f"Choose among {', '.join(known)}")
    return name


SHOP = World(
    hosts={
        "old": LabHost("prod1.shop.test", "ubuntu", 11, debian="11"),
        "new": LabHost(NEW, "ofn-admin", 12),
        "ci": LabHost("ci.shop.test", "ubuntu", 13),
    },
    sites=(
        Deployment(
            servers={
                "old": Site("openfoodweb", "shop.test", "openfoodweb", "openfoodweb_production", "openfoodweb", OLDS),
                "new": Site("openfoodnetwork", NEW, "openfoodnetwork", "openfoodnetwork", "ofn_user", NEWS),
            },
            pushers={
                "ci": Pusher("buildkite-agent", AGENT, f"{AGENT}/builds/shop", "production", ("old",)),
                "dev": Pusher("dev", "/home/dev", "/home/dev/shop", "aus-production", ("old", "new")),
            },
        ),
    ),
)

# A second site, which may live on the same two servers.
MARKET = Deployment(
    servers={
        "old": Site("market", "market.test", "market", "market_production", "market", "pears' 8"),
        "new": Site("market", "new.market.test", "market", "market", "market_user", "Plums-9"),
    },
    pushers={"dev": Pusher("mara", "/home/mara", "/home/mara/market", "live", ("old", "new"))},
)
TWO = replace(SHOP, sites=(*SHOP.sites, MARKET))

# The same shop, run by services of systemd; and with as little as possible.
SERVICES = replace(SHOP, sites=(replace(SHOP.sites[0], installed="services"),))
BARE = replace(SHOP, sites=(replace(SHOP.sites[0], pushers={}, installed="bare"),))
