"""Plausible wrong answers to every exercise of the course, and a piece of the sentence that each must get."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from cbviz.course.exercise import exercises
from cbviz.policies import Admit, Continuous, OneAtATime, Plan, Static, View, VllmV1


def solved(name: str) -> Any:
    """The answer of an exercise's own solution."""
    space: dict[str, Any] = {}
    exec(exercises()[name].solution, space)
    return space["answer"]


def _no_end(next_token: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    known = list(prompt)
    for _ in range(limit):
        known.append(next_token(known))
    return known[len(prompt) :]


def _no_limit(next_token: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    known = list(prompt)
    while known[-1] != end:
        known.append(next_token(known))
    return known[len(prompt) :]


def _newest_only(next_token: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    answer, new = [], list(prompt)
    while len(answer) < limit and (not answer or answer[-1] != end):
        new = [next_token(new)]
        answer += new
    return answer


def _whole(next_token: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    return [*prompt, *_right(next_token, prompt, limit, end)]


def _right(next_token: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    known = list(prompt)
    while len(known) < len(prompt) + limit:
        known.append(next_token(known))
        if known[-1] == end:
            break
    return known[len(prompt) :]


def _without_end(next_token: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    return [token for token in _right(next_token, prompt, limit, end) if token != end]


def _one_short(next_token: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    return _right(next_token, prompt, limit - 1, end)


def _no_return(next_token: Any, prompt: list[int], limit: int, end: int) -> None:
    _right(next_token, prompt, limit, end)


def _raises(next_token: Any, prompt: list[int], limit: int, end: int) -> list[int]:
    return prompt.tokens  # type: ignore[attr-defined]


class Learner:
    """A policy as a learner may write it; `plan` is given."""

    name = "mine"
    summary = "a try"

    def __init__(self, plan: Callable[[View], Any]) -> None:
        self.plan = plan


class Nameless:
    def plan(self, view: View) -> Plan:
        return Plan()


def _longest_first(view: View) -> Plan:
    fitting = []
    blocks = view.free_blocks
    for request in sorted(view.waiting, key=lambda request: -request.max_new_tokens)[: view.free_slots]:
        blocks -= view.blocks_for(request.most)
        if blocks < 0:
            break
        fitting.append(request.id)
    return Plan(admit=fitting)


def _grows_without_looking(view: View) -> Plan:
    admit, blocks = [], view.free_blocks
    for request in view.waiting[: view.free_slots]:
        blocks -= view.blocks_for(request.known)
        if blocks < 0:
            break
        admit.append(Admit(request.id, reserve=request.known))
    return Plan(admit=admit)


def _seven(view: View) -> Plan:
    return Plan(admit=view.fitting()[: max(0, 7 - len(view.running))])


ILLEGAL: list[tuple[Any, str]] = [
    (Nameless(), "Hand over an object with a name"),
    (Continuous, "Hand over an object with a name"),
    (Learner(lambda view: None), "plan() must return a Plan, not NoneType"),
    (Learner(lambda view: Plan(admit=view.waiting)), "only 8 slots are free"),
    (Learner(lambda view: Plan(admit=view.waiting[: view.free_slots])), "does not fit"),
    (Learner(lambda view: Plan()), "is stuck"),
    (Learner(lambda view: Plan(admit=[0, 0])), "admitted twice"),
    (Learner(lambda view: Plan(admit=[99])), "does not wait"),
    (Learner(lambda view: view.missing), "raised AttributeError"),
    (Learner(_grows_without_looking), "preempt or pause"),
]


def _batches(lengths: list[int], slots: int) -> list[list[int]]:
    return [lengths[i : i + slots] for i in range(0, len(lengths), slots)]


def _found(cached: list[list[int]], prompt: list[int], block: int) -> int:
    return max((_begin_alike(one, prompt) // block * block for one in cached), default=0)


def _begin_alike(one: list[int], other: list[int]) -> int:
    differ = [a != b for a, b in zip(one, other, strict=False)]
    return differ.index(True) if True in differ else len(differ)


def _found_anywhere(cached: list[list[int]], prompt: list[int], block: int) -> int:
    starts = range(0, len(prompt) - block, block)
    return max((sum(block for i in starts if c[i : i + block] == prompt[i : i + block]) for c in cached), default=0)


def _found_in_part(cached: list[list[int]], prompt: list[int], block: int) -> int:
    return max((_begin_alike(one, prompt[:-1]) for one in cached), default=0)


def _found_whole_prompt(cached: list[list[int]], prompt: list[int], block: int) -> int:
    return _found(cached, prompt, block)


def _found_a_block_less(cached: list[list[int]], prompt: list[int], block: int) -> int:
    alike = [_begin_alike(one, prompt) for one in cached]
    return max([n // block * block - (block if n == len(prompt) else 0) for n in alike] + [0])


WRONG: dict[str, list[tuple[Any, str]]] = {
    "00.groups": [
        (("static", "continuous"), "the wrong way round"),
        (("static", "static"), "the group of one is not"),
        (("continuous", "continuous"), "the group of eight is not"),
        (("orca", "static"), "'orca' is neither"),
        ("continuous", "two names"),
        (("continuous", "static", "static"), "two names"),
    ],
    "00.win": [
        ("A", "the race that you just saw"),
        ("B", "28 requests wait"),
        ("c", "even more who wait"),
        ("E", "one of A, B, C, D"),
        (32, "this is 32"),
    ],
    "01.spell": [
        (10, "the hyphens too"),
        (11, "right for the answer Sacramento"),
        (19, "it is over"),
        (21, "also gives the first token"),
        (36, "count the prompt"),
        (5, "too few"),
        (100, "too many"),
        ("twenty", "a whole number"),
        (19.5, "a whole number"),
    ],
    "01.fed": [
        (lambda p, n: p + n, "one too many"),
        (lambda p, n: n, "the answer alone"),
        (lambda p, n: p, "the prompt alone"),
        (lambda p, n: n * p + n * (n - 1) // 2, "without a cache"),
        (lambda p, n: p * n, "once, not in every pass"),
        (lambda p, n: p + n + 5, "make 45"),
        (lambda p, n: None, "no whole number"),
        (lambda p: p, "stops with TypeError"),
        (45, "a function"),
    ],
    "01.loop": [
        (_no_end, "goes on after END"),
        (_no_limit, "the limit is 3"),
        (_newest_only, "got 1 token, where"),
        (_whole, "returns the prompt as well"),
        (_without_end, "leaves END out"),
        (_one_short, "where the limit of 3 allows 3"),
        (_no_return, "returns nothing"),
        (_raises, "stops with AttributeError"),
        ("write", "a function"),
        (lambda *a: 7, "a list of tokens"),
        (lambda *a: [1, 2], "returns [1, 2]"),
    ],
    "02.floor": [
        (0.0167, "in seconds"),
        (59.8, "tokens a second"),
        (8.36, "one byte"),
        (33.4, "four bytes"),
        (16720, "a thousand times"),
        (1.5, "is not the time"),
        ("17 ms", "a number, such as"),
    ],
    "02.reads": [
        (5000, "to all ten requests"),
        (100, "once a request"),
        (1, "a place to keep them"),
        (50, "only ten run at once"),
        (10, "a batch makes fifty"),
        (7, "is not the number"),
        ("often", "a whole number"),
    ],
    "02.knee": [
        (401, "an addition"),
        (100, "one byte a weight"),
        (0.00498, "upside down"),
        (32, "At 32 rows"),
        ("200", "a number, such as"),
    ],
    "03.fits": [
        (44, "forgets the weights"),
        (15, "rounds up"),
        (61035, "a number of tokens"),
        (29, "halve the 128 KiB"),
        (7, "too few"),
        (20, "too many"),
        (14.9, "a whole number"),
    ],
    "03.kv": [
        (lambda a, b, c, d: a * b * c * d, "there are keys and values"),
        (lambda a, b, c, d: 2 * b * c * d, "that is one layer"),
        (lambda a, b, c, d: 2 * a * c * d, "a single head; there are 6"),
        (lambda a, b, c, d: 2 * a * b * c, "each of them takes 8 bytes"),
        (lambda a, b, c, d: 4 * a * b * c, "assumes two bytes"),
        (lambda a, b, c, d: a + b + c + d, "the engine's cache takes"),
        (lambda a, b, c, d: "many", "no number"),
        (lambda a, b: a, "stops with TypeError"),
        (819_200, "a function"),
    ],
    "03.int8": [
        ("A", "not weights"),
        ("C", "13 GB"),
        ("D", "the model's positions"),
        ("E", "one of A, B, C, D"),
        (8, "this is 8"),
    ],
    "06.ratio": [
        (12, "seven of them are there already"),
        (3, "one to one"),
        (0, "0.7 or less"),
        (6, "as many as that is enough"),
        (15, "Decodes are no requests"),
        (2, "by those who run"),
        (70, "not what the rule says"),
    ],
    "06.passes": [
        (lambda prompt, budget, decoding: -(-prompt // budget), "no room for those who decode"),
        (lambda prompt, budget, decoding: prompt // (budget - decoding), "rounds down"),
        (lambda prompt, budget, decoding: prompt // (budget - decoding) + 1, "comes out even"),
        (lambda prompt, budget, decoding: -(-(prompt + decoding) // budget), "not once in all"),
        (lambda prompt, budget, decoding: prompt / (budget - decoding), "no whole number"),
        (lambda prompt, budget, decoding: prompt, "and the engine takes 15"),
        (6, "hand over its name"),
    ],
    "06.cure": [
        ("A", "rarer and longer"),
        ("B", "still stops all the others"),
        ("C", "not what is lacking"),
        ("E", "this is 'E'"),
        (4, "this is 4"),
    ],
    "07.blocks": [
        (6, "a position for END"),
        (2, "the answer only"),
        (4, "the prompt only"),
        (80, "a number of positions"),
        (9, "are not what it takes"),
        (5.06, "a whole number"),
    ],
    "07.waste": [
        (lambda positions, size: positions % size, "not what it lacks"),
        (lambda positions, size: size - positions % size, "nothing is wasted"),
        (lambda positions, size: -(-positions // size), "the number of blocks"),
        (lambda positions, size: positions // size * size - positions, "rounded down"),
        (lambda positions, size: size - 1, "11 places stay empty"),
        (lambda positions, size: 0.5, "no whole number"),
        (lambda positions: 0, "stops with TypeError"),
        (11, "a function"),
    ],
    "07.scheme": [
        ("A", "the other end"),
        ("B", "what engines use"),
        ("D", "last row of the table"),
        ("E", "one of A, B, C, D"),
        (384, "this is 384"),
    ],
    "08.again": [
        (20, "the prompt alone"),
        (30, "its prompt are gone as well"),
        (49, "never fed"),
        (51, "in the pass after"),
        (1, "after swapping"),
        (60, "not what the pass takes in"),
    ],
    "08.found": [
        (_found_anywhere, "different beginnings"),
        (_found_in_part, "only whole blocks"),
        (_found_whole_prompt, "nothing to draw the answer from"),
        (lambda cached, prompt, block: _found(cached, prompt[:-1], block) // block, "counts blocks"),
        (lambda cached, prompt, block: _found(cached[:1], prompt[:-1], block), "a later prompt"),
        (lambda cached, prompt, block: _found(cached[-1:], prompt[:-1], block), "an earlier prompt"),
        (_found_a_block_less, "every whole block before it"),
        (lambda cached, prompt, block: 99, "the engine finds 4"),
        (lambda cached, prompt, block: None, "no whole number"),
    ],
    "09.rest": [
        (20, "Factors multiply"),
        (96, "multiplies the whole"),
        (4, "what padding is worth"),
        (24, "padding included"),
        (1 / 6, "upside down"),
        (5, "times 4 is not 24"),
    ],
    "09.factors": [
        (lambda rates: [1.0, *(b / a for a, b in itertools.pairwise(rates))], "has no factor"),
        (lambda rates: [b / rates[0] for b in rates[1:]], "divided by the first rate"),
        (lambda rates: [b - a for a, b in itertools.pairwise(rates)], "those are differences"),
        (lambda rates: [a / b for a, b in itertools.pairwise(rates)], "upside down"),
        (lambda rates: [round(b / a, 2) for a, b in itertools.pairwise(rates)], "right but rounded"),
        (lambda rates: [float(f"{b / a:.3g}") for a, b in itertools.pairwise(rates)], "right but rounded"),
        (lambda rates: [0 * b for b in rates[1:]], "and it is"),
        (lambda rates: [2.0] * (len(rates) - 1), "and it is"),
        (lambda rates: rates[-1] / rates[0], "no list of numbers"),
        (4, "hand over its name"),
    ],
    "09.credit": [
        ("A", "add to a paged engine"),
        ("B", "add under static batching"),
        ("C", "no engine at all"),
        ("E", "this is 'E'"),
        (4.3, "this is 4.3"),
    ],
    "10.little": [
        (100, "one divided by the other"),
        (0.0625, "seconds between arrivals"),
        (40, "how many are in the system"),
        (2.5, "how long one stays"),
        (37.5, "The law is a product"),
        (17, "not what Little's law says"),
    ],
    "10.price": [
        (lambda dollars, rate, tokens: dollars / (rate * tokens) * 1e6, "for an hour, and the rate for a second"),
        (lambda dollars, rate, tokens: dollars / (rate * 3600) * 1e6, "a million requests"),
        (lambda dollars, rate, tokens: dollars / (rate * tokens * 3600), "that is for one token"),
        (lambda dollars, rate, tokens: dollars / (rate * tokens * 60) * 1e6, "not 60"),
        (lambda dollars, rate, tokens: rate * tokens * 3600 / 1e6 / dollars, "upside down"),
        (lambda dollars, rate, tokens: round(dollars / (rate * tokens * 3600) * 1e6, 4), "right but rounded"),
        (lambda dollars, rate, tokens: dollars, "and it is"),
        (lambda dollars, rate, tokens: "cheap", "which is no number"),
        (7, "hand over its name"),
    ],
    "10.loop": [
        ("A", "keep coming"),
        ("B", "it has none"),
        ("D", "only so many slots"),
        ("E", "this is 'E'"),
        (40, "this is 40"),
    ],
    "12.lift": [
        ("A", "idle time be saved up"),
        ("B", "first come, first served"),
        ("D", "without the lift"),
        ("E", "this is 'E'"),
        (40, "this is 40"),
    ],
    "12.bytes": [
        (32, "the keys alone"),
        (0.125, "one token"),
        (67.108864, "megabytes"),
        (256, "32 KV heads"),
        (2, "one layer"),
        (65, "is not it"),
    ],
    "12.drafts": [
        (4.2, "after a wrong one"),
        (3.2, "after a wrong one"),
        (2.36, "the token that comes after"),
        (5, "if every draft is right"),
        (1.41, "all or nothing"),
        (3, "is not it"),
    ],
    "11.single": [
        (Continuous(), "one iteration admits"),
        (Static(), "one iteration admits"),
        (OneAtATime(), "also while others run"),
        *ILLEGAL,
    ],
    "11.sooner": [
        (Continuous(), "exactly as under plain continuous batching"),
        (Static(), "Legal, but slower"),
        (OneAtATime(), "Legal, but slower"),
        (Learner(_longest_first), "Legal, but slower"),
        (VllmV1(), "at most 50 are asked for"),
        *ILLEGAL,
    ],
    "11.fewer": [
        (Continuous(), "exactly as many"),
        (Static(), "where plain continuous batching takes"),
        (OneAtATime(), "where plain continuous batching takes"),
        (Learner(_seven), "a game"),
        (VllmV1(), "at most 154 are asked for"),
        *ILLEGAL,
    ],
    "04.share": [
        (50, "looks like percent"),
        (2, "not the other way round"),
        (180 / 50, "more than the whole"),
        (1.5, "something other than the 180"),
        (90, "a number of slot-iterations"),
        (50 / 180, "the shortest request only"),
        (2 / 3, "counts requests"),
        (1.0, "something other than the 180"),
        (0.25, "is not the share"),
        ("half", "a number, such as"),
    ],
    "04.count": [
        (lambda lengths, slots: sum(lengths), "one request at a time"),
        (lambda lengths, slots: -(-sum(lengths) // slots), "never wasted"),
        (lambda lengths, slots: max(lengths), "more than one batch"),
        (lambda lengths, slots: max(lengths) * len(_batches(lengths, slots)), "not to its own"),
        (lambda lengths, slots: sum(map(max, _batches(sorted(lengths), slots))), "their lengths are not known"),
        (lambda lengths, slots: sum(max(b) for b in _batches(lengths, slots) if len(b) == slots), "not full"),
        (lambda lengths, slots: sum(map(max, _batches(lengths, slots))) + 1, "the engine takes 75"),
        (lambda lengths, slots: None, "no whole number"),
        (lambda lengths: 9, "stops with TypeError"),
        (9, "a function"),
    ],
    "05.hand": [
        (12, "static batching"),
        (15, "one request after the other"),
        (7, "cannot be cut in two"),
        (9, "lets a freed slot stand empty"),
        (5, "is not what the engine takes"),
        (7.5, "a whole number"),
        ("eight", "a whole number"),
    ],
    "05.count": [
        (lambda lengths, slots: sum(map(max, _batches(lengths, slots))), "which is static batching"),
        (lambda lengths, slots: sum(lengths), "one slot only"),
        (lambda lengths, slots: -(-sum(lengths) // slots), "a lower bound"),
        (lambda lengths, slots: max(sum(lengths[i::slots]) for i in range(slots)), "deals requests out in turn"),
        (lambda lengths, slots: 99, "the engine takes"),
        (lambda lengths, slots: 7.5, "no whole number"),
        (lambda lengths, slots: lengths[99], "stops with IndexError"),
        (22, "a function"),
    ],
    "05.when": [
        ("A", "all answers end together"),
        ("b", "no request waits"),
        ("D", "a batch is one request"),
        ("E", "one of A, B, C, D"),
        (3, "this is 3"),
        (["C"], "this is ['C']"),
    ],
    "04.worst": [
        ([100, 100, 100, 100], "waste nothing at all"),
        ([1, 100, 100, 1], "more than one request"),
        ([1, 1, 1, 99], "longer still"),
        ([1, 2, 1, 100], "shorter still"),
        ([1, 1, 1, 1000], "outside 1 to 100"),
        ([1, 100], "four lengths"),
        (100, "four lengths"),
    ],
    "13.budget": [
        (3000, "the whole prompt"),
        (2048, "need a token each"),
        (56, "not a token"),
        (8192, "over its whole life"),
        (1152, "left of the prompt"),
        (0, "needs not wait"),
        (2800, "taken from the budget"),
        (7, "not what the budget leaves"),
    ],
    "13.mask": [
        (lambda i, j, owner, position: j <= i, "of different requests"),
        (lambda i, j, owner, position: owner[i] == owner[j], "must not look ahead"),
        (lambda i, j, owner, position: owner[i] == owner[j] and position[j] < position[i], "looks at itself"),
        (lambda i, j, owner, position: i == j, "must be visible"),
        (lambda i, j, owner, position: "yes", "neither True nor False"),
        (True, "hand over its name"),
    ],
    "13.wait": [
        ("A", "free already"),
        ("B", "64 tokens of 2,048"),
        ("D", "not what is short"),
        ("E", "this is 'E'"),
        (64, "this is 64"),
    ],
}
