"""monit: which files of its settings are wanted, by what lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from here import right
from recorded_server import Made, Recorded

from switchover.desired import Nothing
from switchover.resources.file import Absent, File, FileState

SERVICE = {"kind": "service", "service": "sidekiq"}


def watch(tmp_path: Path, *names: str) -> dict[str, str]:
    """Files for what is watched; of one name alone: the same for both."""
    return {key: str(tmp_path / name) for key, name in zip(("app", "worker"), names, strict=False)}


def files(desired: Any) -> dict[str, str]:
    """The content of each wanted file."""
    assert all(isinstance(file, File) for file in desired)
    return {Path(file.path).name: file.content.decode() for file in desired}


def watched(server: Recorded, ours: bool = False) -> Any:
    return server.monitor.watches(lambda path: ours)


def test_a_file_for_each(server: Made, tmp_path: Path) -> None:
    found = files(watched(server(watch=watch(tmp_path, "a", "w"))))
    assert found["a"].count("check process") == found["w"].count("check process") == 1
    assert 'check process "unicorn_ofn" with pidfile' in found["a"] and "unicorn_ofn_worker" in found["w"]


def test_one_file_for_both(server: Made, tmp_path: Path) -> None:
    found = files(watched(server(watch=watch(tmp_path, "a", "a"))))
    assert [*found] == ["a"] and found["a"].count("check process") == 2


def test_a_worker_that_systemd_starts_is_not_watched(server: Made, tmp_path: Path) -> None:
    assert [*files(watched(server(watch=watch(tmp_path, "a", "w"), worker=SERVICE)))] == ["a"]


def test_a_service_without_a_pid_file_is_watched_by_a_program(server: Made, tmp_path: Path) -> None:
    app = right()["old"]["app"] | {"kind": "service", "listens": "127.0.0.1:3000", "service": "shop"}
    found = files(watched(server(watch=watch(tmp_path, "a"), app=app)))
    assert 'check program "shop" with path "/bin/systemctl is-active -q shop"' in found["a"]


@pytest.mark.parametrize(("ours", "stays"), [(False, True), (True, False)])
def test_a_file_that_somebody_wrote_stays(server: Made, tmp_path: Path, ours: bool, stays: bool) -> None:
    (tmp_path / "a").write_text("theirs\n")
    assert (files(watched(server(watch=watch(tmp_path, "a")), ours))["a"] == "theirs\n") == stays


def test_what_the_settings_name_no_file_for_is_left_alone(server: Made) -> None:
    monitor = server().monitor
    assert monitor.tools == ()
    for desired, what in (
        (monitor.watches(bool), "application and the worker"),
        (monitor.forgets_application(), "application"),
        (monitor.remembers_application(lambda path: None), "application"),
        (monitor.forgets_worker(), "worker"),
    ):
        assert desired == Nothing(f"the settings name no file of old's monitor for the {what}")


def test_it_forgets_and_remembers(server: Made, tmp_path: Path) -> None:
    monitor = server(watch=watch(tmp_path, "a", "w")).monitor
    assert monitor.tools == ("monit",)
    for forgets, name in ((monitor.forgets_application(), "a"), (monitor.forgets_worker(), "w")):
        (absent,) = forgets  # type: ignore[misc]
        assert isinstance(absent, Absent) and absent.path == str(tmp_path / name)
    before = FileState(b"theirs", "anna:adm", "640")
    (file,) = monitor.remembers_application({str(tmp_path / "a"): before}.get)  # type: ignore[misc]
    assert (file.content, file.owner, file.mode) == (b"theirs", "anna:adm", "640")  # type: ignore[union-attr]
    for none in (None, FileState(None)):
        desired = monitor.remembers_application(lambda path, none=none: none)  # type: ignore[misc]
        assert desired == Nothing("old's monitor did not watch the application")


@pytest.mark.parametrize("name", ["switchover-lag", "certificate-age"])
@pytest.mark.parametrize(("names", "folder"), [(("conf/a",), "{}/conf"), ((), "/etc/monit/conf.d")])
def test_it_runs_a_program(server: Made, tmp_path: Path, name: str, names: tuple[str, ...], folder: str) -> None:
    installed, said = server(watch=watch(tmp_path, *names)).monitor.watches_program(name, "shop 5")  # type: ignore[misc]
    assert installed.path == f"/usr/local/sbin/{name}" and installed.content.startswith(b"#!/bin/sh")
    assert said.path == f"{folder.format(tmp_path)}/{name.replace('-', '_')}"
    assert f'with path "/usr/local/sbin/{name} shop 5"' in said.content.decode()
