"""What every page of results must pass, whoever makes it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ADDRESSES = ("src", "href", "srcset", "data", "action", "poster", "xlink:href")
VOID_ELEMENTS = {"meta", "link", "img", "br", "hr", "input"}


class PageReader(HTMLParser):
    """Collects addresses, ids and text, and fails on elements that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses, self.ids, self.text, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ADDRESSES]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID_ELEMENTS:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


def check_page(html: str) -> PageReader:
    """Fail where a page refers to anything outside itself; return what it holds."""
    page = PageReader(html)
    inside = {f"#{name}" for name in page.ids}
    assert all(address.startswith("data:") or address in inside for address in page.addresses)
    assert not re.search(r"@import|url\((?!data:)", html)
    return page


def console_of(path: Path) -> str:
    """What a headless Chromium says about a page; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    result = subprocess.run([*command, profile, path.as_uri()], capture_output=True, text=True, timeout=90)
    assert "<h1>" in result.stdout
    return "\n".join(line for line in result.stderr.splitlines() if "CONSOLE" in line)
