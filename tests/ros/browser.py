"""A headless Chromium, spoken to in its own protocol (websockets come with viser): open a page, look at it."""

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

FLAGS = (
    "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --use-angle=swiftshader --enable-unsafe-swiftshader --remote-debugging-port=0 --window-size=1400,900"
).split()
WAIT_S = 20.0


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    def __init__(self, folder: Path, url: str):
        from websockets.sync.client import connect

        self._process = subprocess.Popen(
            [find_chromium(), *FLAGS, f"--user-data-dir={folder}", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = self._until(lambda: self._port(folder / "DevToolsActivePort"), "Chromium's port")
            page = self._until(lambda: self._page(port), "Chromium's page")
            self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
        except BaseException:
            self._process.kill()
            raise
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def call(self, method: str, **params) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(timeout=WAIT_S))).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def text(self) -> str:
        """All text on the page."""
        return self.call("Runtime.evaluate", expression="document.body.innerText")["result"].get("value", "")

    def requests(self) -> list[str]:
        """Addresses of all that the page has loaded."""
        expression = "JSON.stringify(performance.getEntriesByType('resource').map(e => e.name))"
        return json.loads(self.call("Runtime.evaluate", expression=expression)["result"]["value"])

    def screenshot(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return path

    def _port(self, file: Path) -> int | None:
        return int(file.read_text().split()[0]) if file.exists() and file.read_text() else None

    def _page(self, port: int) -> dict | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            return next((page for page in json.load(answer) if page["type"] == "page"), None)

    def _until(self, condition, what: str):
        end = time.monotonic() + WAIT_S
        while not (found := condition()):
            assert time.monotonic() < end, f"waited {WAIT_S:g} s in vain for {what}"
            time.sleep(0.05)
        return found
