"""Tasks with answers that are easy to check, for the built-in model `tiny`.

The prompt alone decides how long the answer is, from nothing at all ("Repeat ab 0 times") to almost three hundred
characters ("Count to 100"). `tiny` writes one character per token and then END, so an answer of n characters takes
n + 1 iterations: "The capital of California?" takes eleven, for the ten letters of Sacramento and END.
"""

from __future__ import annotations

import math
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase

from cbviz.checks import as_float, shown
from cbviz.errors import WorkloadError
from cbviz.messages import Message
from cbviz.workload.capitals import COUNTRIES, STATES
from cbviz.workload.checks import amount, encoder, token_ids, whole
from cbviz.workload.request import Request, Workload

ANSWER_ROOM = 320
"""The most tokens of any answer, END included: what a client that cannot know the length asks for."""

MOST_COUNTED = 100
MOST_REPEATS = 20
HELD_OUT_SHARE = 10
"""One prompt in ten is held out from training, except for the kinds in `LEARNED_WHOLE`."""

LEARNED_WHOLE = frozenset({"capital", "count by", "days", "months"})
"""Facts, and kinds with few prompts: `tiny` learns them by heart, and none of their prompts is held out."""

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WORDS = """
apple arrow autumn bakery ball banana bank basket batch bean bear bell berry bicycle bird blanket boat book bottle
bread bridge bucket butter button cabin camel candle carpet castle cat cave cellar chair cherry circle city cloud
clover coat coffee copper corner cotton cousin cow cradle crane cup curtain daisy dance desert desk diamond dog door
dragon drum duck eagle earth engine evening falcon farm father feather fiddle field finger fire fish flower flute
forest fox friend frog garden gate giraffe glass glove goat gold grape grass guitar hammer harbor hat hazel heart
hill honey horse house ice island ivory jacket jar jewel journey jungle kettle key king kitchen kite ladder lake
lamp lantern leaf lemon letter library lily lion lizard lock machine maple market meadow melon memory milk mirror
monkey moon morning mother mountain mouse music needle nest night noodle ocean olive onion orange orchard otter oven
owl paint palace panda paper parrot pear pebble pencil pepper piano pillow pilot planet plate pocket pond potato
prompt pumpkin puzzle queen queue quilt rabbit rain ribbon rice river robin rocket roof rose sailor salt sand
scarf school season seed shadow sheep ship shoe silver sister sky sleep snow soap spider spoon spring star station
stone storm street sugar summer sun swan table tailor teacher temple thunder tiger token tower train tree tulip
turtle umbrella valley velvet village violin wagon walnut water wheat wheel whistle willow window winter wolf
wonder wood yellow yogurt zebra
"""
WORDS = tuple(_WORDS.split())


@dataclass(frozen=True, slots=True)
class Task:
    """A question and its one right answer.

    Parameters
    ----------
    kind
        One of `KINDS`.
    prompt
        The question in plain words.
    answer
        The expected output, character for character; may be empty.
    """

    kind: str
    prompt: str
    answer: str

    @property
    def output_length(self) -> int:
        """Tokens of the right answer at one character per token, END included."""
        return len(self.answer) + 1

    @property
    def held_out(self) -> bool:
        """Whether this prompt is held out from training."""
        return self.kind not in LEARNED_WHOLE and zlib.crc32(self.prompt.encode()) % HELD_OUT_SHARE == 0


def capital(place: str, question: str = "The capital of {}?") -> Task:
    """Ask for the capital of a state or country; `question` has {} for its name."""
    return Task("capital", question.format(place), {**COUNTRIES, **STATES}[place])


def spell(word: str) -> Task:
    """Spell a word: cat → c-a-t."""
    return Task("spell", f"Spell {word}", "-".join(word))


def reverse(word: str) -> Task:
    """Reverse a word: cat → tac."""
    return Task("reverse", f"Reverse {word}", word[::-1])


def sort_letters(word: str) -> Task:
    """Sort the letters of a word: cat → act."""
    return Task("sort", f"Sort {word}", "".join(sorted(word)))


def shout(word: str) -> Task:
    """Write a word in capitals: cat → CAT."""
    return Task("shout", f"Shout {word}", word.upper())


def letters(word: str) -> Task:
    """Count the letters of a word: cat → 3."""
    return Task("letters", f"How many letters in {word}?", str(len(word)))


def repeat(word: str, times: int) -> Task:
    """Repeat a word: ab, 3 → ab ab ab."""
    return Task("repeat", f"Repeat {word} {times} times", " ".join([word] * times))


def count_to(last: int) -> Task:
    """Count from 1 up to `last`."""
    return Task("count to", f"Count to {last}", _numbers(range(1, last + 1)))


def count_from(first: int, last: int) -> Task:
    """Count from `first` up to `last`."""
    return Task("count from", f"Count from {first} to {last}", _numbers(range(first, last + 1)))


