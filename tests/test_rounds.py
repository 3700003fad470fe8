"""The convergence model: against exact values where there are any, and against the specification's own figures."""

from itertools import pairwise
from math import ceil, comb
from typing import Any

import numpy as np
import pytest

from harness import rounds
from harness.rounds import default_trials, rounds_quantile, rounds_sample, specification_rounds

TABLE = {
    # nodes, fanout: mean of push, pull, push-pull, and push-pull with 30 % loss and a third silent; most of the latter
    (10, 5): (2.3, 2.2, 2.0, 2.3, 3),
    (100, 5): (4.2, 4.0, 3.0, 4.5, 6),
    (1000, 1): (18.0, 13.8, 9.2, 20.4, 28),
    (1000, 3): (8.2, 7.0, 5.1, 8.8, 11),
    (1000, 10): (4.2, 4.0, 3.2, 4.7, 5),
}
TRIALS = {(10, 5): 4000, (100, 5): 600, (1000, 1): 80, (1000, 3): 80, (1000, 10): 250}
"""So many that the mean of any seed's sample lies within the tolerance at 99.9 %, not only that of seed 1."""
HARD = {"loss": 0.3, "silent": 1 / 3, "messages_push": 1, "messages_pull": 2}
"""What "30 % loss and a third silent" means in the table: a push is one message, a pull is a request and its answer."""
COLUMNS: list[dict[str, Any]] = [{"mode": "push"}, {"mode": "pull"}, {"mode": "push-pull"}, HARD]
NAMES = ["push", "pull", "push-pull", "30 % loss, a third silent"]


def assert_mean(nodes: int, fanout: int, column: int) -> None:
    expected = TABLE[nodes, fanout][column]
    sample = rounds_sample(nodes=nodes, fanout=fanout, trials=TRIALS[nodes, fanout], seed=1, **COLUMNS[column])
    assert abs(sample.mean() - expected) <= max(0.15, 0.05 * expected)
    if COLUMNS[column] is HARD:
        # The maximum grows with the trials, whose number the table does not tell.
        assert sample.max() <= TABLE[nodes, fanout][4] + 2


@pytest.mark.parametrize("column", range(4), ids=NAMES)
@pytest.mark.parametrize(("nodes", "fanout"), [key for key in TABLE if key != (10, 5)])
def test_means_are_those_of_the_specification_s_documents(nodes: int, fanout: int, column: int) -> None:
    assert_mean(nodes, fanout, column)


@pytest.mark.parametrize("column", range(4), ids=NAMES)
def test_the_row_of_ten_nodes_was_sampled_with_repeats(column: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With five of nine others, a peer chosen twice is a fifth of all choices; from a hundred on it hardly matters."""

    def with_repeats(
        generator: np.random.Generator, *, trials: int, nodes: int, fanout: int, choosers: int
    ) -> np.ndarray[Any, Any]:
        others = generator.integers(0, nodes - 1, size=(trials, choosers, fanout))
        return others + (others >= np.arange(choosers)[None, :, None])

    monkeypatch.setattr(rounds, "_choose", with_repeats)
    assert_mean(10, 5, column)


@pytest.mark.parametrize("wrong", [{"messages_pull": 1}, {"messages_push": 2}, {"silent": 0.0}, {"loss": 0.0}])
def test_the_table_tells_other_readings_of_its_last_column_apart(wrong: dict[str, Any]) -> None:
    sample = rounds_sample(nodes=1000, fanout=1, trials=60, seed=1, **(HARD | wrong))
    assert abs(sample.mean() - 20.4) > 0.05 * 20.4


def test_ten_nodes_that_push_to_five_distinct_others_are_done_in_two_rounds_this_often() -> None:
    """After the first round six know; each of the other four is missed by all six with probability (4/9)^6.

    None is missed, by inclusion and exclusion over sets of j missed ones:
    """
    done = sum((-1) ** j * comb(4, j) * (comb(9 - j, 5) / comb(9, 5)) ** 6 for j in range(5))
    sample = rounds_sample(nodes=10, fanout=5, trials=20_000, mode="push")
    assert sample.min() == 2
    assert abs((sample == 2).mean() - done) < 3.3 * (done * (1 - done) / 20_000) ** 0.5


@pytest.mark.parametrize(("mode", "sent"), [("push", (2, 1)), ("pull", (1, 2)), ("push-pull", (2, 3))])
def test_two_nodes_need_as_many_rounds_as_a_coin_needs_tosses(mode: str, sent: tuple[int, int]) -> None:
    loss, (push, pull) = 0.4, sent
    sample = rounds_sample(
        nodes=2, fanout=1, trials=20_000, loss=loss, mode=mode, messages_push=push, messages_pull=pull
    )
    fails = {"push": 1 - 0.6**push, "pull": 1 - 0.6**pull, "push-pull": (1 - 0.6**push) * (1 - 0.6**pull)}[mode]
    succeeds = 1 - fails
    assert abs(sample.mean() - 1 / succeeds) < 3.3 * (fails**0.5 / succeeds) / 20_000**0.5


@pytest.mark.parametrize(("nodes", "fanout"), [(10, 5), (30, 5), (40, 6), (12, 11), (3, 2), (2, 1)])
def test_choices_are_distinct_never_oneself_and_uniform(nodes: int, fanout: int) -> None:
    """For both ways of choosing: few of many, and many of few."""
    trials, choosers, others = 6000, min(nodes, 4), nodes - 1
    chosen = rounds._choose(np.random.default_rng(3), trials=trials, nodes=nodes, fanout=fanout, choosers=choosers)
    assert chosen.shape == (trials, choosers, fanout)
    for node in range(choosers):
        picked = np.sort(chosen[:, node], axis=1)
        assert (np.diff(picked, axis=1) > 0).all()
        counts = np.bincount(picked.ravel(), minlength=nodes)
        assert (len(counts), counts[node]) == (nodes, 0)
        share = fanout / others
        deviation = ((np.delete(counts, node) - trials * share) ** 2).sum()
        # Counts of draws without replacement: each has the binomial's variance, and together they are constant.
        assert deviation <= chi_squared_999(others - 1) * trials * share * (1 - share) * others / max(1, others - 1)


def chi_squared_999(degrees: int) -> float:
    """Its 99.9 % quantile, by Wilson and Hilferty's approximation."""
    return degrees * (1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)) ** 0.5) ** 3 if degrees else 0.0


