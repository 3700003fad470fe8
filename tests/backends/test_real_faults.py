"""Faults on real nodes, on hosts that only write down what is asked of them."""

import asyncio
import time
from pathlib import Path

import pytest

from faults.vocabulary import At, Byzantine, Kill, Pause, PlannedFault, Skew
from harness.errors import HostError
from harness.real.control import NoAnswer
from harness.real.faults import RealFaults

EVIDENCE = {"bites": 1, "bit": 1, "of": 1, "disk": "wipe", "nodes": "1"}


class Hosts:
    """Nodes that are up, paused or dead; `log` has every order, in order."""

    name = "fake"

    def __init__(self) -> None:
        self.log: list[str] = []
        self.state: dict[int, str] = {}
        self.crashed: set[int] = set()
        self.broken: set[str] = set()
        self.lives: dict[int, int] = {}
        self.emptied: set[int] = set()
        self.pause_fails: set[int] = set()
        self.crashes_at_restart: set[int] = set()
        self.kills_nothing = self.wipes_nothing = False

    async def _do(self, what: str, node: int, state: str) -> None:
        await asyncio.sleep(0)
        if what in self.broken or (what == "pause" and node in self.pause_fails):
            raise HostError(f"{what} does not work")
        self.log.append(f"{what} {node}")
        self.state[node] = state

    async def kill(self, node: int, *, wipe: bool) -> None:
        if self.kills_nothing:
            return
        await self._do("wipe" if wipe else "kill", node, "dead")
        if wipe and not self.wipes_nothing:
            self.emptied.add(node)

    async def restart(self, node: int) -> None:
        if node in self.crashes_at_restart:
            self.crashed.add(node)
            raise HostError("ended while starting")
        await self._do("restart", node, "up")
        self.emptied.discard(node)
        self.lives[node] = self.lives.get(node, 0) + (not self.kills_nothing)

    def life(self, node: int) -> str:
        return f"{node}:{self.lives.get(node, 0)}"

    def is_empty(self, node: int) -> bool:
        return node in self.emptied

    async def pause(self, node: int) -> None:
        await self._do("pause", node, "paused")

    async def resume(self, node: int) -> None:
        await self._do("resume", node, "up")

    def paused(self, node: int) -> bool:
        return self.state.get(node) == "paused"

    def ended(self, node: int) -> str | None:
        return "exit 1" if node in self.crashed else None

    def agents(self) -> list[str]:
        return []

    async def stop(self, artifacts: Path | None) -> None:
        return


class Run:
    """A fault list to play: what was done, and what each fault was told to have come to."""

    def __init__(self) -> None:
        self.hosts = Hosts()
        self.clocks: dict[int, int] = {}
        self.deaf: set[int] = set()
        self.restless: set[int] = set()
        self.told: list[tuple[str, dict, str | None]] = []
        self.broke: list[str] = []
        self.stuck_clocks = False
        self.slow_s = (0.0, 0.0)  # before the clock is read, and after
        self.lying: dict[tuple[str, int], int] = {}  # how often it will have lied
        self.faults = RealFaults(
            self.hosts,
            transport="quic",
            ask=self.ask,
            set_clock=self.set_clock,
            lie=self.lie,
            before_kill=self.before_kill,
            broke=self.broke.append,
        )

    async def ask(self, node: int, path: str, timeout_s: float):
        if self.hosts.state.get(node, "up") != "up" and node not in self.restless:
            raise NoAnswer("stands still")
        before_s, after_s = self.slow_s
        await asyncio.sleep(before_s)
        told = {"wall": time.time_ns() + self.clocks.get(node, 0)}
        await asyncio.sleep(after_s)
        return told

    async def set_clock(self, node: int, offset: int) -> None:
        if node in self.deaf:
            raise NoAnswer("deaf")
        if not self.stuck_clocks:
            self.clocks[node] = offset

    async def lie(self, node: int, fault: str, strategy: str | None) -> int:
        if node in self.deaf:
            raise NoAnswer("deaf")
        if strategy is None:
            return self.lying.pop((fault, node))
        self.lying[fault, node] = 5
        return 0

    async def before_kill(self, node: int) -> None:
        self.hosts.log.append(f"last words {node}")

    def inject(self, id: str, fault) -> None:
        planned = PlannedFault(id=id, fault=fault, start=At(0))
        self.faults.inject(planned, lambda evidence, problem: self.told.append((f"+{id}", evidence, problem)))

    def lift(self, id: str, fault) -> None:
        planned = PlannedFault(id=id, fault=fault, start=At(0))
        self.faults.lift(planned, lambda evidence, problem: self.told.append((f"-{id}", evidence, problem)))


def play(script) -> Run:
    async def run() -> Run:
        made = Run()
        for step in script(made):
            await made.faults.settled()
            if step:
                await asyncio.sleep(step)
        await made.faults.settled()
        await made.faults.close()
        return made

    return asyncio.run(run())


