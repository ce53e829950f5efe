"""What the result of a race says, and what it may not say: the one place that decides.

Counts come first, because they are the same on every machine. Seconds follow, with no more digits than the repeats
support, and without a "faster" that they cannot show. Board, page, command line and JSON only render what is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cbviz.errors import MeasureError
from cbviz.measure.causes import cause, nothing_to_win
from cbviz.measure.checks import a_trace, listed, one_of
from cbviz.measure.compare import check_same_work, same_answers
from cbviz.measure.lane_names import distinct_names
from cbviz.measure.lane_times import LaneTimes, lane_times, two_digits
from cbviz.measure.standings import COMPARED, Compare, Standing, best_of, headline, others, standings
from cbviz.measure.standings import listed as in_a_list
from cbviz.messages import Message, as_json
from cbviz.trace import Trace

HALF = ("bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class RaceVerdict:
    """What a race showed, as data and as sentences.

    Attributes
    ----------
    compare
        What was compared: an entry of `COMPARED`.
    ranking
        The lanes, the best first; empty for one lane or a stopped run.
    headline
        The result in a few words; None for one lane or a stopped run.
    beside
        One sentence beside it: what made the difference, or the lanes behind the best. None if there is none.
    lines
        More sentences, in order: iterations, seconds and their clock, what could not be won, answers.
    timed
        Whether the lanes' seconds mean anything; where False, none are shown.
    """

    compare: Compare
    ranking: tuple[Standing, ...]
    headline: Message | None
    beside: Message | None
    lines: tuple[Message, ...]
    timed: bool

    @property
    def sentences(self) -> tuple[Message, ...]:
        """Headline and all sentences, in reading order."""
        return (*(line for line in (self.headline, self.beside) if line is not None), *self.lines)

    def in_language(self, language: str) -> str:
        """All sentences in a language, one a line.

        Parameters
        ----------
        language
            One of `cbviz.messages.languages()`.

        Returns
        -------
        str
            Headline, and the sentences in reading order.
        """
        return "\n".join(line.in_language(language) for line in self.sentences)

    def __str__(self) -> str:
        return self.in_language("en")

    def __repr__(self) -> str:
        return f"<RaceVerdict on {self.compare}: {self.headline or 'nothing is compared'}>"

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain values.

        Returns
        -------
        dict
            Sentences as `[key, facts]` of the catalogue, and as English text; the ranking; what was compared.
        """
        return {
            "compare": self.compare,
            "ranking": [lane.to_json() for lane in self.ranking],
            "timed": self.timed,
            "sentences": [as_json(line) for line in self.sentences],
            "text": [str(line) for line in self.sentences],
        }


