"""Mail that waits on a server to go out. What old has taken, old sends, as long as it is on: new never gets it too."""

from . import output
from .desired import Precondition
from .hosts import Host
from .outcome import Outcome
from .programs import program
from .resources import Command, succeeds

TRIED = 20  # seconds for queued mail to go out
FUNCTIONS = program("mail.sh").decode()  # sh, for looks and recorded scripts


def queued(server: Host) -> tuple[int, str]:
    """How many mails wait on *server*, and what the first of them was answered."""
    number, _, why = server.look(f"{FUNCTIONS}\nqueued; why_queued").out.strip().partition("\n")
    return int(number), why


def sent(server: Host) -> list[Command | Precondition] | None:
    """*server*: queued mail is tried again; a note says what is still queued then. None where nothing is queued."""
    if not queued(server)[0]:
        return None
    run = f"{FUNCTIONS}\ntry_mail_again\nwait_until {TRIED} no_mail || :"

    def note() -> None:
        number, why = queued(server)
        if number:
            what = f"{number} mails are still queued on old ({why or 'not tried yet'})"
            output.outcome(Outcome.NOTE, f"{what}; old tries them again, and `retire-old` waits for them")

    return [Command(server, run, shown="the mail queue is tried again"), Precondition(note)]


def none_left(server: Host) -> Precondition:
    """*server*: no mail waits there."""
    script = f'{FUNCTIONS}\nno_mail || {{ echo "$(queued) of them: $(why_queued)"; exit 1; }}'
    do = "there, `postqueue -p` shows it, `postqueue -f` tries again, `postsuper -d` deletes one"
    return succeeds(server, script, f"mail is still queued on old: {do}")
