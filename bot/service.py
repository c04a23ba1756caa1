"""``lowtide service install``: a unit for systemd, which starts Lowtide, watches it and fences it
in.

The unit is written and no more: to switch it on is for whoever asked for it. The roles tell systemd
when they have started and while they are well, see ``bot/roles/notify.py``.
"""

import os
import pwd
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bot.config import Settings
from bot.config.source import home

NAME = "lowtide.service"
_FENCED = (
    "UMask=0077",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
)
"""What a manager of a user's own services can do too. Not MemoryDenyWriteExecute: ctypes, which
libraries import, may ask for such memory."""

_FENCED_BY_ROOT = (
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RemoveIPC=yes",
    "CapabilityBoundingSet=",
)
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


class ServiceError(Exception):
    """Why there is no unit, and what to do, in one sentence."""


class ServicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit is made of. All paths are absolute."""

    python: Path
    """The interpreter of the environment that Lowtide is installed in, not what it links to."""
    config: Path
    data_dir: Path
    user: str | None
    """Whose processes they are; None: of the user whose manager it is."""

    @property
    def folder(self) -> Path:
        """Where it runs: what the configuration names without a / is there."""
        return self.config.parent


def unit(plan: ServicePlan) -> str:
    """The text of the unit. Raises ServiceError for a path that it cannot hold."""
    python, config, data, folder = (
        _quoted(path) for path in (plan.python, plan.config, plan.data_dir, plan.folder)
    )
    fences = list(_FENCED)
    if plan.user is not None:
        paths = (plan.python, plan.config, plan.data_dir)
        at_home = any(path.is_relative_to(place) for path in paths for place in _HOMES)
        fences += [
            *_FENCED_BY_ROOT,
            f"ProtectHome={'read-only' if at_home else 'yes'}",
            f"ReadWritePaths={data}",
        ]
    return "\n".join(
        [
            "# Written by lowtide service install; what differs here belongs into",
            f"# systemctl {'--user ' if plan.user is None else ''}edit {NAME}",
            "[Unit]",
            "Description=Lowtide, alerts for crypto derivatives",
            "Wants=network-online.target",
            "After=network-online.target",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "# Started when it says so, and started anew when it has not said for a minute that",
            "# its roles go on. A configuration with mistakes is for its operator to mend.",
            "Type=notify",
            "NotifyAccess=main",
            "WatchdogSec=60",
            "TimeoutStartSec=120",
            "Restart=always",
            "RestartSec=5",
            "RestartPreventExitStatus=2",
            f"ExecStart={python} -P -m bot run --config {config}",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "# Only the roles are asked to stop: they save to their Redis, and stop it last.",
            "KillMode=mixed",
            "TimeoutStopSec=20",
            f"WorkingDirectory={folder[1:-1]}",
            *([f"User={plan.user}"] if plan.user is not None else []),
            "",
            *fences,
            "",
            "[Install]",
            f"WantedBy={'default.target' if plan.user is None else 'multi-user.target'}",
            "",
        ]
    )


def _quoted(path: Path) -> str:
    text = str(path)
    if not text.isprintable() or any(sign in text for sign in "\"'\\$ "):
        raise ServiceError(
            f"{text!r} cannot stand in a unit: use a path without spaces and any of \"'\\$"
        )
    return '"' + text.replace("%", "%%") + '"'


def service_plan(settings: Settings, *, as_root: bool) -> ServicePlan:
    """The plan for this environment and configuration. Raises ServiceError."""
    config = Path(os.path.abspath(settings.path))  # noqa: PTH100  # a link stays a link
    if settings.path.parent != home(settings.path):
        raise ServiceError(
            "there is no configuration of your own in this folder: lowtide init writes one"
        )
    user, python = None, Path(sys.executable)
    if as_root:
        user = pwd.getpwuid(config.stat().st_uid).pw_name
        if user == "root":
            raise ServiceError(
                f"{config} belongs to root, and Lowtide is not to run as root: give its folder to"
                f" a user of its own (useradd --system lowtide; chown -R lowtide {config.parent})"
            )
        for needed in (python, python.resolve(), config):
            if (shut := _shut(needed, user)) is not None:
                raise ServiceError(
                    f"{user}, whose {config} is, may not enter {shut}, where {needed} is: install"
                    " Lowtide where all may read it, such as with a virtual environment in /opt"
                )
    return ServicePlan(
        python=python,
        config=config,
        data_dir=Path(os.path.abspath(settings.data_dir)),  # noqa: PTH100
        user=user,
    )


def _shut(path: Path, user: str) -> Path | None:
    """The outermost folder above ``path`` that ``user`` may not enter, by its mode; None: none."""
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    for folder in reversed(path.parents):
        about = folder.stat()
        if about.st_uid == entry.pw_uid:
            needed = stat.S_IXUSR
        else:
            needed = stat.S_IXGRP if about.st_gid in groups else stat.S_IXOTH
        if not about.st_mode & needed:
            return folder
    return None


def unit_folder(env: Mapping[str, str], *, as_root: bool) -> Path:
    """Where units are looked for: of the machine, or of a user."""
    if as_root:
        return Path("/etc/systemd/system")
    base = env.get("XDG_CONFIG_HOME", "") or str(Path.home() / ".config")
    return Path(base) / "systemd" / "user"


def install(plan: ServicePlan, folder: Path, *, replace: bool = False) -> str:
    """Write the unit into ``folder``, and say what is to be done next. Raises ServiceError."""
    text, path = unit(plan), folder / NAME
    try:
        if path.exists() and path.read_text(encoding="utf-8") != text and not replace:
            raise ServiceError(
                f"{path} is there already and differs: --replace writes it anew, and leaves alone"
                f" what systemctl edit has put beside it"
            )
        if not plan.data_dir.exists():  # what is read-only around it does not let it be made
            plan.data_dir.mkdir(parents=True, mode=0o700)
            if plan.user is not None:
                owner = pwd.getpwnam(plan.user)
                os.chown(plan.data_dir, owner.pw_uid, owner.pw_gid)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ServiceError(f"cannot write {error.filename}: {error.strerror}") from None
    systemctl = "systemctl --user" if plan.user is None else "systemctl"
    lines = [
        f"Written: {path}",
        "To start it now and with the machine:",
        f"  {systemctl} daemon-reload",
        f"  {systemctl} enable --now lowtide",
    ]
    if plan.user is None:
        lines.append("  loginctl enable-linger    # so that it runs while you are not logged in")
    journal = "journalctl --user" if plan.user is None else "journalctl"
    return "\n".join([*lines, f"How it goes: {systemctl} status lowtide; {journal} -fu lowtide"])
