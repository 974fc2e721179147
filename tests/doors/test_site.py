"""Static files and the browser bundle: what is served, and above all what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trio_sio import Ready
from trio_sio.doors.native.site import Site, health_page
from trio_sio.protocol.http import Headers, Request, Response


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory of files, beside one that must not be reachable."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("<p>home")
    (root / "app.js").write_text("1")
    (root / "sub" / "index.html").write_text("<p>sub")
    (root / "a b%.txt").write_text("blank")
    (root / "data.bin").write_bytes(bytes(range(256)))
    (root / "page.html.gz").write_bytes(b"\x1f\x8b")
    (root / ".env").write_text("secret")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (tmp_path / "root-secret").mkdir()
    (tmp_path / "root-secret" / "file.txt").write_text("secret")
    (root / "inside.txt").symlink_to(root / "app.js")
    (root / "outside.txt").symlink_to(tmp_path / "root-secret" / "file.txt")
    (root / "outside").symlink_to(tmp_path / "root-secret")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "fifo")
    return root


async def fetch(site: Site, path: str, method: str = "GET", known: bytes | None = None) -> Response:
    fields = [] if known is None else [(b"If-None-Match", known)]
    response = await site.respond(Request(method, path, b"", Headers(fields)))
    assert isinstance(response, Response)  # a large file is not
    return response


def fields(response: Response) -> dict[bytes, bytes]:
    return dict(response.headers)


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/", b"<p>home", b"text/html; charset=utf-8"),
        ("/index.html", b"<p>home", b"text/html; charset=utf-8"),
        ("/sub/", b"<p>sub", b"text/html; charset=utf-8"),
        ("/a%20b%25.txt", b"blank", b"text/plain; charset=utf-8"),
        ("/data.bin", bytes(range(256)), b"application/octet-stream"),
        ("/page.html.gz", b"\x1f\x8b", b"application/octet-stream"),
        ("/inside.txt", b"1", b"text/javascript; charset=utf-8"),
    ],
)
async def test_files(root: Path, path: str, body: bytes, content_type: bytes) -> None:
    response = await fetch(Site(root, None, "/socket.io"), path)
    assert (response.status, response.body) == (200, body)
    assert fields(response)[b"Content-Type"] == content_type
    assert fields(response)[b"X-Content-Type-Options"] == b"nosniff"
    assert fields(response)[b"Cache-Control"] == b"no-cache"


async def test_a_directory_without_its_slash_is_redirected_within_the_site(root: Path) -> None:
    (root / "b c").mkdir()
    response = await fetch(Site(root, None, "/socket.io"), "/b%20c")
    assert (response.status, fields(response)[b"Location"]) == (308, b"/b%20c/")


@pytest.mark.parametrize(
    "path",
    [
        "/missing",
        "/.env",
        "/.git/config",
        "/sub/../index.html",
        "/../root-secret/file.txt",
        "/..%2froot-secret%2ffile.txt",
        "/%2e%2e/root-secret/file.txt",
        "/%2e%2e%2froot-secret%2ffile.txt",
        "//etc/passwd",
        "//index.html",
        "/sub//index.html",
        "/%2fetc%2fpasswd",
        "/..\\root-secret\\file.txt",
        "/outside.txt",
        "/outside/",
        "/outside/file.txt",
        "/app.js/",
        "/app.js/x",
        "/loop",
        "/fifo",
        "/a%00b",
        "/%ff",
        "/" + "a" * 300,
        "/" + "a/" * 3000,
        "*",
        "http://elsewhere/index.html",
        "",
    ],
)
async def test_what_is_not_served(root: Path, path: str) -> None:
    response = await fetch(Site(root, None, "/socket.io"), path)
    assert (response.status, response.body) == (404, b"There is nothing at this address.\n")


async def test_a_root_that_is_a_link_is_followed(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert (await fetch(Site(link, None, "/socket.io"), "/app.js")).status == 200


async def test_validators(root: Path) -> None:
    site = Site(root, None, "/socket.io")
    tag = fields(await fetch(site, "/app.js"))[b"ETag"]
    for known in (tag, b"W/" + tag, b'"x", ' + tag, b"*"):
        response = await fetch(site, "/app.js", known=known)
        assert (response.status, response.body, fields(response)[b"ETag"]) == (304, b"", tag)
    assert (await fetch(site, "/app.js", known=b'"x"')).status == 200
    (root / "app.js").write_text("22")
    assert (await fetch(site, "/app.js", known=tag)).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "get", "CONNECT"])
async def test_other_verbs(root: Path, method: str) -> None:
    response = await fetch(Site(root, None, "/socket.io"), "/", method)
    assert (response.status, fields(response)[b"Allow"]) == (405, b"GET, HEAD")


@pytest.mark.hostile("H56")
async def test_the_client_bundle_is_eight_exact_names(tmp_path: Path) -> None:
    names = [f"socket.io{kind}.js{suffix}" for kind in ("", ".min", ".esm.min", ".msgpack.min") for suffix in ("", ".map")]
    for name in [*names, "other.js"]:
        (tmp_path / name).write_text(name)
    site = Site(None, tmp_path, "/socket.io")
    for name in names:
        response = await fetch(site, f"/socket.io/{name}")
        assert (response.status, response.body) == (200, name.encode())
        assert fields(response)[b"Cache-Control"] == b"public, max-age=0"
        kind = b"application/json" if name.endswith(".map") else b"text/javascript"
        assert fields(response)[b"Content-Type"] == kind + b"; charset=utf-8"
        assert (await fetch(site, f"/socket.io/{name}", known=fields(response)[b"ETag"])).status == 304
    for path in (
        "/socket.io/other.js",
        "/socket.io/socket.io.js/",
        "/socket.io/socket.io.js/../other.js",
        "/socket.io.js",
        "/socket.io/%73ocket.io.js",
    ):
        assert (await fetch(site, path)).status == 404


async def test_the_client_bundle_is_off_by_default(root: Path) -> None:
    assert (await fetch(Site(root, None, "/socket.io"), "/socket.io/socket.io.js")).status == 404


async def test_a_bundle_that_is_missing_is_404(tmp_path: Path) -> None:
    assert (await fetch(Site(None, tmp_path, "/socket.io"), "/socket.io/socket.io.js")).status == 404


@pytest.mark.parametrize(
    ("ready", "status", "body"),
    [
        (Ready(ready=True), 200, b'{"ready":true,"reason":""}'),
        (Ready(ready=False, reason="It stops."), 503, b'{"ready":false,"reason":"It stops."}'),
    ],
)
async def test_the_health_page(root: Path, ready: Ready, status: int, body: bytes) -> None:
    (root / "healthz").write_text("a file that it is in front of")
    site = Site(root, None, "/socket.io", [health_page("/healthz", lambda: ready)])
    response = await fetch(site, "/healthz")
    assert (response.status, response.body) == (status, body)
    assert fields(response) == {b"Content-Type": b"application/json", b"Cache-Control": b"no-store"}
    assert (await fetch(site, "/healthz", "POST")).status == 405
    assert (await fetch(site, "/healthz/")).status == 404
    assert (await fetch(site, "/app.js")).status == 200