def test_a_kill_is_told_after_the_node_s_last_words_and_undone_by_a_restart() -> None:
    def script(run):
        run.inject("k", Kill(nodes=(1,), disk="wipe"))
        yield
        run.lift("k", Kill(nodes=(1,), disk="wipe"))
        yield

    run = play(script)
    assert run.hosts.log == ["last words 1", "wipe 1", "restart 1"]
    assert run.told == [
        ("+k", {"killed": 1}, None),
        ("-k", {"bites": 1, "bit": 1, "of": 1, "disk": "wipe", "nodes": "1"}, None),
    ]


@pytest.mark.parametrize("flaw", ["kills_nothing", "wipes_nothing"])
def test_a_kill_that_was_not_seen_to_take_a_life_or_a_disk_did_not_bite(flaw: str) -> None:
    def script(run):
        setattr(run.hosts, flaw, True)
        run.inject("k", Kill(nodes=(1,), disk="wipe"))
        yield
        run.lift("k", Kill(nodes=(1,), disk="wipe"))
        yield

    evidence = play(script).told[1][1]
    assert (evidence["bites"], evidence["bit"], evidence["of"]) == (0, 0, 1)
    assert evidence["nodes"] == "1", "who was to be wiped may have been, and nobody may be blamed for it"


def test_what_fails_in_part_is_undone_in_full() -> None:
    def script(run):
        run.hosts.pause_fails = {1}
        run.inject("p", Pause(nodes=(0, 1)))
        yield

    run = play(script)
    assert run.hosts.state[0] == "up" and run.hosts.log.count("resume 0") == 1
    assert run.told[0][2] and not run.broke


def test_what_cannot_be_undone_ends_the_run() -> None:
    def script(run):
        run.inject("p", Pause(nodes=(0,)))
        yield
        run.hosts.broken = {"resume"}
        run.lift("p", Pause(nodes=(0,)))
        yield

    run = play(script)
    assert len(run.broke) == 1 and "could not be lifted" in run.broke[0]


def test_a_clock_that_went_with_its_node_needs_no_undoing() -> None:
    skew = Skew(nodes=(0, 1), offset_ms=900.0)

    def script(run):
        run.inject("s", skew)
        yield
        run.deaf, run.hosts.crashed = {0}, {0}
        run.lift("s", skew)
        yield

    run = play(script)
    assert not run.broke and run.told[1][2] is None and run.clocks[1] == 0
    assert (run.told[1][1]["bit"], run.told[1][1]["of"]) == (2, 2)


@pytest.mark.parametrize("ended", [True, False])
def test_a_liar_that_ended_by_itself_cannot_be_told_to_stop(ended: bool) -> None:
    lies = Byzantine(nodes=(0, 1), strategy="silent")

    def script(run):
        run.inject("b", lies)
        yield
        run.deaf, run.hosts.crashed = {0}, {0} if ended else set()
        run.lift("b", lies)
        yield

    run = play(script)
    if ended:
        assert not run.broke and run.told[1] == ("-b", {"bites": 5, "node0": 0, "node1": 5}, None)
    else:
        assert len(run.broke) == 1 and "could not be lifted" in run.broke[0], "it may be lying still"


def test_a_node_that_ends_while_it_is_restarted_is_not_the_harness_s_failure() -> None:
    def script(run):
        run.inject("k", Kill(nodes=(0,)))
        yield
        run.hosts.crashes_at_restart = {0}
        run.lift("k", Kill(nodes=(0,)))
        yield

    run = play(script)
    assert not run.broke and run.told[1][2] is None and run.told[1][1]["bit"] == 1
    assert not run.faults.dead(0), "it is not the fault that keeps it down"


def test_a_strobe_that_no_clock_shows_did_not_bite() -> None:
    strobe = Skew(nodes=(0,), mode="strobe", offset_ms=900.0, period_ms=5.0)

    def script(run):
        run.stuck_clocks = True
        run.inject("s", strobe)
        yield 0.1
        run.lift("s", strobe)
        yield

    (evidence,) = [evidence for name, evidence, _ in play(script).told if name == "-s"]
    assert evidence["bites"] == evidence["bit"] == 0 and evidence["of"] == 1


def test_a_node_stays_paused_while_any_fault_holds_it() -> None:
    def script(run):
        run.inject("a", Pause(nodes=(0, 1)))
        run.inject("b", Pause(nodes=(1,)))
        yield
        run.lift("a", Pause(nodes=(0, 1)))
        yield
        assert run.hosts.state == {0: "up", 1: "paused"}
        run.lift("b", Pause(nodes=(1,)))
        yield

    run = play(script)
    assert run.hosts.state == {0: "up", 1: "up"}
    assert run.hosts.log.count("pause 1") == 1 and run.hosts.log.count("resume 1") == 1


def test_a_node_killed_while_paused_comes_back_when_both_are_over() -> None:
    def script(run):
        run.inject("p", Pause(nodes=(0,)))
        yield
        run.inject("k", Kill(nodes=(0,)))
        yield
        run.lift("k", Kill(nodes=(0,)))
        yield
        assert run.hosts.state == {0: "dead"}
        run.lift("p", Pause(nodes=(0,)))
        yield

    run = play(script)
    assert run.hosts.log == ["pause 0", "last words 0", "kill 0", "restart 0"]


