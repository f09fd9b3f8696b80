"""The servers: looked at freely, changed in one way only.

The only module that knows Fabric. Scripts travel through standard input, so that nothing in them, secrets
above all, shows in a process list. Host keys are strict: an unknown one is refused.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import Problem, Unreached

OnLine = Callable[[str], None] | None  # called with each line that a script prints, as it comes
RECORD_SEPARATOR = "\036"  # what a login shell says before our script begins is not its answer
PRELUDE = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; cd /"


@dataclass(frozen=True)
class Answer:
    """What a script printed, and its exit status."""

    out: str
    err: str
    status: int

    @property
    def last_error(self) -> str:
        """Its last line on its error output, else on its output: usually the reason."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip() if lines else f"exit status {self.status}"


class Host:
    """A machine reached by ssh. *role* is what we call it (`old`, `new`, `ci`), *dry* forbids every change."""

    def __init__(
        self, role: str, destination: str, addresses: Sequence[str] = (), *, ssh_config: str = "", dry: bool = False
    ) -> None:
        self.role, self.destination, self.addresses, self.dry = role, destination, list(addresses), dry
        self._ssh_config = ssh_config
        self.greeting = ""  # what the login shell said before our last script
        self.unreached: Unreached | None = None  # why it is not asked any more by this command

    def __str__(self) -> str:
        return f"{self.role} ({self.name})"

    @property
    def name(self) -> str:
        """The machine's name as for ssh, without user and port."""
        return self.destination.split("@")[-1].split(":")[0]

    @property
    def main_address(self) -> str:
        """The address that the other server connects to: the first IPv4 one, if any."""
        return next((address for address in self.addresses if ":" not in address), *self.addresses[:1])

    @property
    def user(self) -> str:
        """The user that ssh logs in as there."""
        return str(self._connection.user)

    @property
    def port(self) -> int:
        """The port of ssh there."""
        return int(self._connection.port)

    def look(self, script: str, *, check: bool = True, on_line: OnLine = None) -> Answer:
        """What *script* (sh, run as root) prints. It must change nothing: it runs under --dry too.

        Raises Problem when it fails and *check* is on, or when the server cannot be reached.
        """
        answer = self._run(script, on_line)
        if check and answer.status != 0:
            raise Problem(f"it could not be read: {answer.last_error}", str(self), "Run `inv check`")
        return answer

    def change(self, script: str, *, on_line: OnLine = None) -> Answer:
        """Runs *script* (sh, as root): the only way to change a server. Refuses under --dry."""
        if self.dry:
            raise Problem("a change was tried under --dry", str(self), "Please report this bug")
        return self._run(script, on_line)

    def again(self) -> Host:
        """The same machine, to be reached by a second, new connection."""
        return Host(self.role, self.destination, self.addresses, ssh_config=self._ssh_config, dry=self.dry)

    def dial(self, address: str, port: int, timeout: float = 10) -> Any:
        """A TCP connection from this machine to *address*, like a socket: ssh passes it on. It is for looking.

        Raises Problem where ssh may pass nothing on, OSError where nobody answers there.
        """
        import paramiko

        if self.unreached:
            raise self.unreached
        source = ("127.0.0.1", 0)
        try:
            wire = self._connection.transport.open_channel("direct-tcpip", (address, port), source, timeout=timeout)
        except paramiko.ChannelException as error:
            if error.code == 1:  # by its administrator
                do = "Set AllowTcpForwarding to local there"
                raise Problem("its sshd refuses port forwarding", str(self), do) from None
            raise OSError(f"no connection from {self}") from None
        except (paramiko.SSHException, EOFError) as error:
            raise OSError(f"no connection from {self} ({error or type(error).__name__})") from None
        wire.settimeout(timeout)
        return wire

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if "_connection" in self.__dict__:
            self._connection.close()
            del self.__dict__["_connection"]

    @cached_property
    def _connection(self) -> Any:
        import fabric
        import paramiko

        # Paramiko's threads would print tracebacks of their own; --debug shows them.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        overrides: dict[str, Any] = {"load_ssh_configs": not self._ssh_config}
        try:
            config = fabric.Config(overrides=overrides, runtime_ssh_path=self._ssh_config or None)
        except (OSError, paramiko.SSHException) as error:
            where = self._ssh_config or "~/.ssh/config"
            raise Problem(f"ssh's configuration cannot be read ({error})", where, "Fix it, or ssh_config") from None
        connection = fabric.Connection(self.destination, config=config, connect_timeout=15)
        options = config.base_ssh_config.lookup(connection.original_host)
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        for file in _known_hosts(options):
            if file.exists():
                connection.client.load_system_host_keys(str(file))
        try:
            connection.open()
        except paramiko.BadHostKeyException:
            do = f"Find out why before you continue (ssh {self.name})"
            raise Unreached("its host key is not the one you know", str(self), do) from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            do = f"Try `ssh {self.destination} true`"
            if "not found in known_hosts" in str(error):
                do = f"Its host key is unknown here: connect once with `ssh {self.destination}` and compare the key"
            raise Unreached(f"no ssh connection ({error or type(error).__name__})", str(self), do) from None
        connection.transport.set_keepalive(15)
        if isinstance(connection.transport.sock, socket.socket):
            # Small packets go at once: each command would wait 40 ms otherwise.
            connection.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _run(self, script: str, on_line: OnLine) -> Answer:
        import paramiko

        if self.unreached:
            raise self.unreached
        root = "sh -s" if self._connection.user == "root" else "sudo -n sh -s"
        text = f"printf '\\036'; {as_read(script)}"
        try:
            channel = self._connection.transport.open_session(timeout=20)
            channel.exec_command(root)
            answer = _talk(channel, text.encode(), on_line)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            what = f"the connection was lost ({error or type(error).__name__})"
            raise Problem(what, str(self), "Run the same command again: it continues from here") from None
        if RECORD_SEPARATOR not in answer.out:
            what = f"sudo does not work without a password ({answer.last_error})"
            raise Problem(what, str(self), "Allow it for the time of the move: NOPASSWD in /etc/sudoers.d")
        self.greeting, _, out = answer.out.partition(RECORD_SEPARATOR)
        return replace(answer, out=out)