def verdict(
    *runs: Trace | Sequence[Trace],
    names: Sequence[str] | None = None,
    compare: Compare = "iterations",
    gap: float | None = None,
    checked: bool = True,
) -> RaceVerdict:
    """What runs of the same requests under several policies show.

    Parameters
    ----------
    runs
        One trace for each lane, or all repeats of each lane. Counts are those of the run with the median time.
    names
        Of the lanes; None takes the names of the policies. Equal names are numbered.
    compare
        "iterations", "seconds", "longest_gap" (between two tokens of an answer, in iterations) or "ttft" (mean
        iterations to the first token).
    gap
        The largest difference of the two best logits where answers part, if it was computed.
    checked
        False where the model's answers could not be compared with `generate`.

    Returns
    -------
    RaceVerdict
        Ranking and sentences.

    Raises
    ------
    MeasureError
        No run, an argument that is no trace, not one name for each lane, or an unknown `compare`.

    Examples
    --------
    >>> import cbviz
    >>> found = verdict(*cbviz.recorded("smollm2-8"))
    >>> for sentence in found.sentences[:3]:
    ...     print(sentence)
    631 → 288 iterations
    static computed 3,480 slots for answers that had ended.
    static took 2.19 times as many iterations as continuous.
    """
    one_of("compare", compare, COMPARED)
    lanes = [_repeats(lane) for lane in runs]
    if not lanes:
        raise MeasureError("a verdict needs at least one run.")
    traces = [sorted(lane, key=lambda trace: trace.seconds)[(len(lane) - 1) // 2] for lane in lanes]
    called = _names(traces, names)
    times = lane_times(lanes)
    timed = times is not None and not times.too_short
    if not _same_work(traces):
        return RaceVerdict(compare, (), None, None, (Message("verdict.other_work"),), timed)
    if any((trace.requests.reason < 0).any() for trace in traces):
        return RaceVerdict(compare, (), None, None, _stopped(traces, called), timed)
    if len(lanes) == 1:
        return RaceVerdict(compare, (), None, None, (), timed)
    return _compared(traces, called, compare, times, _answers(traces, gap, checked))


def _compared(
    traces: Sequence[Trace],
    names: Sequence[str],
    compare: Compare,
    times: LaneTimes | None,
    answers: Sequence[Message],
) -> RaceVerdict:
    ranking = standings(traces, names, compare, times)
    counted = standings(traces, names, "iterations", None)
    even = len(best_of(counted)) == len(counted)
    timed = times is not None and not times.too_short
    head: Message = headline(ranking, names, compare)
    if compare == "seconds" and (times is None or not times.comparable):
        head = Message("verdict.seconds_once" if timed else "verdict.seconds_short")
        ranking = ()
    about_iterations = compare in ("iterations", "seconds")
    why = None
    if not even and about_iterations:
        best, worst = counted[0], _worst(counted)[0]
        of = dict(zip(names, traces, strict=True))
        why = cause(worst.policy, of[worst.policy], of[best.policy])
    behind = others(ranking, compare) if len(traces) > 2 and ranking else None
    alone = compare == "iterations" and len(traces) == 2
    beside = behind if behind is not None else why if alone else None
    lines = [*_iterations(counted, even, compare), *([why] if why is not None and why is not beside else [])]
    lines += [*_seconds(times, names), *(_clock(traces) if timed else [])]
    if even and (compare == "seconds" or len(best_of(ranking)) == len(ranking)):
        reason = nothing_to_win(traces)
        lines += [] if reason is None else [reason]
    return RaceVerdict(compare, ranking, head, beside, (*lines, *answers), timed)


def _iterations(counted: Sequence[Standing], even: bool, compare: Compare) -> list[Message]:
    """The ratio of the most iterations to the fewest; where something else is compared, the numbers first."""
    best, worst = counted[0], counted[-1]
    found = []
    if compare != "iterations":
        words = [Message("verdict.then", policy=lane.policy, value=lane.text) for lane in counted]
        found = [Message("verdict.iterations", lanes=in_a_list(words))]
    ratio = "" if even or compare in ("longest_gap", "ttft") else _times(worst.value / best.value)
    if ratio not in ("", "1.00"):
        key = "verdict.ratio" if len(best_of(counted)) == 1 else "verdict.ratio_tied"
        leaders = in_a_list([lane.policy for lane in best_of(counted)])
        worse = in_a_list([lane.policy for lane in _worst(counted)])
        found.append(Message(key, worse=worse, better=leaders, times=ratio))
    return found


def _worst(ranking: Sequence[Standing]) -> list[Standing]:
    """All lanes in the last place."""
    return [lane for lane in ranking if lane.place == ranking[-1].place]


def _times(ratio: float) -> str:
    """A ratio of counts: exact, so three digits are honest whatever the machine did."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"


def _seconds(times: LaneTimes | None, names: Sequence[str]) -> list[Message]:
    """What the repeats say about time."""
    if times is None:
        return []
    if times.too_short:
        return [Message("verdict.too_short")]
    if times.repeats == 1:
        words = [
            Message("verdict.lane_seconds", policy=name, seconds=two_digits(lane.median))
            for name, lane in zip(names, times.seconds, strict=True)
        ]
        return [Message("verdict.modelled" if times.modelled else "verdict.timed_once", lanes=in_a_list(words))]
    if len(names) > 2:
        return _many_times(times, names)
    slow, fast = (0, 1) if times.ratios[0, 1].median >= 1 else (1, 0)
    ratio, low, high = times.ratios[slow, fast].texts()
    if not times.differ(slow, fast):
        ends = {"low": f"{times.ratios[slow, fast].low:.2f}", "high": f"{times.ratios[slow, fast].high:.2f}"}
        return [Message("verdict.undecided", n=times.repeats, first=names[slow], last=names[fast], **ends)]
    of = {"slower": names[slow], "faster": names[fast], "times": ratio, "low": low, "high": high, "n": times.repeats}
    took = {"slow": times.seconds[slow].texts()[0], "fast": times.seconds[fast].texts()[0]}
    return [Message("verdict.times", **of, **took)]


def _many_times(times: LaneTimes, names: Sequence[str]) -> list[Message]:
    """Every lane's median and range, the quickest first, and the lanes that the repeats cannot tell from it."""
    order = sorted(range(len(names)), key=lambda lane: times.seconds[lane].median)
    words = []
    for lane in order:
        middle, low, high = times.seconds[lane].texts()
        words.append(Message("verdict.lane_range", policy=names[lane], seconds=middle, low=low, high=high))
    found = [Message("verdict.times_ranked", n=times.repeats, lanes=in_a_list(words))]
    alike = [names[lane] for lane in order if lane == order[0] or not times.differ(order[0], lane)]
    if len(alike) > 1:
        found.append(Message("verdict.times_alike", n=times.repeats, lanes=in_a_list(alike)))
    return found


def _answers(traces: Sequence[Trace], gap: float | None, checked: bool) -> list[Message]:
    """Whether the lanes agree, and if not, why that may be."""
    same, compared = same_answers(*traces)
    if not compared:
        return []
    if same == compared:
        return [Message("verdict.same" if checked else "verdict.same_unchecked", n=same, count=f"{same:,}")]
    found = [Message("verdict.differ", n=compared - same, count=f"{compared - same:,}", all=f"{compared:,}")]
    meta = traces[0].meta
    half = meta.dtype in HALF
    if meta.model.startswith("random:"):
        found.append(Message("verdict.differ_random_half" if half else "verdict.differ_random", dtype=meta.dtype))
    elif half:
        found.append(Message("verdict.differ_half", dtype=meta.dtype))
    if gap is not None:
        found.append(Message("verdict.differ_gap", gap=f"{gap:.2g}"))
    return [*found, Message("verdict.differ_see")]


def _clock(traces: Sequence[Trace]) -> list[Message]:
    clocks = {trace.meta.clock for trace in traces}
    clock = clocks.pop() if len(clocks) == 1 else ""
    return [Message(f"verdict.clock_{clock}")] if clock in ("lane", "alone", "virtual") else []


def _stopped(traces: Sequence[Trace], names: Sequence[str]) -> tuple[Message, ...]:
    """How far each lane came."""
    words = [
        Message(
            "verdict.so_far",
            policy=name,
            done=f"{int((trace.requests.reason >= 0).sum()):,}",
            all=f"{len(trace.requests):,}",
            n=len(trace.iterations),
            count=f"{len(trace.iterations):,}",
        )
        for name, trace in zip(names, traces, strict=True)
    ]
    return (Message("verdict.stopped"), *words)


def _same_work(traces: Sequence[Trace]) -> bool:
    """Whether all lanes had the same requests: recorded runs of anything may be put side by side."""
    try:
        for other in traces[1:]:
            check_same_work(traces[0], other)
    except MeasureError:
        return False
    return True


def _repeats(lane: Trace | Sequence[Trace]) -> Sequence[Trace]:
    if isinstance(lane, Trace):
        return [lane]
    found = [a_trace(trace) for trace in listed("runs", lane, "traces")]
    if not found:
        raise MeasureError("a lane needs at least one run.")
    return found


def _names(traces: Sequence[Trace], names: Sequence[str] | None) -> tuple[str, ...]:
    """One name for each lane; equal ones get numbers."""
    called = [trace.meta.policy for trace in traces] if names is None else list(listed("names", names, "texts"))
    if len(called) != len(traces) or not all(isinstance(name, str) for name in called):
        raise MeasureError(f"there are {len(traces)} lanes; give one name for each, as text.")
    return distinct_names(called)