def count_down(first: int, last: int) -> Task:
    """Count from `first` down to `last`."""
    return Task("count down", f"Count down from {first} to {last}", _numbers(range(first, last - 1, -1)))


def count_by(step: int, last: int) -> Task:
    """Count in steps up to `last`: 5, 15 → 5 10 15."""
    return Task("count by", f"Count by {step} to {last}", _numbers(range(step, last + 1, step)))


def alphabet(first: str, last: str) -> Task:
    """Recite the alphabet from one letter to another."""
    return Task("alphabet", f"Alphabet from {first} to {last}", " ".join(_between(tuple(ascii_lowercase), first, last)))


def months(first: str, last: str) -> Task:
    """List the months from one to another."""
    return Task("months", f"Months from {first} to {last}", " ".join(_between(MONTHS, first, last)))


def days(first: str, last: str) -> Task:
    """List the days of the week from one to another."""
    return Task("days", f"Days from {first} to {last}", " ".join(_between(DAYS, first, last)))


def plus(a: int, b: int) -> Task:
    """Add two numbers."""
    return Task("plus", f"{a} plus {b}?", str(a + b))


def _numbers(numbers: range) -> str:
    return " ".join(map(str, numbers))


def _between(names: tuple[str, ...], first: str, last: str) -> tuple[str, ...]:
    return names[names.index(first) : names.index(last) + 1]


def _ordered_pair(rng: random.Random, lowest: int, highest: int) -> tuple[int, int]:
    first, last = sorted((rng.randint(lowest, highest), rng.randint(lowest, highest)))
    return first, last


def _ordered_names(rng: random.Random, names: tuple[str, ...]) -> tuple[str, str]:
    first, last = _ordered_pair(rng, 0, len(names) - 1)
    return names[first], names[last]


def _any_word(rng: random.Random, longest: int) -> str:
    """Mostly made-up words, so that a model learns to handle letters instead of a list of words."""
    if rng.random() < 0.25:
        word = rng.choice(_named_words())
        if len(word) <= longest:
            return word
    # A small alphabet makes letters repeat, which is the hard case of copying and sorting.
    letters = rng.sample(ascii_lowercase, rng.randint(3, 26))
    word = "".join(rng.choices(letters, k=rng.randint(2, longest)))
    return word.capitalize() if rng.random() < 0.15 else word


@cache
def _named_words() -> tuple[str, ...]:
    names = (*STATES, *STATES.values(), *COUNTRIES, *COUNTRIES.values())
    return WORDS + tuple(sorted({name for name in names if " " not in name}))


def _draw_capital(rng: random.Random) -> Task:
    return capital(rng.choice((*STATES, *COUNTRIES)), rng.choice(("The capital of {}?", "What is the capital of {}?")))


