"""Real questions for chat models, with short and long answers mixed.

The length of an answer is unknown beforehand: the model ends it. The questions were chosen by reading the answers of
SmolLM2-135M-Instruct. A model that small gets many facts wrong and often fails to end, so only questions were kept that
it answers sensibly and ends itself. There are five short answers to each long one, as chats mix a quick fact with an
explanation.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from cbviz.messages import Message
from cbviz.workload.checks import amount, encoder, token_ids, whole
from cbviz.workload.request import Request, Workload

SHORT = (
    "Good morning!",
    "What is the capital of France?",
    "What is the capital of Japan?",
    "What is the capital of Egypt?",
    "What is the capital of Germany?",
    "What is the capital of Canada?",
    "What is the capital of China?",
    "What is the capital of Texas?",
    "What is the capital of England?",
    "What is the capital of Russia?",
    "What is the capital of India?",
    "What is the capital of Greece?",
    "What is the capital of Austria?",
    "What is the capital of Sweden?",
    "What is the capital of Poland?",
    "What is the capital of Kenya?",
    "What is the capital of Peru?",
    "What is the capital of Cuba?",
    "What is the capital of Thailand?",
    "What is the capital of South Korea?",
    "What is the capital of Hungary?",
    "What is the capital of the Netherlands?",
    "What is the chemical symbol for water?",
    "What is the chemical symbol for oxygen?",
    "What is the chemical symbol for silver?",
    "What is the chemical symbol for iron?",
    "What is the opposite of big?",
    "What is the opposite of old?",
    "What is 1 + 1?",
    "What is 2 + 2?",
    "How many hours are there in a day?",
    "How many days are there in a week?",
    "How many months are there in a year?",
    "What is the first month of the year?",
    "List the months of the year.",
    "In which city is the Colosseum?",
    "In which city is the Statue of Liberty?",
    "In which country is the Eiffel Tower?",
    "In which country is Mount Fuji?",
    "What is the name of our galaxy?",
    "Who was the first person to walk on the Moon?",
    "Name three fruits.",
    "Name three colors.",
    "Name three animals.",
    "Name three planets.",
    "Name three vegetables.",
    "Name three countries in Europe.",
    "What is a noun? Answer in one sentence.",
    "What is a verb? Answer in one sentence.",
    "What is an adjective? Answer in one sentence.",
    "What is a triangle? Answer in one sentence.",
    "What is a prime number? Answer in one sentence.",
    "What is a bird? Answer in one sentence.",
    "What is an island? Answer in one sentence.",
    "What is a teacher? Answer in one sentence.",
    "What is a doctor? Answer in one sentence.",
    "What is an algorithm? Answer in one sentence.",
    "What is music? Answer in one sentence.",
    "Explain in one sentence what a computer is.",
    "Explain in one sentence what climate is.",
)
"""SmolLM2-135M-Instruct answers these in 4 to 40 tokens, END included."""

LONG = (
    "What is gravity?",
    "What is electricity?",
    "What is evolution?",
    "What is photosynthesis?",
    "What is the water cycle?",
    "What is the solar system?",
    "What is a black hole?",
    "What is a black hole made of?",
    "What is an ecosystem?",
    "What is artificial intelligence?",
    "What is a healthy breakfast?",
    "What instrument has black and white keys?",
    "Why is exercise good for you?",
    "Give me three tips for healthy eating.",
    "Give me three tips for a job interview.",
    "Who are you?",
)
"""It answers these in 58 to 119 tokens."""

SHORT_TO_LONG = 5
"""Short answers to one long answer."""


def question_workload(
    encode: Callable[[str], Sequence[int]], requests: int = 48, seed: int = 0, max_new_tokens: int = 160
) -> Workload:
    """Draw questions in random order, all arriving at 0; one in six has a long answer.

    Parameters
    ----------
    encode
        Turns a question into prompt tokens, the chat template included, such as `LoadedModel.encode`.
    requests
        How many, at least 1. A question repeats only after every other one of its kind was asked.
    seed
        The same seed draws the same questions in the same order.
    max_new_tokens
        The most tokens of an answer, END included. SmolLM2-135M-Instruct ends every answer before 160.

    Returns
    -------
    Workload
        The questions, numbered in the order drawn.

    Raises
    ------
    WorkloadError
        A number is out of range.

    Examples
    --------
    >>> from cbviz.workload import question_workload
    >>> workload = question_workload(lambda text: [ord(c) for c in text], requests=6)
    >>> for request in workload.requests[:2]:
    ...     print(request.text)
    Why is exercise good for you?
    What is an algorithm? Answer in one sentence.
    """
    encoder(encode)
    n = amount("the number of requests", requests)
    max_new_tokens = whole("max_new_tokens", max_new_tokens)
    seed = whole("a seed", seed, 0, below=2**63)
    rng = random.Random(seed)
    long = round(n / (SHORT_TO_LONG + 1))
    asked = [*_draw(rng, LONG, long), *_draw(rng, SHORT, n - long)]
    rng.shuffle(asked)
    return Workload(
        name=Message("workload.questions", n=n),
        requests=tuple(
            Request(
                id=i, prompt=token_ids("what encode returns", encode(text)), max_new_tokens=max_new_tokens, text=text
            )
            for i, text in enumerate(asked)
        ),
        seed=seed,
    )


def _draw(rng: random.Random, questions: Sequence[str], n: int) -> list[str]:
    """Draw n questions, in rounds that ask every question once."""
    drawn: list[str] = []
    while len(drawn) < n:
        drawn += rng.sample(questions, min(n - len(drawn), len(questions)))
    return drawn
