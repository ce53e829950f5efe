"""What the result of a race says, and what it may not say: the one place that decides.

Counts come first, because they are the same on every machine. Seconds follow, with no more digits than the repeats
support, and without a "faster" that they cannot show. Board, page, command line and JSON only render what is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cbviz.errors import MeasureError
from cbviz.measure.causes import cause, wasted
from cbviz.measure.checks import a_trace, flag, listed, number, one_of
from cbviz.measure.compare import check_same_work, iteration_ratio, same_answers
from cbviz.measure.lane_names import distinct_names
from cbviz.measure.lane_times import LaneTimes, Spread, lane_times
from cbviz.measure.slot_use import slot_use
from cbviz.measure.standings import COMPARED, Compare, Standing, best_of, headline, others, standings
from cbviz.measure.standings import listed as in_a_list
from cbviz.measure.ties import ARGUMENTS, nothing_to_win, same_policy
from cbviz.measure.time_sentences import about_clocks, about_seconds, no_seconds, ratio_text
from cbviz.messages import Message, as_json, check_language
from cbviz.trace import Trace

HALF = ("bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class RaceVerdict:
    """What a race showed, as data and as sentences.

    Attributes
    ----------
    compare
        What was to be compared: an entry of `COMPARED`.
    ranking
        The lanes, the best first; empty for one lane, a stopped run, and seconds that cannot be compared.
    headline
        The result in a few words; None for a stopped run and for runs of different requests.
    beside
        One sentence beside it: what made the difference, or the lanes behind the best. None if there is none.
    lines
        More sentences, in order: iterations, seconds and their clock, what could not be won, answers.
    timed
        Whether the lanes' seconds mean anything; where False, none are shown.
    iteration_ratio
        Iterations of the first lane / iterations of the last; None where nothing is compared.
    speedup
        Seconds of the first lane / seconds of the last, over the repeats; None where that was not measured.
    doubt
        Why there is no speed-up, for programs: an entry of `cbviz.measure.lane_times.DOUBTS`; "" if there is one.
    identical, answered
        Requests with the same answer in all lanes, of those that completed in all of them.
    """

    compare: Compare
    ranking: tuple[Standing, ...] = ()
    headline: Message | None = None
    beside: Message | None = None
    lines: tuple[Message, ...] = ()
    timed: bool = False
    iteration_ratio: float | None = None
    speedup: Spread | None = None
    doubt: str = ""
    identical: int = 0
    answered: int = 0

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
        language = check_language(language)
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
            Sentences as `[key, facts]` of the catalogue, and as English text; the ranking; what was compared; why there
            is no speed-up ("doubt"), or None.
        """
        return {
            "compare": self.compare,
            "ranking": [lane.to_json() for lane in self.ranking],
            "timed": self.timed,
            "doubt": self.doubt or None,
            "sentences": [as_json(line) for line in self.sentences],
            "text": [str(line) for line in self.sentences],
        }


