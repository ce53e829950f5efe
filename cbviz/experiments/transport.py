"""Pause, step, stop: what is asked of a run from another thread, and what the run asks between two iterations."""

from __future__ import annotations

import atexit
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self
from weakref import WeakSet

from cbviz.board.cell import attended
from cbviz.engine.thinking import hurry
from cbviz.errors import CbvizError
from cbviz.experiments.notebook import Outputs

LAST_THOUGHT = 0.2
"""Seconds that a policy may go on planning once its run is to stop. With the time between two looks at the clock
(`cbviz.engine.thinking.POLL`) that is less than half a second."""
LEAVING = 5.0
"""Seconds that a cell which is run again waits for the end of what it started before, so that there are never two."""


_running: WeakSet[Controlled] = WeakSet()


@atexit.register
def _stop_all() -> None:
    """A script that ends stops what it started: a thread that is still in PyTorch then would abort the process."""
    runs = [run for run in list(_running) if run.started and run.running]
    for run in runs:
        run.stop()
    for run in runs:
        run.join(LEAVING)


class Stopped(BaseException):
    """Raised inside work that looks whether its run is to stop, between two parts of it; it never leaves the run.

    No `Exception`, so that what catches errors on the way lets it through.
    """


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
        self._left = self._begun = self._handed_over = False
        self._claiming = threading.Lock()
        _running.add(self)

    @abstractmethod
    def run(self) -> Any:
        """Run to the end in this thread, within `_to_the_end()`."""

    @contextmanager
    def _to_the_end(self, tell: Callable[[], None]) -> Iterator[None]:
        """Around the run: keeps what broke it in `failure`, and calls `tell` when it is over."""
        self._claim()
        self._runner = threading.current_thread()
        try:
            yield
        except Stopped:
            pass
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._done.set()
            try:
                tell()
            finally:
                self._told.set()
                if self._left:
                    self._close()

    def _claim(self, *, for_a_thread: bool = False) -> None:
        """This caller runs it; raises CbvizError if another one did. `start` claims for the thread that it makes."""
        with self._claiming:
            if self._handed_over and not for_a_thread:
                self._handed_over = False
                return
            if self._begun:
                raise CbvizError(
                    f"this {self._name} was started before, and runs once; make a new one to run it again."
                )
            self._begun, self._handed_over = True, for_a_thread

    def start(self) -> Self:
        """Run in a thread of its own, so that a notebook stays usable. Raises CbvizError if it was started before."""

        def work() -> None:
            try:
                self.run()
            except BaseException:  # kept in `failure`, and raised where a result is asked for
                return

        self._claim(for_a_thread=True)
        threading.Thread(target=work, name=f"cbviz {self._name}", daemon=True).start()
        return self

    @property
    def started(self) -> bool:
        """Whether it runs, or has run."""
        return self._begun

    def join(self, seconds: float) -> None:
        """Wait that long at most for its end, whatever the end is."""
        self._told.wait(seconds)

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
        """End with the pass in flight, at most half a second after it, whatever is queued. What was run is kept.

        Graphs that are being captured end with the one in hand. A plan that is still being made after that time is
        broken off, which is the policy's failure.
        """
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
            if threading.current_thread() is not self._runner:  # telling of the end asks for results, too
                self._told.wait()
        except KeyboardInterrupt:
            self.stop()
            self._done.wait()
            raise
        if self.failure is not None:
            raise self.failure
        return self

    def leave(self) -> None:
        """The cell that started it is run again: stop, and close the board. What was run stays readable."""
        self._left = True
        self.stop()
        if not self._begun or (self._runner is not threading.current_thread() and self._told.wait(LEAVING)):
            self._close()

    def _close(self) -> None:
        """Close the board and let it go."""
        board, self.board = self.board, None
        if board is not None:
            board.close()

    def settle(self) -> None:
        """Wait for the end, however it came: what broke the run is raised only if there is nothing to show of it."""
        try:
            self.wait()
        except BaseException as error:
            if error is not self.failure or not self._has_run():
                raise

    @abstractmethod
    def _has_run(self) -> bool:
        """Whether there is a trace of it."""

    def _ipython_display_(self) -> None:
        """While it runs: the live board, to be replaced at the end. Else IPython is asked to take the mime bundle.

        Where no front end can show a board, the output would stay what it is when its cell ends: so it is waited for.
        """
        if self._begun and self.running and self.board is not None and not attended():
            self._until_shown()
            if self.running:
                self.outputs.show_kept(self.kept())
                return
        if not self.running or self.board is None:
            raise NotImplementedError  # IPython's way to decline
        self.outputs.show(self.board)

    def _until_shown(self) -> None:
        """Wait until there is something to keep: the end, in whatever way it comes."""
        self._going.set()
        try:
            self._told.wait()
        except KeyboardInterrupt:
            self.stop()
            self._told.wait()
            raise

    @abstractmethod
    def kept(self) -> dict[str, str]:
        """What a notebook keeps of it: a mime bundle."""

    @property
    def running(self) -> bool:
        return not self._done.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before its end."""
        return self._stopping.is_set()

    def _may_go_on(self) -> bool:
        """Wait while paused; False once the run is to stop."""
        while not self._going.wait(timeout=0.05):
            if self._single_steps.acquire(blocking=False):
                return True
        return not self.stopped

    def _keep_going(self) -> None:
        """Look whether the run is to stop, between two parts of something long. Raises Stopped if it is."""
        if self.stopped:
            raise Stopped

    def _rest(self, seconds: float) -> None:
        """Let time pass on the wall, unless the run is stopped."""
        self._stopping.wait(seconds)
