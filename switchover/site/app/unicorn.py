"""unicorn, started by an init script or a unit, found by its pid file."""

from ...quote import sh
from ...render import render
from ...vocabulary import AnyPath
from .. import app
from ..kinds import Action, Watched


class Settings(app.Settings):
    """unicorn: its service, its socket and its pid file."""

    socket: AnyPath = "tmp/sockets/unicorn.sock"
    """Its socket; a relative path is below the application's directory."""
    pidfile: AnyPath = "tmp/pids/unicorn.pid"
    """The file with its process id; a relative path is below the application's directory."""


class Unicorn(app.Application[Settings]):
    """A master and its workers. On SIGUSR2 a new master takes over; each process finishes its request first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pidfile = self.within(self.settings.pidfile)
        self.listens = f"unix:{self.within(self.settings.socket)}"
        self.runs = f"alive {sh(self.pidfile)}"
        self.started = f'echo $(( $(date +%s) - $(ps -o etimes= -p "$(cat {sh(self.pidfile)})") ))'
        self.main_process = f"cat {sh(self.pidfile)} 2>/dev/null"
        self.facts = f"""
{app.backlog(self.listens)} | say backlog
grep -shoE 'backlog[: =>]+[0-9]+|worker_processes +[0-9]+' {sh(self.path)}/config/unicorn.rb | say app_configuration
[ -z "$master" ] || pgrep -c -P "$master" | say app_workers
"""

    def reload(self) -> Action:
        """A new master replaces the old one; nothing where it does not run."""
        pidfile, service = sh(self.pidfile), sh(self.service)
        script = f"""
if {self.runs}; then
  old=$(cat {pidfile}); kill -USR2 "$old"
  wait_until {app.RELOADS} ended "$old" || refuse {service}" does not restart: see its log"
  wait_until 10 alive {pidfile} || refuse {service}" does not run: see its log"
fi
"""
        return Action(script, f"kill -USR2 ({self.service})")

    def on_deploy(self) -> str:
        """sh for a deploy hook: a new master takes over; where it cannot boot, the old one stays."""
        return render("hooks/app-unicorn.sh.j2", pidfile=self.pidfile).decode()

    def watched(self) -> Watched:
        """Its pid file, and its service."""
        service = f"/usr/sbin/service {self.service}"
        return Watched(self.service, f"{service} start", f"{service} stop", self.pidfile)
