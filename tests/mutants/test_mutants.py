"""The list of mutants fits the tree and the page about it. What the tests notice of them, `make mutants` finds out."""

from __future__ import annotations

from collections import Counter

from docs import mutants as documented
from tests.mutants import run


def test_every_mutant_fits_the_tree() -> None:
    assert run.load([])


def test_every_mutant_is_there_once() -> None:
    mutants = run.load([])
    for what in ([mutant.name for mutant in mutants], [(mutant.file, *mutant.within, mutant.old, mutant.new) for mutant in mutants]):
        assert [one for one, count in Counter(what).items() if count > 1] == []


def test_every_mutant_is_another_program() -> None:
    for mutant in run.load([]):
        source = (run.ROOT / "trio_sio" / mutant.file).read_text(encoding="utf-8")
        broken = mutant.apply(source)
        assert broken != source, mutant.name
        compile(broken, mutant.file, "exec")


def test_the_page_counts_them() -> None:
    assert documented.PAGE.read_text(encoding="utf-8") == documented.page(), "Run `python docs/mutants.py`."
