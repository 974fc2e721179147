"""The page's files: complete, self-contained, and without a way to run what a client wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from handlers import routes

ROOT = Path(__file__).parents[2]
WEB = ROOT / "handlers/web"
SCRIPTS = sorted(WEB.glob("*.js"))
CLIENT = ROOT / "node_modules/socket.io-client"


class Page(HTMLParser):
    """Collects what an HTML page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.labelled: list[str] = []
        self.controls: list[dict[str, str | None]] = []
        self.files: list[str] = []
        self.attributes: set[str] = set()
        self.feed((WEB / "index.html").read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.attributes |= values.keys()
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.files += [value for name, value in attrs if name in ("src", "href") and value]
        if tag == "label":
            self.labelled.append(values["for"] or "")
        if tag in ("input", "textarea"):
            self.controls.append(values)


def test_every_file_that_the_page_names_is_there() -> None:
    imports = re.findall(r'from "\./([^"]+)"', "".join(script.read_text() for script in SCRIPTS))
    for name in [*Page().files, *imports]:
        assert (WEB / name).is_file(), name


def test_every_element_that_the_scripts_name_is_there() -> None:
    named = set(re.findall(r'\$\("([^"]+)"\)', "".join(script.read_text() for script in SCRIPTS)))
    ids = Page().ids
    assert named <= set(ids)
    assert len(ids) == len(set(ids))


def test_every_control_has_a_label() -> None:
    page = Page()
    assert page.controls
    for control in page.controls:
        assert control["id"] in page.labelled


def test_the_page_has_no_inline_code() -> None:
    assert not {name for name in Page().attributes if name.startswith("on") or name == "style"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_of_text(script: Path) -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", script.read_text())


def test_the_icon_is_well_formed() -> None:
    assert ET.parse(WEB / "favicon.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_client_from_the_cdn_is_pinned_and_checked() -> None:
    source = (WEB / "connection.js").read_text()
    pinned = re.search(r'"https://cdn\.socket\.io/(4\.8\.\d+)/socket\.io\.min\.js"', source)
    digest = re.search(r'"sha384-([A-Za-z0-9+/]{64})"', source)
    assert pinned is not None
    assert digest is not None
    package = CLIENT / "package.json"
    if package.exists() and json.loads(package.read_text())["version"] == pinned[1]:
        bundle = (CLIENT / "dist/socket.io.min.js").read_bytes()
        assert base64.b64encode(hashlib.sha384(bundle).digest()).decode() == digest[1]


# What the page sends and hears is what the handlers say.


def test_the_contract_is_that_of_the_handlers() -> None:
    written = (WEB.parent / "contract.ts").read_text(encoding="utf-8")
    assert written == routes.contract().text("typescript"), "run `trio-sio contract handlers:routes > handlers/contract.ts`"


SLIPS = {
    'emitWithAck("join", room.name)': 'emitWithAck("enter", room.name)',
    'emitWithAck("say", room.name, message.text, message.id)': 'emitWithAck("say", room.name, message.text)',
    "summaries = welcome.rooms;": "summaries = welcome.room;",
    'chat.on("said", hear);': 'chat.on("told", hear);',
    "message.author": "message.sender",
}


@pytest.mark.slow
@pytest.mark.needs("node", "typescript", "socket.io-client")
def test_its_compiler_finds_each_slip_and_nothing_else(tmp_path: Path) -> None:
    handlers = tmp_path / "handlers"
    shutil.copytree(WEB.parent, handlers)
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    app = handlers / "web" / "app.js"
    text = app.read_text(encoding="utf-8")
    for right, wrong in SLIPS.items():
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    app.write_text(text, encoding="utf-8")
    compiler = ROOT / "node_modules" / "typescript" / "bin" / "tsc"
    command = ["node", str(compiler), "--project", str(handlers)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=80)
    found = re.findall(r"^(\S+)\((\d+),", ran.stdout, re.MULTILINE)
    lines = text.splitlines()
    assert {file for file, _ in found} == {"handlers/web/app.js"}, ran.stdout
    slips = {number for number, line in enumerate(lines, 1) if any(slip in line for slip in SLIPS.values())}
    assert {int(line) for _, line in found} == slips, ran.stdout
