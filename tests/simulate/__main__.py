"""``python -m tests.simulate``: runs of many seeds, or the trace of one."""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.simulate.faults import KINDS, Trouble, troubles
from tests.simulate.market import LENGTH_S
from tests.simulate.oracle import judge
from tests.simulate.shrink import shrunk
from tests.simulate.world import Run, play

_SHOWN = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if something is wrong with a seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: all that happened")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND",
                        help=f"faults of these kinds only: {', '.join(KINDS)}")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=float("inf"),
                        help="no new seed after so much processor time")  # fmt: skip
    parser.add_argument("--no-faults", action="store_true")
    options = parser.parse_args(arguments)
    began = time.process_time()
    single = options.seed is not None
    seeds = [options.seed] if single else range(options.first, options.first + options.seeds)
    failed = tried = 0
    for seed in seeds:
        if time.process_time() - began > options.seconds:
            break
        tried += 1
        faults = [] if options.no_faults else troubles(seed, tuple(options.kinds))
        if options.trace:
            print(trace(play(seed, faults)), end="")
        failed += not _try(seed, faults, quiet=options.trace)
    if not options.trace:
        spent = time.process_time() - began
        hours = 2 * tried * LENGTH_S / 3600
        print(f"{tried} seeds, {failed} failed; {hours:.1f} h of markets in {spent:.0f} s:"
              f" {hours * 3600 / spent:.0f} x real time")  # fmt: skip
    return 1 if failed else 0


def _try(seed: int, faults: Sequence[Trouble], *, quiet: bool) -> bool:
    base = play(seed)
    wrong = judge(base, play(seed, faults))
    if not wrong or quiet:
        return not wrong
    print(f"seed {seed}: {len(wrong)} wrong, such as: {wrong[0][:600]}", flush=True)
    story = shrunk(base, faults)
    print(f"  with these faults alone, of {len(faults)}:")
    for fault in story:
        print(f"    {fault}")
    for text in judge(base, play(seed, story))[:_SHOWN]:
        print(f"    → {text[:300]}", flush=True)
    return False


def trace(run: Run) -> str:
    """All that happened in a run, a line each: the same for the same seed, byte for byte."""
    lines = [f"seed {run.seed}", *(f"shock {shock}" for shock in run.market.shocks), *run.trace]
    lines += [f"message {m.number} {m.at / 1000:.3f} {m.text!r}" for m in run.messages]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