def _draw_count_by(rng: random.Random) -> Task:
    step = rng.randint(2, 12)
    return count_by(step, step * rng.randint(1, MOST_COUNTED // step))


def _draw_count_down(rng: random.Random) -> Task:
    last, first = _ordered_pair(rng, 0, MOST_COUNTED)
    return count_down(first, last)


def _draw_repeat(rng: random.Random) -> Task:
    return repeat(_any_word(rng, 5).lower(), rng.randint(0, MOST_REPEATS))


KINDS: dict[str, Callable[[random.Random], Task]] = {
    "capital": _draw_capital,
    "spell": lambda rng: spell(_any_word(rng, 14)),
    "reverse": lambda rng: reverse(_any_word(rng, 10).lower()),
    "sort": lambda rng: sort_letters(_any_word(rng, 10).lower()),
    "shout": lambda rng: shout(_any_word(rng, 14)),
    "letters": lambda rng: letters(_any_word(rng, 14)),
    "repeat": _draw_repeat,
    "count to": lambda rng: count_to(rng.randint(1, MOST_COUNTED)),
    "count from": lambda rng: count_from(*_ordered_pair(rng, 0, MOST_COUNTED)),
    "count down": _draw_count_down,
    "count by": _draw_count_by,
    "alphabet": lambda rng: alphabet(*_ordered_names(rng, tuple(ascii_lowercase))),
    "months": lambda rng: months(*_ordered_names(rng, MONTHS)),
    "days": lambda rng: days(*_ordered_names(rng, DAYS)),
    "plus": lambda rng: plus(rng.randint(0, 99), rng.randint(0, 99)),
}
"""Draws a random task of each kind: for training, and for testing on held-out prompts."""


@cache
def catalogue() -> tuple[Task, ...]:
    """Every task that `task_workload` can draw, each prompt once."""
    return tuple({task.prompt: task for task in _catalogue()}.values())


def _catalogue() -> Iterator[Task]:
    for place in (*STATES, *COUNTRIES):
        yield capital(place)
    for word in _named_words():
        yield spell(word)
        yield shout(word)
        yield letters(word)
    for word in WORDS:
        yield reverse(word)
        yield sort_letters(word)
    for word in ("ab", "ha", "la", "abc", *(word for word in WORDS if len(word) <= 5)):
        for times in range(MOST_REPEATS + 1):
            yield repeat(word, times)
    for last in range(1, MOST_COUNTED + 1):
        yield count_to(last)
    for first in range(MOST_COUNTED + 1):
        for last in range(first + 1, MOST_COUNTED + 1):
            yield count_from(first, last)
            yield count_down(last, first)
    for step in range(2, 13):
        for last in range(step, MOST_COUNTED + 1, step):
            yield count_by(step, last)
    for names, between in ((tuple(ascii_lowercase), alphabet), (MONTHS, months), (DAYS, days)):
        for i, start in enumerate(names):
            for end in names[i + 1 :]:
                yield between(start, end)
    for a in range(0, 100, 7):
        for b in range(0, 100, 3):
            yield plus(a, b)


def task_workload(
    encode: Callable[[str], list[int]], requests: int = 64, seed: int = 0, mean: float = 40.0
) -> Workload:
    """Draw tasks whose output lengths follow an exponential law, all arriving at 0.

    Stratified sampling takes one draw from each of `requests` equally likely slices of the law, in random order. So
    even a small workload shows the law's spread (a coefficient of variation close to 1), whatever the seed. Lengths
    beyond the longest answer, 294 tokens, become the longest answer. Each request then gets a task with an answer of
    about the drawn length, of the kind drawn least so far.

    Nothing forces these lengths: the model stops at its own END, and `Request.answer` is the right answer.

    Parameters
    ----------
    encode
        Turns a prompt into the model's tokens, including what the model expects around a prompt (for `tiny` a newline
        after it, which its chat template adds), such as `LoadedModel.encode`.
    requests
        How many, at least 1.
    seed
        The same seed draws the same workload.
    mean
        Mean of the law in output tokens, END included, from 2 to 100. Above 60 the longest answer cuts the law's tail
        noticeably.

    Returns
    -------
    Workload
        The tasks, numbered in the order drawn.

    Raises
    ------
    WorkloadError
        A number is out of range, or `encode` returns no tokens.

    Examples
    --------
    >>> from cbviz.workload import task_workload
    >>> workload = task_workload(lambda text: [ord(c) for c in text], requests=3, mean=8)
    >>> for request in workload:
    ...     print(request.text, "→", request.answer)
    Count by 12 to 12 → 12
    Count to 6 → 1 2 3 4 5 6
    Count down from 10 to 8 → 10 9 8
    """
    encoder(encode)
    requests = amount("requests", requests)
    seed = whole("seed", seed, least=0, below=2**63)
    middle = as_float(mean)
    if middle is None or not 2 <= middle <= 100:
        raise WorkloadError(f"mean must be a number of output tokens from 2 to 100, not {shown(mean)}.")
    mean = middle
    rng = random.Random(seed)
    targets = [-mean * math.log(1 - (i + rng.random()) / requests) for i in range(requests)]
    rng.shuffle(targets)
    asked: set[str] = set()
    times_asked: Counter[str] = Counter()
    drawn = []
    for id, target in enumerate(targets):
        choices = _close_tasks(target, asked)
        # The kind drawn least so far, so that a small workload shows them all.
        kind = min(choices, key=lambda kind: (times_asked[kind], rng.random()))
        task = rng.choice(choices[kind])
        asked.add(task.prompt)
        times_asked[kind] += 1
        drawn.append(
            Request(
                id=id,
                prompt=token_ids("what encode returns", encode(task.prompt)),
                max_new_tokens=ANSWER_ROOM,
                text=task.prompt,
                answer=task.answer,
            )
        )
    return Workload(Message("workload.tasks", mean=mean), tuple(drawn), seed)


@cache
def _by_length() -> dict[int, dict[str, list[Task]]]:
    """The catalogue by output length, then by kind."""
    lengths: dict[int, dict[str, list[Task]]] = {}
    for task in catalogue():
        lengths.setdefault(task.output_length, {}).setdefault(task.kind, []).append(task)
    return lengths


def _close_tasks(target: float, asked: set[str]) -> dict[str, list[Task]]:
    """By kind, the tasks with answers closest to `target` tokens; only new prompts, as long as there are any.

    Lengths within a tenth also count as close; otherwise every long answer would be of the same kind.
    """
    lengths = _by_length()
    off = max(target / 10, min(abs(length - target) for length in lengths))
    close: dict[str, list[Task]] = {}
    for length, kinds in lengths.items():
        if abs(length - target) <= off:
            for kind, tasks in kinds.items():
                close.setdefault(kind, []).extend(tasks)
    new = {kind: [task for task in tasks if task.prompt not in asked] for kind, tasks in close.items()}
    return {kind: tasks for kind, tasks in new.items() if tasks} or close
