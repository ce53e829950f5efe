"""The requests that a simulation is asked for, by laws or of a file: one rule for `cbviz.sweep` and `cbviz simulate`.

Whatever would change nothing is refused by name: a table or a report must not carry a label that does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cbviz.checks import shown
from cbviz.checks import whole as checked_whole
from cbviz.errors import WorkloadError
from cbviz.limits import LONGEST_SECONDS, MOST_SIMULATED
from cbviz.simulator.work import Work
from cbviz.workload import AllAtOnce, ExponentialClipped, Fixed, GammaBursty, Traffic, Uniform
from cbviz.workload.arrivals import ArrivalProcess, ClosedLoop
from cbviz.workload.checks import BEYOND_INT32, amount, mean_in_range, positive, rate_in_time, whole
from cbviz.workload.lengths import LengthLaw

ONLY_DRAWN = ("lengths", "output_tokens", "prompt_tokens", "burstiness")
"""Parameters of requests that are drawn; those of a file have their own."""
USUAL_LENGTHS = "exponential"
USUAL_TOKENS = 128
"""Of prompts, and the mean of outputs."""
LONGEST_IN_MEANS = {"exponential": 4, "uniform": 2, "fixed": 1}
"""How often the longest output of a law contains its mean, where the longest is not given."""


@dataclass(frozen=True, slots=True)
class AskedWork:
    """What was said of the requests; None where nothing was.

    Parameters
    ----------
    rate, clients
        Requests a second, or clients of a closed loop; neither lets all come at once, or when the file says.
    burstiness
        Shape of the gaps at a rate; None is 1, Poisson.
    lengths
        "exponential" (as is None), "uniform" from 1 on, or "fixed".
    output_tokens
        The mean of the law, before an exponential one is clipped; None is 128.
    max_new_tokens
        The longest output. None is 4 times the mean of an exponential law, and what the mean makes it in the others;
        a uniform law of which only this is given has the mean that follows. Longer outputs of a file are cut.
    prompt_tokens
        Of every prompt; None is 128.
    written
        How messages write the name of a parameter.
    file
        What messages call the parameter that names a file.
    """

    rate: float | None = None
    clients: int | None = None
    burstiness: float | None = None
    lengths: str | None = None
    output_tokens: int | None = None
    max_new_tokens: int | None = None
    prompt_tokens: int | None = None
    written: Callable[[str], str] = str
    file: str = "trace"

    def check(self, *, of_file: bool) -> None:
        """Raise WorkloadError for parameters that exclude each other, or that would change nothing."""
        say = self.written
        if self.rate is not None and self.clients is not None:
            raise WorkloadError(
                f"{say('rate')} and {say('clients')} exclude each other: in a closed loop the clients set the rate."
            )
        if of_file:
            for name in ONLY_DRAWN:
                if getattr(self, name) is not None:
                    raise self.only_drawn(name)
        elif self.burstiness is not None and self.rate is None:
            raise WorkloadError(f"{say('burstiness')} is about arrivals at a rate; give {say('rate')}, too.")

    def only_drawn(self, name: str) -> WorkloadError:
        """What is said of a parameter that requests of a file do not have."""
        return WorkloadError(
            f"{self.written(name)} describes requests that are drawn; {self.file} takes them from a file, so leave one "
            "of both out."
        )

    def drawn(self, requests: int, seed: int) -> Work:
        """So many requests, drawn from the laws. Raises WorkloadError where they cannot be."""
        self.check(of_file=False)
        prompt = USUAL_TOKENS if self.prompt_tokens is None else self._tokens("prompt_tokens", self.prompt_tokens)
        law, arrivals = self._law(), self._arrivals()
        if self.rate is not None:
            rate_in_time(self.written("rate"), self.rate, amount("the number of requests", requests))
        return Work.draw(requests, law, arrivals, prompt_tokens=prompt, seed=seed)

    def served(self, traffic: Traffic) -> Traffic:
        """Requests of a file with arrivals and longest outputs as asked for. Raises WorkloadError."""
        self.check(of_file=True)
        if self.max_new_tokens is not None:
            traffic = traffic.clipped(output_tokens=self._tokens("max_new_tokens", self.max_new_tokens))
        if self.clients is not None:
            return traffic.with_arrivals(self._arrivals())
        if self.rate is None:
            return traffic
        if math.isinf(traffic.rate):
            raise WorkloadError(
                f"all requests of {traffic.name} come at once, and {self.written('rate')} stretches the gaps between "
                f"requests; leave it out, or give {self.written('clients')}."
            )
        rate = positive(self.written("rate"), self.rate)
        rate_in_time(self.written("rate"), rate, len(traffic))
        return traffic.at_rate(rate)

    def may_come_late(self, requests: int) -> bool:
        """Whether one of so many drawn requests may arrive later than a clock allows, which depends on the seed.

        Arrivals at a rate are sums of gamma variables: with n · burstiness = k, P(Gamma(k) > 2k + 100) is below
        2ᵏ · exp(-k - 50), which is less than 1 in 10²¹ (Chernoff's bound at ½).
        """
        arrivals = self._arrivals()
        if not isinstance(arrivals, GammaBursty):
            return False
        return (2 * requests + 100 / arrivals.burstiness) / arrivals.rate > LONGEST_SECONDS

    def _arrivals(self) -> ArrivalProcess:
        if self.clients is not None:
            return ClosedLoop(
                checked_whole(self.written("clients"), self.clients, 1, MOST_SIMULATED, error=WorkloadError)
            )
        if self.rate is None:
            return AllAtOnce()
        shape = 1.0 if self.burstiness is None else positive(self.written("burstiness"), self.burstiness)
        return GammaBursty(positive(self.written("rate"), self.rate), shape)

    def _law(self) -> LengthLaw:
        """The law of outputs: its mean is output_tokens, or it is refused."""
        say = self.written
        name = USUAL_LENGTHS if self.lengths is None else self.lengths
        if not isinstance(name, str) or name not in LONGEST_IN_MEANS:
            raise WorkloadError(f"{say('lengths')} must be exponential, uniform or fixed, not {shown(name)}.")
        most = None if self.max_new_tokens is None else self._tokens("max_new_tokens", self.max_new_tokens)
        mean = USUAL_TOKENS
        if self.output_tokens is not None:
            mean = self._tokens("output_tokens", self.output_tokens)
            if most is None:
                mean_in_range(say("output_tokens"), mean, LONGEST_IN_MEANS[name], say("max_new_tokens"))
        if name == "fixed":
            if most is not None:
                raise WorkloadError(
                    f"{say('lengths')} fixed gives every output {say('output_tokens')} tokens, so leave "
                    f"{say('max_new_tokens')} out."
                )
            return Fixed(mean)
        if name == "uniform":
            high = 2 * mean - 1 if most is None else most
            if most is not None and self.output_tokens is not None and most != 2 * mean - 1:
                raise WorkloadError(
                    f"{say('lengths')} uniform is from 1 to {say('max_new_tokens')}: {most} makes its mean "
                    f"{(1 + most) / 2:g}, and {say('output_tokens')} is {mean}; leave one of both out."
                )
            return Uniform(1, high)
        if most is not None and most < mean:
            raise WorkloadError(
                f"{say('max_new_tokens')} {most} is below {say('output_tokens')} {mean}; outputs could not be that "
                "long."
            )
        return ExponentialClipped(mean, LONGEST_IN_MEANS[name] * mean if most is None else most)

    def _tokens(self, name: str, value: int) -> int:
        return whole(self.written(name), value, below=BEYOND_INT32)
