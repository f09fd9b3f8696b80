"""Applications: how many requests wait where they listen, by what `ss` prints; and where they listen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from here import right
from recorded_server import RECORDED, Made, Recorded

from switchover.database.host import parse
from switchover.programs import program

SS = {"ss -Hlxn": "ss-unix.txt", "ss -Hltn": "ss-tcp.txt"}
SAY = next(line for line in program("host-facts.sh").decode().splitlines() if line.startswith("say()"))
CURRENT = "/home/ofn/current"  # as in what is recorded


def facts(server: Recorded, master: str = "") -> dict[str, Any]:
    """What its application says of itself."""
    return parse(server.look(f"{SAY}\nmaster={master}\n{server.app.facts}", check=False).out)


def service(listens: str, **more: str) -> dict[str, Any]:
    return {"app": right()["old"]["app"] | {"kind": "service", "listens": listens, **more}}


def test_how_many_wait_at_a_socket(server: Made) -> None:
    socket = f"{CURRENT}/tmp/sockets/unicorn.sock"
    assert facts(server(SS, app=right()["old"]["app"] | {"socket": socket})) == {"backlog": ["64"]}
    assert facts(server(SS, "new", **service(socket))) == {"backlog": ["64"]}


def test_a_socket_may_be_reached_by_a_link(server: Made, tmp_path: Path) -> None:
    """As `current` is one, of releases."""
    release, current, shown = tmp_path / "releases/1", tmp_path / "current", tmp_path / "ss.txt"
    release.mkdir(parents=True)
    current.symlink_to(release)
    shown.write_text((RECORDED / "ss-unix.txt").read_text().replace(f"{CURRENT}/tmp/sockets", str(release)))
    assert facts(server({"ss -Hlxn": str(shown)}, **service(f"{current}/unicorn.sock"))) == {"backlog": ["64"]}


@pytest.mark.parametrize(
    ("listens", "backlog"),
    [
        ("127.0.0.1:3999", ["128"]),
        ("127.0.0.1:3998", ["64"]),  # it listens on all addresses; and another at 13998
        ("[::1]:3997", ["1024"]),
        ("localhost:13998", ["511"]),
        ("127.0.0.1:399", None),
        ("127.0.0.1:3000", None),
        ("/run/other.sock", None),
    ],
)
def test_how_many_wait_at_a_port(server: Made, listens: str, backlog: list[str] | None) -> None:
    assert facts(server(SS, **service(listens))).get("backlog") == backlog


def test_where_nothing_listens_the_configuration_tells(server: Made, tmp_path: Path) -> None:
    new = server(SS)
    (tmp_path / "app/config").mkdir()
    (tmp_path / "app/config/unicorn.rb").write_text("worker_processes 3\nlisten '/x', backlog: 512\n# nothing\n")
    assert facts(new) == {"app_configuration": ["worker_processes 3", "backlog: 512"]}


@pytest.mark.parametrize(
    ("listens", "said"),
    [("tmp/a.sock", "unix:{app}/tmp/a.sock"), ("/run/a.sock", "unix:/run/a.sock"), ("127.0.0.1:80", "127.0.0.1:80")],
)
def test_where_a_service_listens_as_nginx_names_it(server: Made, tmp_path: Path, listens: str, said: str) -> None:
    assert server(**service(listens)).app.listens == said.format(app=tmp_path / "app")


@pytest.mark.parametrize(("pid", "said"), [("4711", "4711"), ("0", "")])
def test_the_main_process_of_a_service(server: Made, pid: str, said: str, tmp_path: Path) -> None:
    old = server({"systemctl show -p MainPID --value": f"systemctl-pid-{pid}.txt"}, **service("127.0.0.1:3000"))
    assert old.look(old.app.main_process, check=False).out.strip() == said