def verdict(
    *runs: Trace | Sequence[Trace],
    names: Sequence[str] | None = None,
    compare: Compare = "iterations",
    gap: float | None = None,
    checked: bool = True,
    raced: bool = False,
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
    raced
        True for a race, whose reader can add a lane where there is only one.

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
    flag("checked", checked)
    flag("raced", raced)
    if gap is not None:
        gap = number("gap", gap, or_equal=True)
    lanes = [_repeats(lane) for lane in runs]
    if not lanes:
        raise MeasureError("a verdict needs at least one run.")
    traces = [sorted(lane, key=lambda trace: trace.seconds)[(len(lane) - 1) // 2] for lane in lanes]
    called = _names(traces, names)
    times = lane_times(lanes)
    timed = times is not None and not times.too_short
    if not _same_work(traces):
        return RaceVerdict(compare, lines=(Message("verdict.other_work"),), timed=timed, doubt="other_work")
    if any((trace.requests.reason < 0).any() for trace in traces):
        return RaceVerdict(compare, lines=_stopped(traces, called), timed=timed, doubt="stopped")
    if len(lanes) == 1:
        return _alone(traces[0], called[0], compare, times, flag("raced", raced))
    return _compared(traces, called, compare, times, gap, checked)


def failed(error: str, traces: Sequence[Trace], names: Sequence[str], compare: Compare = "iterations") -> RaceVerdict:
    """What a race says that ended by an error: the error, and how far the lanes came of which there is a run.

    Parameters
    ----------
    error
        The sentence of the error.
    traces, names
        The runs there are, and their lanes.
    compare
        What was to be compared.

    Returns
    -------
    RaceVerdict
        Without a headline: nothing is compared.
    """
    lines = (Message("verdict.failed", error=error), *_so_far(traces, names))
    return RaceVerdict(compare, lines=lines, doubt="failed")


def _alone(trace: Trace, name: str, compare: Compare, times: LaneTimes | None, raced: bool) -> RaceVerdict:
    """One lane: what it did, in counts."""
    timed = times is not None and not times.too_short
    shown: Compare = compare if compare != "seconds" or timed else "iterations"
    standing = standings([trace], [name], shown, times)[0]
    use = slot_use(trace)
    numbers = {
        "requests": len(trace.requests),
        "tokens": trace.output_tokens,
        "useful": int(use.useful),
        "slots": int(use.total),
    }
    did = Message("verdict.one_did", **{of: f"{number:,}" for of, number in numbers.items()})
    lines = [*wasted(name, trace), *about_seconds(times, [name]), *(about_clocks([trace]) if timed else [])]
    if raced:
        other = "continuous" if trace.meta.policy == "static" else "static"
        lines.append(Message("verdict.one_lane", other=other, policies=ARGUMENTS["policies"]))
    head = Message(f"verdict.best_{shown}", policy=name, **standing.facts())
    return RaceVerdict(compare, (), head, did, tuple(lines), timed, doubt="one_lane")


def _compared(
    traces: Sequence[Trace],
    names: Sequence[str],
    compare: Compare,
    times: LaneTimes | None,
    gap: float | None,
    checked: bool,
) -> RaceVerdict:
    counted = standings(traces, names, "iterations", None)
    even = len(best_of(counted)) == len(counted)
    timed = times is not None and not times.too_short
    doubt = "too_short_to_time" if times is None else times.doubt
    fallen_back = compare == "seconds" and bool(doubt)
    shown: Compare = "iterations" if fallen_back else compare
    ranking = standings(traces, names, shown, times)
    why = None
    if not even and shown in ("iterations", "seconds"):
        best, worst = counted[0], _worst(counted)[0]
        of = dict(zip(names, traces, strict=True))
        why = cause((worst.policy, of[worst.policy]), (best.policy, of[best.policy]))
    behind = others(ranking, shown) if len(traces) > 2 else None
    alone = shown == "iterations" and len(traces) == 2
    tied = len(best_of(ranking)) == len(ranking)
    nothing = nothing_to_win(traces, shown) if (tied and (even or shown != "seconds")) or same_policy(traces) else None
    beside = behind if behind is not None else why if alone and why is not None else nothing if tied else None
    lines = [*_iterations(counted, even, shown), *([why] if why is not None and why is not beside else [])]
    lines += [no_seconds(times)] if fallen_back else []
    if timed or not fallen_back:
        seconds = about_seconds(times, names, alike=same_policy(traces))
        lines += [*seconds, *(about_clocks(traces) if timed else [])]
    lines += [nothing] if nothing is not None and nothing is not beside else []
    # Answers are those of the weights: where lanes have others, they say nothing about schedules or rounding.
    alike = [trace for trace in traces if _weights(trace) == _weights(traces[0])]
    strange = [name for name, trace in zip(names, traces, strict=True) if _weights(trace) != _weights(traces[0])]
    same, answered = same_answers(*alike)
    answers = _answers(traces[0], same, answered, gap, checked) if len(alike) > 1 or not strange else []
    answers += [Message("verdict.other_weights", lanes=in_a_list(strange))] if strange else []
    return RaceVerdict(
        compare,
        () if fallen_back else ranking,
        headline(ranking, names, shown),
        beside,
        (*lines, *answers),
        timed,
        iteration_ratio=iteration_ratio(traces[0], traces[-1]) if len(traces[-1].iterations) else None,
        speedup=None if doubt or times is None else times.ratios[0, len(traces) - 1],
        doubt=doubt,
        identical=same,
        answered=answered,
    )


def _iterations(counted: Sequence[Standing], even: bool, compare: Compare) -> list[Message]:
    """The ratio of the most iterations to the fewest; where something else is compared, the numbers first."""
    best, worst = counted[0], counted[-1]
    found = []
    if compare != "iterations":
        words = [Message("verdict.then", policy=lane.policy, value=lane.text) for lane in counted]
        found = [Message("verdict.iterations", lanes=in_a_list(words))]
    ratio = "" if even or compare in ("longest_gap", "ttft") else ratio_text(worst.value / best.value)
    if ratio not in ("", "1.00"):
        key = "verdict.ratio" if len(best_of(counted)) == 1 else "verdict.ratio_tied"
        leaders = in_a_list([lane.policy for lane in best_of(counted)])
        worse = in_a_list([lane.policy for lane in _worst(counted)])
        found.append(Message(key, worse=worse, better=leaders, times=ratio))
    return found


def _worst(ranking: Sequence[Standing]) -> list[Standing]:
    """All lanes in the last place."""
    return [lane for lane in ranking if lane.place == ranking[-1].place]


def _weights(trace: Trace) -> object:
    """What a run says of its weights where they are not the model's own, in its dtype."""
    return trace.meta.extra.get("weights")


def _answers(trace: Trace, same: int, answered: int, gap: float | None, checked: bool) -> list[Message]:
    """Whether the lanes agree, and if not, why that may be."""
    if not answered:
        return []
    if same == answered:
        return [Message("verdict.same" if checked else "verdict.same_unchecked", n=same, count=f"{same:,}")]
    differing = answered - same
    found = [Message("verdict.differ", n=differing, count=f"{differing:,}", all=f"{answered:,}")]
    meta = trace.meta
    half = meta.dtype in HALF
    if meta.model.startswith("random:"):
        found.append(Message("verdict.differ_random_half" if half else "verdict.differ_random", dtype=meta.dtype))
    elif half:
        found.append(Message("verdict.differ_half", dtype=meta.dtype))
    if gap is not None:
        found.append(Message("verdict.differ_gap", gap=f"{gap:.2g}") if gap else Message("verdict.differ_tied"))
    return [*found, Message("verdict.differ_see")]


def _stopped(traces: Sequence[Trace], names: Sequence[str]) -> tuple[Message, ...]:
    """That the run was stopped, and how far each lane came."""
    return (Message("verdict.stopped"), *_so_far(traces, names))


def _so_far(traces: Sequence[Trace], names: Sequence[str]) -> list[Message]:
    return [
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
    called = [trace.meta.lane for trace in traces] if names is None else list(listed("names", names, "texts"))
    if len(called) != len(traces) or not all(isinstance(name, str) for name in called):
        raise MeasureError(f"there are {len(traces)} lanes; give one name for each, as text.")
    return distinct_names(called)
