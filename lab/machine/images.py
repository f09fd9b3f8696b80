"""Debian images for the lab's servers: made by mmdebstrap, kept under the lab's directory.

An image's name holds a hash of its recipe, so that a changed recipe makes a new one and the old one goes.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from switchover import output
from switchover.errors import Problem
from switchover.progress import Progress

from ..place import LabPlace
from ..world import one_of
from . import apt, cache
from .locks import locked, try_lock

PACKAGES = """
    systemd-sysv dbus openssh-server openssh-client sudo ufw iptables nginx-light postgresql pgbouncer
    ruby-rails ruby-pg unicorn ruby-delayed-job ruby-delayed-job-active-record ruby-daemons ruby-whenever
    monit cron logrotate rsync git ca-certificates curl openssl ssl-cert procps iproute2 less python3 python3-psycopg2
    certbot fish locales postfix pebble bind9 bind9-dnsutils
""".split()  # noqa: SIM905

# Nobody searches manual pages here: their index takes longer than many a package.
DURING = """printf '%s\\n' 'man-db man-db/auto-update boolean false' \\
      'postfix postfix/main_mailer_type select Local only' 'postfix postfix/mailname string localhost' |
    chroot "$1" debconf-set-selections"""
# What a package switches on but a server of the lab lacks or must not do: unicorn has no configuration yet, one host
# alone gives names and certificates, apt finds no archive. People's shells and languages differ, so there is another
# one of each.
AFTER = r"""
    chroot "$1" localedef -i de_DE -f UTF-8 de_DE.UTF-8
    chroot "$1" systemctl disable unicorn.service named.service postfix.service
    chroot "$1" systemctl disable pebble.service 2>/dev/null || :
    chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer man-db.timer
    rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/apt.conf.d/99mmdebstrap
    find "$1"/var/log -type f -delete
"""
# Without a Debian archive of the machine's own, mmdebstrap adds Debian 11's security suite, which lists files
# it no longer has.
BEFORE_11 = r"""find "$1"/etc/apt -name '*.list' -exec sed -i /security/d {} +"""
OPTIONS = ["--mode=root", "--variant=minbase", "--format=directory", "--verbose", "--dpkgopt=force-unsafe-io"]
EVENTS = (b"Get:", b"Unpacking ", b"Setting up ")
EXPECTED = 920  # of these events in one build, about


@dataclass(frozen=True)
class Release:
    """A release of Debian; *security*: whether its security suite can be used."""

    number: str
    codename: str
    security: bool = True

    @property
    def key(self) -> str:
        """Names its image: the release and a hash of all that the image depends on."""
        recipe = json.dumps([self.codename, self.security, PACKAGES, BEFORE_11, DURING, AFTER, OPTIONS])
        return f"{self.number}-{cache.digest(recipe)}"


RELEASES = {r.number: r for r in (Release("11", "bullseye", False), Release("12", "bookworm"), Release("13", "trixie"))}


def release(number: str) -> Release:
    """The release called *number*; raises Problem when the lab does not know it."""
    return RELEASES[one_of("release of Debian", number, RELEASES)]


def ensure(place: LabPlace, numbers: Iterable[str]) -> dict[str, Path]:
    """The images of these releases, by number; missing ones are built first, side by side.

    Raises Problem when one cannot be built; the reason and the log's path are in it.
    """
    desired = [release(number) for number in dict.fromkeys(numbers)]
    missing = [r for r in desired if not (place.images / r.key).exists()]
    if missing:
        _build_all(place, missing)
        cache.prune(place.images, (r.key for r in RELEASES.values()))
    return {r.number: cache.used(place.images / r.key) for r in desired}


def sweep(place: LabPlace) -> None:
    """Removes what builds that died have left."""
    for path in place.images.glob(".*"):
        if path.is_dir() and (lock := try_lock(path.with_name(f"{path.name}.lock"))) is not None:
            shutil.rmtree(path)
            lock.release()


def _build_all(place: LabPlace, missing: list[Release]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise Problem("mmdebstrap is not installed", "lab", "Install it: apt install mmdebstrap debian-archive-keyring")
    names = " and ".join(r.number for r in missing)
    output.console().print(f"Debian {names}: about 700 MB each, made once", highlight=False)
    builds = [_Build(place, r) for r in missing]
    with Progress(f"Debian {names}", output.console()) as bar, ThreadPoolExecutor(len(builds)) as pool:
        try:
            ended = [pool.submit(build.run) for build in builds]
            while not all(future.done() for future in ended):
                time.sleep(0.3)
                done, expected = sum(build.events for build in builds), EXPECTED * len(builds)
                bar.report(done // 3, max(done, expected) // 3 + 1, "packages")  # each is fetched, unpacked, set up
        finally:
            for build in builds:
                build.stop()
    for future in ended:
        future.result()


class _Build:
    """One run of mmdebstrap, all its processes and mounts in namespaces that die with it."""

    def __init__(self, place: LabPlace, release: Release) -> None:
        self.release, self.folder = release, place.images
        self.events, self._stopped = 0, False  # how much of it is done
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        key = self.release.key
        target, beside, log = self.folder / key, self.folder / f".{key}", self.folder / f"{key}.log"
        with locked(self.folder / f".{key}.lock", lambda: self._stopped):
            if target.exists() or self._stopped:
                return
            shutil.rmtree(beside, ignore_errors=True)
            self._run(beside, log)
            os.sync()
            beside.rename(target)

    def stop(self) -> None:
        """Ends a build under way."""
        self._stopped = True
        if self._process:
            self._process.kill()

    def _run(self, target: Path, log: Path) -> None:
        environment = {**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                self._command(target), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True,
            )  # fmt: skip
            assert self._process.stdout
            errors = []
            for line in self._process.stdout:
                file.write(line)
                self.events += line.startswith(EVENTS)
                if line.startswith((b"E: ", b"Err:")):
                    errors.append(line.decode(errors="replace").strip())
            status = self._process.wait()
        if status != 0:
            shutil.rmtree(target, ignore_errors=True)
            reason = errors[0] if errors else f"exit status {status}"
            what = "was stopped" if self._stopped else f"could not be built ({reason})"
            raise Problem(f"its image {what}", f"Debian {self.release.number}", f"The whole log: {log}")

    def _command(self, target: Path) -> list[str]:
        """The command line. When its parent dies the kernel kills it, and with it its namespaces of processes
        and mounts, so that nothing stays mounted."""
        alone = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"]
        alone += ["--mount-proc", "--propagation=private", "--"]
        options = [*OPTIONS, f"--include={','.join(PACKAGES)}"]
        options += [f"--essential-hook={DURING}", f"--customize-hook={AFTER}"]
        options += [f"--aptopt={option}" for option in ('Acquire::Retries "3"', *apt.options())]
        if not self.release.security:
            options += ['--aptopt=Acquire::Check-Valid-Until "false"', f"--setup-hook={BEFORE_11}"]
        sources = apt.lines(self.release.codename, security=self.release.security)
        return [*alone, "mmdebstrap", *options, self.release.codename, str(target), *sources]
