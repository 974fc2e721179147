"""The pages whose programs are run: the guide, the one about doors, and that for those who come from python-socketio."""

from __future__ import annotations

import re

from tests.conftest import ROOT

__all__ = ["BLOCKS", "DOCS", "PAGES", "TEXTS"]

DOCS = ROOT / "docs"
PAGES = {page.stem: page for page in [*sorted((DOCS / "guide").glob("*.md")), DOCS / "doors.md", DOCS / "from-python-socketio.md"]}
TEXTS = {name: page.read_text(encoding="utf-8") for name, page in PAGES.items()}
BLOCKS = {name: dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)) for name, text in TEXTS.items()}
