"""The command line: `knhk-harness`, also `python -m harness`.

Exit codes: 0 valid, or as the campaign expects; 1 invalid; 2 unknown; 64 wrong usage or bad input; 70 a crash of
ours.  Bad input is one line on stderr that names the file and the place.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness import commands
from harness.errors import EXIT_BAD_INPUT, EXIT_CRASH, EXIT_INTERRUPTED, BadInput
from harness.sweep import Where

CAMPAIGNS = Path(__file__).parent / "campaigns"
BUGS = Path(__file__).parent.parent / "tests" / "planted_bugs"


class _Parser(argparse.ArgumentParser):
    """argparse, with the exit code that the rest of the world uses for wrong usage."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT)


def _seed_range(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a seed or a range such as 0-299') from None
    if not seeds or seeds[0] < 0:
        raise argparse.ArgumentTypeError(f'"{text}" holds no seed')
    return seeds


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a positive whole number')
    return number


def _add_where(parser: argparse.ArgumentParser, *, transport: bool = True) -> None:
    """The options that say where to run; a plan says itself over which transport."""
    parser.add_argument("--backend", default="sim", help="sim (default), local or docker")
    parser.add_argument("--subject", type=Path, default=None, help="the mesh under test, a TOML file (default: ours)")
    if transport:
        parser.add_argument("--transport", choices=("quic", "tcp"), default=None, help="default: the campaign's first")


def _where(options: argparse.Namespace) -> Where:
    return commands.where_to(options.backend, options.subject, getattr(options, "transport", None))


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = _Parser(prog="knhk-harness", description=__doc__.splitlines()[0])
    subcommands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    run = subcommands.add_parser("run", help="compile a campaign under a seed, run it, judge it")
    run.add_argument("campaign", type=Path)
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--store", type=Path, default=Path("store"))
    _add_where(run)
    run.set_defaults(call=lambda a: commands.run(a.campaign, seed=a.seed, where=_where(a), store=a.store))

    replay = subcommands.add_parser("replay", help="run a stored plan again (a run's directory or a plan.json)")
    replay.add_argument("plan", type=Path)
    replay.add_argument("--store", type=Path, default=Path("store"))
    _add_where(replay, transport=False)
    replay.set_defaults(call=lambda a: commands.replay(a.plan, where=_where(a), store=a.store))

    check = subcommands.add_parser("check", help="judge a stored history again (a run's directory or a history.jsonl)")
    check.add_argument("history", type=Path)
    check.add_argument("--checker", action="append", default=[], help="only this checker; may be repeated")
    check.add_argument("--figures", action="store_true", help="print every figure")
    check.set_defaults(call=lambda a: commands.check(a.history, names=a.checker, all_figures=a.figures))

    sweep = subcommands.add_parser("sweep", help="run many seeds of campaigns, and tell of those not as expected")
    sweep.add_argument("campaigns", type=Path, nargs="*", help="default: all that come with the harness")
    sweep.add_argument("--seeds", type=_seed_range, default=range(20), help="a seed or a range, default 0-19")
    sweep.add_argument("--jobs", type=_positive, default=1, help="processes")
    sweep.add_argument("--until-caught", action="store_true", help="stop a campaign at its first unexpected verdict")
    sweep.add_argument("--store", type=Path, default=None, help="keep the runs that were not as expected")
    _add_where(sweep)
    sweep.add_argument("--json", action="store_true", help="one JSON line a campaign")
    sweep.set_defaults(
        call=lambda a: commands.sweep(
            a.campaigns or sorted(CAMPAIGNS.glob("*.toml")),
            seeds=a.seeds,
            where=_where(a),
            jobs=a.jobs,
            until_caught=a.until_caught,
            store=a.store,
            as_json=a.json,
        )
    )

    mutants = subcommands.add_parser("mutants", help="run every planted bug and tell how it was caught")
    mutants.add_argument("names", nargs="*", help="only these; default: all")
    mutants.add_argument("--bugs", type=Path, default=BUGS, help="directory of planted bugs")
    mutants.add_argument(
        "--backend", choices=("sim", "local", "docker"), default="sim", help="on real nodes: those that show there"
    )
    mutants.add_argument("--seeds", type=_positive, default=None, help="at the most; default 200, on real nodes 3")
    mutants.add_argument(
        "--false-alarm-seeds", type=_positive, default=None, help="of the unchanged mesh; default 20, on real nodes 1"
    )
    mutants.add_argument("--jobs", type=_positive, default=1, help="processes, in the simulator")
    mutants.set_defaults(
        call=lambda a: commands.mutants(
            a.bugs,
            names=a.names,
            jobs=a.jobs,
            backend=a.backend,
            seeds=a.seeds or (200 if a.backend == "sim" else 3),
            false_alarm_seeds=a.false_alarm_seeds or (20 if a.backend == "sim" else 1),
            campaigns=CAMPAIGNS,
        )
    )

    clean = subcommands.add_parser("clean", help="remove what a harness that was killed has left on this machine")
    clean.add_argument(
        "--all", action="store_true", help="also what a harness in another container, machine or boot made: it may run"
    )
    clean.set_defaults(call=lambda a: commands.clean(everything=a.all))

    doctor = subcommands.add_parser("doctor", help="what this machine can run, and how to get what is missing")
    doctor.set_defaults(call=lambda a: commands.doctor())

    bench = subcommands.add_parser("bench", help="measure, each figure beside its peer")
    bench.add_argument("names", nargs="*", help="only these; default: all")
    bench.set_defaults(call=lambda a: commands.bench(a.names))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_BAD_INPUT
    try:
        return int(options.call(options))
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception:
        traceback.print_exc()
        print("a crash of the harness itself, not a verdict: please report it", file=sys.stderr)
        return EXIT_CRASH
