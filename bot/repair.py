"""``lowtide repair``: what became of a damaged file of the embedded server, and what to do."""

from pathlib import Path

from streams.bus.embedded import AOF, ASIDE, cut_offs


def explained(data_dir: Path) -> tuple[int, str]:
    """The exit code and the text: 0 if nothing was set aside in ``data_dir``."""
    folders = sorted(data_dir.glob(f"{AOF}.{ASIDE}-*")) if data_dir.is_dir() else []
    ends = _ends_gone(data_dir)
    if not folders:
        answer = f"Nothing is set aside in {data_dir}: the file of the embedded server was readable"
        return 0, "\n".join([f"{answer}, apart from its end:", *ends] if ends else [f"{answer}."])
    lines = [
        "The embedded server could not read its file, so Lowtide began a new one. What was saved",
        "before is lost to it: baselines, open episodes, posts that waited, subscribers, silences.",
        "",
        "Set aside:",
        *(f"  {folder}  ({_size(folder) / 1e6:,.1f} MB)" for folder in folders),
        "",
        "To get back what can be read of it:",
        "  1. install valkey-check-aof (Debian and Ubuntu: apt install valkey-tools; or",
        "     redis-check-aof of redis-tools) and stop Lowtide;",
        f"  2. valkey-check-aof --fix {folders[-1] / 'appendonly.aof.manifest'}",
        "     cuts the file off where it is damaged (a manifest that is damaged or gone it cannot",
        "     mend: write it anew, from the names of the files beside it);",
        f"  3. remove {data_dir / AOF}, rename the mended folder to that, and start Lowtide.",
        "",
        "Else nothing needs to be done: remove the folder whenever you like.",
        *(["", "The end of the file was left out as well:", *ends] if ends else []),
    ]
    return 1, "\n".join(lines)


def _ends_gone(data_dir: Path) -> list[str]:
    """A line for each time the end of the file was left out, and what that means."""
    lines = [f"  {at} (local time): from byte {offset:,} on" for at, offset in cut_offs(data_dir)]
    if not lines:
        return []
    return [
        *lines,
        "What stood there was no whole command and is gone. After a power failure that is about",
        "the last second, and nothing needs to be done; if it comes again, look at the disk.",
    ]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
