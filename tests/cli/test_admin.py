"""``trio-sio run --admin``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.admin.opening import AUTH
from trio_sio import cli
from trio_sio.admin.messages import features

APP = """
from trio_sio import Route, RoutingTable, Server, Socket, on_message
from trio_sio.admin import admin

class Hall:
    @on_message("say")
    def say(self, socket: Socket, text: str) -> str:
        return text

routes = RoutingTable(Route("/", Hall))
mine = RoutingTable(Route("/admin", Hall))
watched = Server(routes)
admin(watched, auth=None)
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "admin_app.py").write_text(APP)
    (tmp_path / "users").write_text(f"ada:{AUTH.password}\n\n")
    (tmp_path / "two").write_text(f"ada:{AUTH.password}\ngrace:{AUTH.password}\n")
    (tmp_path / "plain").write_text("ada:secret\n")
    (tmp_path / "hash").write_text(f"{AUTH.password}\n")
    (tmp_path / "nobody").write_text(f":{AUTH.password}\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["alone", "workers"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["routes", "--admin-auth", "users"], "--admin-auth alone opens no admin page; write --admin as well."),
        (["routes", "--admin-readonly"], "--admin-readonly alone opens no admin page; write --admin as well."),
        (["routes", "--admin-mode", "production"], "--admin-mode alone opens no admin page; write --admin as well."),
        (["routes", "--admin", "--admin-auth", "two"], "--admin-auth 'two' has 2 lines; write one, USERNAME:HASH"),
        (["routes", "--admin", "--admin-auth", "hash"], "--admin-auth 'hash' has no name before the hash; write USERNAME:HASH"),
        (["routes", "--admin", "--admin-auth", "plain"], "--admin-auth 'plain': BasicAuth.password is no bcrypt hash"),
        (["routes", "--admin", "--admin-auth", "nobody"], "--admin-auth 'nobody': BasicAuth(username='') names nobody"),
        (["routes", "--admin", "--admin-auth", "binary"], "--admin-auth 'binary' cannot be read"),
    ],
)
def test_what_opens_no_page_is_one_sentence(
    arguments: list[str], sentence: str, workers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", f"admin_app:{arguments[0]}", *arguments[1:], *workers]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"trio-sio: {sentence}")
    assert AUTH.password not in line


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("target", ["mine", "watched"])
def test_where_the_namespace_is_taken_it_says_so(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", f"admin_app:{target}", "--admin", "--port", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("trio-sio: The namespace '/admin'")


def test_what_pages_are_told_that_they_can_do() -> None:
    commands = ["EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"]
    assert features("development", readonly=False) == [*commands, "AGGREGATED_EVENTS", "ALL_EVENTS"]
    assert features("development", readonly=True) == ["AGGREGATED_EVENTS", "ALL_EVENTS"]
    assert features("production", readonly=False) == [*commands, "AGGREGATED_EVENTS"]
    assert features("production", readonly=True) == ["AGGREGATED_EVENTS"]
