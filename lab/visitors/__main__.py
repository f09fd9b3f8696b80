"""The visitors of the shop, as a program that runs in the visitors' network:

    python -m lab.visitors --ledger FILE --rate 50 --ca ca.pem --address 10.77.0.11 --address fd77::11

It reads lines from its standard input:

    slow-job 40            enqueue one job that takes 40 s
    big-upload 100 25      upload 100 MB evenly over 25 s

When that closes nobody new comes, those waiting get their answers, then every session is asked for once more. So it
never outlives the process that started it.
"""

import argparse
import asyncio
import gc
import os
import sys
import time
from pathlib import Path

from ..world import SHOP
from .browser import Browser, Target
from .crowd import record_own_lag
from .ledger import Ledger
from .scenarios import MIX, ShopVisitors, is_home


async def obey(crowd: ShopVisitors) -> None:
    """Reads control lines until standard input closes; then the visitors stop."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode():
        match line.split():
            case ["slow-job", seconds]:
                crowd.spawn(crowd.slow_job(int(seconds)))
            case ["big-upload", megabytes, seconds]:
                crowd.spawn(crowd.big_upload(int(megabytes), float(seconds)))
            case _:
                crowd.ledger.event("not_understood", at=time.time(), line=line.strip())
    crowd.stopping.set()


async def opening(crowd: ShopVisitors, seconds: float) -> bool:
    """Waits until the shop's first page is there, `seconds` at most. None of that is in the ledger."""
    until = time.monotonic() + seconds
    while not crowd.stopping.is_set():
        reply = await crowd.browser.ask("GET", "/", fresh=True)
        if reply.answer.acknowledged and is_home(reply):
            return True
        if time.monotonic() > until:
            why = f"{reply.status or ''} {reply.answer.note or reply.text[:200]!r}"
            print(f"The shop did not open: {why}", file=sys.stderr)
            break
        await asyncio.sleep(0.2)
    return False


async def run(site: Target, ledger: Ledger, given: argparse.Namespace) -> int:
    """The whole visit, from the first request to the last line of the ledger; 1 when the shop never opened."""
    async with Browser(site) as browser:
        crowd = ShopVisitors(browser, ledger, rate=given.rate, only=given.only)
        beside = [asyncio.create_task(obey(crowd))]
        if given.patience and not await opening(crowd, given.patience):
            return 1
        beside.append(asyncio.create_task(record_own_lag(ledger)))
        ledger.event("start", at=time.time(), rate=given.rate, pid=os.getpid(), domain=site.domain)
        gc.freeze()  # what is loaded by now stays: no pauses for looking at it again
        try:
            await crowd.visit()
            await crowd.check_sessions()
            ledger.event("end", at=time.time(), requests=crowd.requests)
        finally:
            for task in beside:
                task.cancel()
    return 0


def main() -> int:
    """The program; exit status 0 when it came to its end, 1 without a shop."""
    parser = argparse.ArgumentParser(prog="lab.visitors", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--ledger", type=Path, required=True, help="the file to write answers to")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--address", action="append", default=[], help="an address of the site; repeatable")
    how.add_argument("--name-server", action="append", default=[], help="whom they ask for addresses; repeatable")
    parser.add_argument("--ca", type=Path, required=True, help="the authority of the site's certificate")
    parser.add_argument("--domain", default=SHOP.domain, help=f"the site's name ({SHOP.domain})")
    parser.add_argument("--rate", type=float, default=50, help="visits a second (50)")
    parser.add_argument("--only", choices=MIX, help="all come for this (a mix)")
    parser.add_argument("--timeout", type=float, default=30, help="seconds until a visitor gives up (30)")
    parser.add_argument("--patience", type=float, default=0, help="first wait so many seconds for the shop to open")
    parser.add_argument("--https-port", type=int, default=443)
    parser.add_argument("--http-port", type=int, default=80)
    given = parser.parse_args()
    ports = (given.https_port, given.http_port)
    site = Target(given.domain, tuple(given.address), given.ca, given.timeout, *ports, tuple(given.name_server))
    with Ledger(given.ledger) as ledger:
        return asyncio.run(run(site, ledger, given))


if __name__ == "__main__":
    sys.exit(main())
