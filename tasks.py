"""Switchover: moves a live Rails site to a new server. `inv --list` is the checklist."""

from invoke.collection import Collection

from switchover import overview, pages, settings_commands
from switchover.checklist.check import check
from switchover.prove import prove
from switchover.settings_file import take_over
from switchover.watch import watch

take_over()

namespace = Collection("switchover")
namespace.add_task(check)
for part in overview.COLLECTIONS:
    part.name = namespace.transform(str(part.name))  # Invoke's JSON list sorts by it
    namespace.add_collection(part)
for one in (overview.status, overview.undo, overview.move, overview.unlock, watch, prove, pages.plan, pages.render):
    namespace.add_task(one)
namespace.add_collection(Collection.from_module(settings_commands, name="settings"))

try:
    from lab import tasks as lab
except ImportError:  # the lab is not needed to move a site
    pass
else:
    namespace.add_collection(Collection.from_module(lab, name="lab"))
