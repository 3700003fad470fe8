"""How many rounds a healthy mesh needs: the synchronous model of epidemic gossip, sampled.

In a round every node chooses `fanout` distinct others uniformly.  By push, whoever knows the news gives it to whom
it chose; by pull, whoever does not gets it from whom it chose; by push-pull, both (Demers et al., "Epidemic
algorithms for replicated database maintenance", PODC 1987).  One correct node knows the news at first; the rounds
are counted until every correct node does.

`loss` is the probability that one message is lost, and a direction succeeds if all of its messages arrive
(`messages_push`, `messages_pull`).  A `silent` share of the nodes neither initiates nor answers: they are chosen,
in vain, and do not count.  The figures that the specification's documents give for "30 % loss and a third silent"
are those of one message to push and two to pull, the request and its answer.

The specification's bound, log2(n) + 3, is two to five times looser than this and would pass a broken sampler; it
is only reported.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODES = ("push", "pull", "push-pull")
ROUNDS_MAX = 10_000
_CELLS_A_BATCH = 2_000_000


def specification_rounds(nodes: int) -> float:
    """The specification's upper bound: log2(n) + 3."""
    return math.log2(nodes) + 3


def default_trials(nodes: int) -> int:
    """As many trials as take less than a second: 20,000 for small meshes, 500 for a thousand nodes."""
    return max(500, min(20_000, 400_000 // nodes))


@lru_cache(maxsize=256)
def rounds_quantile(
    *,
    nodes: int,
    fanout: int,
    loss: float = 0.0,
    silent: float = 0.0,
    mode: str = "push-pull",
    quantile: float = 0.999,
    trials: int | None = None,
    messages_push: int = 1,
    messages_pull: int = 1,
    seed: int = 0,
) -> int:
    """The least r such that at least `quantile` of the trials took at most r rounds.

    A sample knows nothing of a tail thinner than one in `trials`: beyond, this is the most that was ever needed.
    """
    if not 0 <= quantile <= 1:
        raise ValueError("quantile: in 0 .. 1")
    sample = rounds_sample(
        nodes=nodes,
        fanout=fanout,
        loss=loss,
        silent=silent,
        mode=mode,
        trials=default_trials(nodes) if trials is None else trials,
        messages_push=messages_push,
        messages_pull=messages_pull,
        seed=seed,
    )
    return int(np.quantile(sample, quantile, method="inverted_cdf"))


def rounds_sample(
    *,
    nodes: int,
    fanout: int,
    trials: int,
    loss: float = 0.0,
    silent: float = 0.0,
    mode: str = "push-pull",
    messages_push: int = 1,
    messages_pull: int = 1,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Rounds needed in each of `trials` trials.  Raises ValueError for arguments that cannot be."""
    quiet = round(nodes * silent)
    if mode not in MODES:
        raise ValueError(f'mode: unknown "{mode}"; one of {", ".join(MODES)}')
    if nodes < 2 or not 1 <= fanout <= nodes - 1 or trials < 1:
        raise ValueError("nodes: at least 2, fanout: 1 to nodes - 1, trials: at least 1")
    if messages_push < 1 or messages_pull < 1:
        raise ValueError("messages_push and messages_pull: at least 1")
    if not 0 <= loss < 1 or not 0 <= silent < 1 or nodes - quiet < 1:
        raise ValueError("loss and silent: in 0 .. 1, with a correct node left")
    generator = np.random.default_rng(seed)
    batch = max(1, _CELLS_A_BATCH // (nodes * (fanout if _few(nodes, fanout) else nodes)))
    needed = [
        _sample(
            generator,
            nodes=nodes,
            fanout=fanout,
            trials=min(batch, trials - done),
            correct=nodes - quiet,
            push=(1 - loss) ** messages_push if mode != "pull" else 0.0,
            pull=(1 - loss) ** messages_pull if mode != "push" else 0.0,
        )
        for done in range(0, trials, batch)
    ]
    return np.concatenate(needed)


def _sample(
    generator: np.random.Generator, *, nodes: int, fanout: int, trials: int, correct: int, push: float, pull: float
) -> NDArray[np.int64]:
    knows = np.zeros((trials, nodes), dtype=bool)
    knows[:, 0] = True  # nodes 0 .. correct - 1 are the correct ones
    needed = np.zeros(trials, dtype=np.int64)
    running = np.arange(trials)
    for round_number in range(1, ROUNDS_MAX):
        running = running[~knows[running, :correct].all(axis=1)]
        if not running.size:
            return needed
        needed[running] = round_number
        now = knows[running]
        chosen = _choose(generator, trials=running.size, nodes=nodes, fanout=fanout, choosers=correct)
        who = np.arange(running.size)[:, None, None]
        arrives = generator.random(chosen.shape, dtype=np.float32) < push
        answers = generator.random(chosen.shape, dtype=np.float32) < pull
        initiator_knows = now[:, :correct, None]
        target_is_correct = chosen < correct
        after = now.copy()
        trial_at, node_at, slot_at = np.nonzero(arrives & initiator_knows & target_is_correct)
        after[trial_at, chosen[trial_at, node_at, slot_at]] = True
        after[:, :correct] |= (answers & now[who, chosen] & target_is_correct).any(axis=2)
        knows[running] = after
    raise ValueError(f"the model needs more than {ROUNDS_MAX} rounds")


def _few(nodes: int, fanout: int) -> bool:
    return fanout * fanout <= nodes


def _choose(
    generator: np.random.Generator, *, trials: int, nodes: int, fanout: int, choosers: int
) -> NDArray[np.int64]:
    """For each trial and each of the first `choosers` nodes, `fanout` distinct others; every set equally likely.

    A few of many by Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", CACM 1987): the i-th pick is of
    0 .. j, and j itself if that number is taken, which costs fanout^2 comparisons a node.  Otherwise by the order of
    random keys, which costs a key a pair of nodes.
    """
    others = nodes - 1
    if _few(nodes, fanout):
        picks = np.empty((fanout, trials, choosers), dtype=np.int32)
        for i, j in enumerate(range(others - fanout, others)):
            pick = generator.integers(0, j, size=(trials, choosers), endpoint=True, dtype=np.int32)
            picks[i] = np.where((picks[:i] == pick).any(axis=0), j, pick)
        chosen: NDArray[Any] = np.moveaxis(picks, 0, 2)
    else:
        keys = generator.random((trials, choosers, others))
        chosen = np.argpartition(keys, min(fanout, others - 1), axis=2)[:, :, :fanout]
    own = np.arange(choosers)[None, :, None]
    return np.asarray(chosen + (chosen >= own), dtype=np.int64)
