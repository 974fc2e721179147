"""What is documented is what there is."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_about_configuration_is_what_the_code_says() -> None:
    generator = runpy.run_path(str(DOCS / "generate.py"))

    assert generator["PAGE"].read_text(encoding="utf-8") == generator["page"](), "Run `python docs/generate.py`."
