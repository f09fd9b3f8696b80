"""Chromium without a window, spoken to through a pipe: what a page looks like to it, and what it fetches."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name leads anywhere
)


class Page:
    """A page that was loaded. `fetched`: every address that it asked for, itself included."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session
        self.fetched: list[str] = []

    def ask(self, method: str, **given: Any) -> Any:
        """A command of the DevTools protocol, to this page."""
        return self._browser.ask(method, self._session, **given)

    def js(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


class Chromium:
    """The browser. A context manager's value: see `chromium`."""

    def __init__(self, commands: Any, answers: Any) -> None:
        self._commands, self._answers, self._numbers = commands, answers, itertools.count(1)
        self._events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **given: Any) -> Any:
        """Sends a command and gives its answer; events that come meanwhile are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": given} | ({"sessionId": session} if session else {})
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._read()).get("id") != number:
            self._events.append(answer)
        assert "error" not in answer, f"{method}: {answer}"
        return answer["result"]

    def load(self, file: Path, width: int, height: int = 844) -> Page:
        """Loads a file in a window of so many CSS pixels, as a phone does where that is narrow."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        page.ask("Page.enable")
        page.ask("Network.enable")
        page.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self._events.clear()
        page.ask("Page.navigate", url=file.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._read())
        page.js("document.images.length")  # after this answer all requests of the page have been told
        page.fetched = [
            event["params"]["request"]["url"]
            for event in self._events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return page

    def _read(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            text += byte
        return json.loads(text)


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """A browser with a new profile in *folder*. `scripts/test` has installed it."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "the report is looked at in Chromium: apt-get install chromium"
    reading, commands = os.pipe()
    answers, writing = os.pipe()
    line = shlex.join([program, *QUIET, f"--user-data-dir={folder}"])
    browser = subprocess.Popen(
        ["bash", "-c", f"exec {line} 3<&{reading} 4>&{writing}"],
        pass_fds=(reading, writing),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    os.close(reading)
    os.close(writing)
    try:
        with os.fdopen(commands, "wb") as sending, os.fdopen(answers, "rb") as receiving:
            yield Chromium(sending, receiving)
    finally:
        browser.terminate()
        browser.wait(20)