def test_who_is_silent_is_asked_in_vain_and_waited_for_by_nobody() -> None:
    assert (rounds_sample(nodes=4, fanout=3, trials=50, silent=0.75) == 0).all(), "one correct node, and it knows"
    assert (rounds_sample(nodes=12, fanout=11, trials=50, silent=0.5, mode="push") == 1).all()
    alone, among = (rounds_sample(nodes=n, fanout=3, trials=2000, silent=s).mean() for n, s in ((20, 0), (40, 0.5)))
    assert among > alone + 0.5, "half of what the others choose is wasted"


@pytest.mark.parametrize("mode", ["push", "pull", "push-pull"])
@pytest.mark.parametrize("worse", ["loss", "silent"])
def test_more_loss_and_more_silence_take_more_rounds(worse: str, mode: str) -> None:
    """By steps that are far wider than the noise of the samples."""
    means = [
        rounds_sample(nodes=40, fanout=2, trials=400, mode=mode, **{worse: share}).mean()
        for share in (0.0, 0.25, 0.5, 0.75)
    ]
    assert all(after > before + 0.2 for before, after in pairwise(means))


def test_the_quantile_is_the_least_number_of_rounds_that_enough_trials_needed() -> None:
    asked = {"nodes": 50, "fanout": 3, "trials": 2000, "loss": 0.2}
    sample = rounds_sample(**asked)
    for quantile in (0.0, 0.5, 0.9, 0.999, 1.0):
        found = rounds_quantile(**asked, quantile=quantile)
        assert (sample <= found).mean() >= quantile
        assert found == sample.min() or (sample <= found - 1).mean() < quantile


def test_the_quantile_of_a_few_trials_is_exact_too() -> None:
    asked = {"nodes": 30, "fanout": 1, "trials": 8, "loss": 0.5, "mode": "push"}
    ordered = sorted(rounds_sample(**asked))
    assert len(set(ordered)) > 3
    for share in (0.5, 0):  # of a trial short of the rank, and exactly at it
        assert [rounds_quantile(**asked, quantile=(rank - share) / 8) for rank in range(1, 9)] == ordered


def test_one_seed_gives_one_sample_and_batches_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"nodes": 30, "fanout": 3, "trials": 3000, "loss": 0.2}
    first = rounds_sample(**asked, seed=4)
    assert (first == rounds_sample(**asked, seed=4)).all()
    assert (first != rounds_sample(**asked, seed=5)).any()
    monkeypatch.setattr(rounds, "_CELLS_A_BATCH", 10_000)
    assert abs(rounds_sample(**asked, seed=4).mean() - first.mean()) < 0.1


def test_the_specification_s_bound_is_far_looser() -> None:
    assert [ceil(specification_rounds(10**power)) for power in range(1, 7)] == [7, 10, 13, 17, 20, 23]
    for nodes, fanout in ((10, 5), (100, 5)):
        assert specification_rounds(nodes) > 2 * rounds_quantile(nodes=nodes, fanout=fanout, trials=500)


def test_by_default_there_are_fewer_trials_the_larger_the_mesh() -> None:
    assert [default_trials(nodes) for nodes in (2, 20, 100, 1000)] == [20_000, 20_000, 4000, 500]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "gossip"}, 'mode: unknown "gossip"; one of push, pull, push-pull'),
        ({"nodes": 1}, "nodes: at least 2"),
        ({"fanout": 0}, "fanout: 1 to nodes - 1"),
        ({"fanout": 10}, "fanout: 1 to nodes - 1"),
        ({"trials": 0}, "trials: at least 1"),
        ({"loss": 1.0}, "loss and silent: in 0 .. 1"),
        ({"loss": float("nan")}, "loss and silent: in 0 .. 1"),
        ({"silent": -0.1}, "loss and silent: in 0 .. 1"),
        ({"silent": 0.99}, "with a correct node left"),
        ({"messages_pull": 0}, "messages_push and messages_pull: at least 1"),
        ({"quantile": 1.1}, "quantile: in 0 .. 1"),
    ],
)
def test_arguments_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        rounds_quantile(**({"nodes": 10, "fanout": 3, "trials": 10} | wrong))
    assert message in str(caught.value)
