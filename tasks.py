"""Switchover: moves a live Rails site to a new server. `inv --list` is the checklist."""

from invoke.collection import Collection

from switchover.checklist import COLLECTIONS
from switchover.commands import settings
from switchover.commands.check import check
from switchover.commands.move import move
from switchover.commands.plan import plan
from switchover.commands.prove import prove
from switchover.commands.render import render
from switchover.commands.status import status
from switchover.commands.undo import undo
from switchover.commands.unlock import unlock
from switchover.commands.watch import watch
from switchover.settings_file import take_over

take_over()

namespace = Collection("switchover")
namespace.add_task(check)
for section in COLLECTIONS:
    section.name = namespace.transform(str(section.name))  # Invoke's JSON list sorts by it
    namespace.add_collection(section)
for command in (status, undo, move, unlock, watch, prove, plan, render):
    namespace.add_task(command)
namespace.add_collection(Collection.from_module(settings, name="settings"))

try:
    from lab import tasks as lab
except ImportError:  # the lab is not needed to move a site
    pass
else:
    namespace.add_collection(Collection.from_module(lab, name="lab"))