def as_read(script: str) -> str:
    """*script* as a shell over there reads it: whole before it runs, so that no command in it eats the rest."""
    return f"{PRELUDE}\n{{\n{script}\n}} </dev/null\n"


def _known_hosts(options: Any) -> list[Path]:
    files = options.get("userknownhostsfile", "~/.ssh/known_hosts").split()
    files += options.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
    return [Path(f.strip('"')).expanduser() for f in files]


def _talk(channel: Any, script: bytes, on_line: OnLine) -> Answer:
    """Sends *script* and reads both outputs together, so that neither side waits for the other."""
    out, err, sent, rest = bytearray(), bytearray(), 0, b""
    quiet = time.monotonic()
    while True:
        ended = channel.eof_received  # asked first: what came before the end is read below
        so_far = sent, len(out), len(err)
        if sent < len(script) and channel.send_ready():
            sent += channel.send(script[sent : sent + 32768])
            if sent == len(script):
                channel.shutdown_write()
        while channel.recv_ready():
            data = channel.recv(65536)
            out += data
            if on_line:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    on_line(line.decode(errors="replace"))
        while channel.recv_stderr_ready():
            err += channel.recv_stderr(65536)
        if so_far != (sent, len(out), len(err)):
            quiet = time.monotonic()
        # A daemon that the script started may keep the outputs open: then a while without a word ends it too.
        elif ended or (channel.exit_status_ready() and time.monotonic() - quiet > 1):
            break
        else:
            select.select([channel], [], [], 0.02)
    status = channel.recv_exit_status()
    channel.close()
    if status == -1:
        raise EOFError("ended without an exit status")
    return Answer(out.decode(errors="replace"), err.decode(errors="replace"), status)