def test_a_lift_waits_for_what_is_still_being_put_in_force() -> None:
    def script(run):
        run.inject("p", Pause(nodes=(0,)))
        run.lift("p", Pause(nodes=(0,)))
        yield

    run = play(script)
    assert run.hosts.log == ["pause 0", "resume 0"]
    assert [name for name, _, _ in run.told] == ["+p", "-p"]


def test_what_could_not_be_done_is_said_and_never_counts() -> None:
    def script(run):
        run.hosts.broken = {"pause"}
        run.inject("p", Pause(nodes=(0,)))
        yield
        run.lift("p", Pause(nodes=(0,)))
        yield

    run = play(script)
    assert run.told[0] == ("+p", {}, "pause does not work")
    assert run.told[1][1] == {} and "never in force" in str(run.told[1][2])


def test_a_pause_that_did_not_last_did_not_bite() -> None:
    def script(run):
        run.inject("p", Pause(nodes=(0, 1)))
        yield
        run.hosts.state[1] = "up"  # somebody else resumed it
        run.lift("p", Pause(nodes=(0, 1)))
        yield

    assert play(script).told[1][1]["bites"] == 1


def test_a_node_that_answers_while_it_is_paused_is_not() -> None:
    def script(run):
        run.inject("p", Pause(nodes=(0, 1)))
        yield
        run.restless = {1}
        run.lift("p", Pause(nodes=(0, 1)))
        yield

    assert play(script).told[1][1]["bites"] == 1


def test_a_node_that_ended_by_itself_stays_down() -> None:
    def script(run):
        run.inject("k", Kill(nodes=(0,)))
        yield
        run.hosts.crashed = {0}
        run.lift("k", Kill(nodes=(0,)))
        yield

    assert "restart 0" not in play(script).hosts.log


def test_skews_add_up_survive_a_restart_and_a_step_stays() -> None:
    offset, step = Skew(nodes=(0,), offset_ms=500.0), Skew(nodes=(0,), mode="step", offset_ms=-2000.0)

    def script(run):
        run.inject("o", offset)
        run.inject("s", step)
        yield
        assert run.clocks == {0: -1_500_000_000}
        run.inject("k", Kill(nodes=(0,)))
        yield
        run.clocks.clear()  # the process is gone, and what it was told with it
        run.lift("k", Kill(nodes=(0,)))
        yield
        assert run.clocks == {0: -1_500_000_000}
        run.lift("o", offset)
        run.lift("s", step)
        yield

    run = play(script)
    assert run.clocks == {0: -2_000_000_000}
    assert {name: evidence["bites"] for name, evidence, _ in run.told if name in ("-o", "-s")} == {"-o": 1, "-s": 1}


def test_a_strobe_flips_until_it_is_lifted_and_leaves_the_clock_right() -> None:
    strobe = Skew(nodes=(0,), mode="strobe", offset_ms=900.0, period_ms=5.0)

    def script(run):
        run.inject("s", strobe)
        yield 2
        run.lift("s", strobe)
        yield 0.05
        assert run.clocks == {0: 0}

    (evidence,) = [evidence for name, evidence, _ in play(script).told if name == "-s"]
    assert evidence["bites"] >= 5


@pytest.mark.parametrize("slow_s", [(0.0, 0.0), (0.2, 0.0), (0.0, 0.2)])
def test_a_clock_that_nobody_set_did_not_bite(slow_s: tuple[float, float]) -> None:
    def script(run):
        run.inject("o", Skew(nodes=(0,), offset_ms=500.0))
        yield
        run.clocks[0], run.slow_s = 0, slow_s
        run.lift("o", Skew(nodes=(0,), offset_ms=500.0))
        yield

    assert play(script).told[1][1]["bites"] == 0


@pytest.mark.parametrize(
    ("offset_ms", "slow_s", "bites"),
    [(500.0, (0.2, 0.2), 1), (-500.0, (0.2, 0.2), 1), (100.0, (0.0, 0.4), 0)],
    ids=["ahead", "behind", "by less than the answer took"],
)
def test_a_clock_that_was_read_late_shows_all_the_same_that_it_is_off(
    offset_ms: float, slow_s: tuple[float, float], bites: int
) -> None:
    """Who waits for a processor answers late; what could be the time of the answer is no skew."""
    offset = Skew(nodes=(0,), offset_ms=offset_ms)

    def script(run):
        run.inject("o", offset)
        yield
        run.slow_s = slow_s
        run.lift("o", offset)
        yield

    assert play(script).told[1][1]["bites"] == bites


@pytest.mark.parametrize("problem", ["inject", "lift"])
def test_a_clock_that_cannot_be_set_is_said(problem: str) -> None:
    def script(run):
        run.deaf = {0} if problem == "inject" else set()
        run.inject("o", Skew(nodes=(0,), offset_ms=500.0))
        yield
        run.deaf = {0}
        run.lift("o", Skew(nodes=(0,), offset_ms=500.0))
        yield

    told = play(script).told
    assert told[0 if problem == "inject" else 1][2]
