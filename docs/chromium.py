"""Screenshots by a headless Chromium, over its DevTools pipe: no package is needed beside the browser itself."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
FLAGS = (
    *("--headless", "--no-sandbox", "--no-zygote", "--single-process", "--in-process-gpu", "--remote-debugging-pipe"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--font-render-hinting=none"),
)


def find_chromium() -> str:
    """Return the path of $CHROME, or of a Chromium on PATH. Exit with a message if there is none."""
    found = os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        raise SystemExit(f"no Chromium is on PATH ({', '.join(NAMES)}): install one, or set CHROME to its path")
    return found


class Chromium:
    """A browser with one page. Use it as a context manager."""

    def __enter__(self) -> Self:
        to_browser, self.commands = os.pipe()
        self.answers, from_browser = os.pipe()
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

        def place_pipes() -> None:
            """The browser reads descriptor 3 and writes descriptor 4."""
            ends = os.dup(to_browser), os.dup(from_browser)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        command = [find_chromium(), *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen(
            command, close_fds=False, preexec_fn=place_pipes, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.commands)
        os.close(self.answers)
        self.profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command of the DevTools protocol and return its result."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            some = os.read(self.answers, 1 << 20)
            if not some:
                raise RuntimeError("the browser ended")
            self.buffer += some
        one, _, self.buffer = self.buffer.partition(b"\0")
        return dict(json.loads(one))

    def screenshot(
        self, page: Path | str, width: int, height: int | None = None, *, dark: bool = False, scale: float = 1
    ) -> bytes:
        """Return a page, a file or a URL, as PNG: its first `height` pixels, or the whole of it."""
        url = page.absolute().as_uri() if isinstance(page, Path) else page
        size = {"width": width, "height": height or 100, "deviceScaleFactor": scale, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        while self._receive().get("method") != "Page.loadEventFired":
            pass
        self.call("Runtime.evaluate", expression="document.fonts.ready.then(() => 0)", awaitPromise=True)
        whole = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": height or whole["height"], "scale": 1}
        made = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(made["data"])
