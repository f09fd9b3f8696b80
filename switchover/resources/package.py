"""Packages of the system."""

from ..hosts import Host
from ..programs import programs
from .command import Command


def packages(server: Host, names: str, configuration: str, installed: str = "") -> Command:
    """The packages *names* (words of sh) are installed on *server*.

    Undone, the packages that it installed are removed, and with them a *configuration* (a directory) that was not there
    before; an update of a package that was there stays. *installed* (sh) succeeds where they are there, however they
    were installed.
    """
    status = f"dpkg-query -W -f '${{db:Status-Status}}\\n' {names} 2>/dev/null"
    check = installed or f'[ "$({status} | grep -cx installed)" = {len(names.split())} ]'
    run, undo = f"sh after/packages install {configuration} {names}", "sh after/packages remove"
    return Command(server, run, undo, check, f"apt-get install {names}", files=programs("packages"))
