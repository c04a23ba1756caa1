"""``lowtide repair``: what became of a damaged file of the embedded server, and what to do."""

from pathlib import Path

from streams.bus.embedded import AOF, ASIDE


def explained(data_dir: Path) -> tuple[int, str]:
    """The exit code and the text: 0 if nothing was set aside in ``data_dir``."""
    folders = sorted(data_dir.glob(f"{AOF}.{ASIDE}-*")) if data_dir.is_dir() else []
    if not folders:
        return (
            0,
            f"Nothing is set aside in {data_dir}: the file of the embedded server was readable.",
        )
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
    ]
    return 1, "\n".join(lines)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
