"""``--admin``: the admin page of the command line."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from ..admin import BasicAuth, admin
from ..errors import ConfigurationError
from .usage import UsageError, file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..admin.messages import Mode
    from ..server import Server

__all__ = ["add_admin_options", "admin_of"]


def add_admin_options(run: argparse.ArgumentParser) -> None:
    """Add what `admin_of` reads."""
    group = run.add_argument_group("admin page", "What npm's @socket.io/admin-ui shows and controls; see docs/operations.md.")
    group.add_argument("--admin", action="store_true", help="open the namespace /admin; without --admin-auth to this machine only")
    group.add_argument(
        "--admin-auth", type=file, metavar="FILE", help="who may log in: one line USERNAME:HASH, as `htpasswd -nB USERNAME` writes it"
    )
    group.add_argument("--admin-readonly", action="store_true", help="pages may look, and change nothing")
    group.add_argument(
        "--admin-mode",
        choices=("development", "production"),
        help="production: figures only; development: every socket and every event, too (development)",
    )


def admin_of(options: argparse.Namespace) -> Callable[[Server], object]:
    """Return what gives a server the admin page that the options ask for, if any.

    Raises:
      UsageError: if that is not possible; what is returned, too.
    """
    auth = None if options.admin_auth is None else _read_auth(options.admin_auth)
    mode: Mode = options.admin_mode or "development"
    if options.admin:
        return partial(_administer, auth=auth, readonly=options.admin_readonly, mode=mode)
    for option in ("admin_auth", "admin_readonly", "admin_mode"):
        if getattr(options, option):
            raise UsageError(f"--{option.replace('_', '-')} alone opens no admin page; write --admin as well.")
    return lambda server: None


def _administer(server: Server, *, auth: BasicAuth | None, readonly: bool, mode: Mode) -> None:
    try:
        admin(server, auth=auth, readonly=readonly, mode=mode)
    except ConfigurationError as exc:
        raise UsageError(str(exc)) from None


def _read_auth(path: Path) -> BasicAuth:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"--admin-auth {str(path)!r} cannot be read: {exc}") from None
    if len(lines) != 1:
        raise UsageError(f"--admin-auth {str(path)!r} has {len(lines)} lines; write one, USERNAME:HASH, with `htpasswd -nB USERNAME`.")
    username, colon, password = lines[0].strip().partition(":")
    if not colon:
        raise UsageError(f"--admin-auth {str(path)!r} has no name before the hash; write USERNAME:HASH, with `htpasswd -nB USERNAME`.")
    try:
        return BasicAuth(username, password)
    except ConfigurationError as exc:
        raise UsageError(f"--admin-auth {str(path)!r}: {exc}") from None
