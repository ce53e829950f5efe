"""Pause, step, stop: what people do to a run from another thread, and what the run asks between two iterations."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from cbviz.engine.thinking import hurry
from cbviz.experiments.notebook import Outputs

LAST_THOUGHT = 2.0
"""Seconds that a policy may go on planning when its run was told to stop."""


class Controlled(ABC):
    """A run with the buttons under a board. Any thread may press them; the run asks `_may_go_on()` between iterations.

    Parameters
    ----------
    name
        What it is called in messages, such as "race".
    """

    def __init__(self, name: str) -> None:
        self.failure: BaseException | None = None
        """What broke the run, if something did."""
        self.board: Any = None
        """The live board that watches, if one does."""
        self.outputs = Outputs()
        """Where a notebook shows it."""
        self._name = name
        self._going = threading.Event()
        self._going.set()
        self._stopping = threading.Event()
        self._single_steps = threading.Semaphore(0)
        self._done = threading.Event()
        self._told = threading.Event()
        self._runner: threading.Thread | None = None

    @abstractmethod
    def run(self) -> Any:
        """Run to the end in this thread, within `_to_the_end()`."""

    @contextmanager
    def _to_the_end(self, tell: Callable[[], None]) -> Iterator[None]:
        """Around the run: keeps what broke it in `failure`, and has whoever watches told when it is over."""
        self._runner = threading.current_thread()
        try:
            yield
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._done.set()
            try:
                tell()
            finally:
                self._told.set()

    def start(self) -> Self:
        """Run in a thread of its own, so that a notebook stays usable."""

        def work() -> None:
            try:
                self.run()
            except BaseException:  # kept in `failure`; whoever asks for a result gets it
                return

        threading.Thread(target=work, name=f"cbviz {self._name}", daemon=True).start()
        return self

    def pause(self) -> None:
        """Stop the clocks after the iteration in flight."""
        self._going.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        self._going.set()

    def step_once(self) -> None:
        """While paused: run one more iteration."""
        self._single_steps.release()

    def stop(self) -> None:
        """End after the iteration in flight. What was run is kept."""
        self._stopping.set()
        self._going.set()
        if self._runner is not None:
            hurry(self._runner.ident, LAST_THOUGHT)

    def wait(self, timeout: float | None = None) -> Self:
        """Wait for the end (what is paused goes on), at most `timeout` seconds, and return the run.

        Raises
        ------
        TimeoutError
            It was not over in time.
        CbvizError
            Whatever stopped it.
        KeyboardInterrupt
            The wait was interrupted: the run was stopped after its iteration in flight.
        """
        self._going.set()
        try:
            if not self._done.wait(timeout):
                raise TimeoutError(f"the {self._name} was not over after {timeout} seconds.")
            if threading.current_thread() is not self._runner:  # who tells of the end asks for results, too
                self._told.wait()
        except KeyboardInterrupt:
            self.stop()
            self._done.wait()
            raise
        if self.failure is not None:
            raise self.failure
        return self

    def _ipython_display_(self) -> None:
        """While it runs: the live board, to be replaced at the end. Else IPython is told to take the mime bundle."""
        if not self.running or self.board is None:
            raise NotImplementedError  # IPython's way to decline
        self.outputs.show(self.board)

    @property
    def running(self) -> bool:
        return not self._done.is_set()

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped it before its end."""
        return self._stopping.is_set()

    def _may_go_on(self) -> bool:
        """Wait while paused; False once the run is to stop."""
        while not self._going.wait(timeout=0.05):
            if self._single_steps.acquire(blocking=False):
                return True
        return not self.stopped

    def _rest(self, seconds: float) -> None:
        """Let time pass on the wall, unless somebody stops the run."""
        self._stopping.wait(seconds)
