"""Pause, step, stop: requests to a run from another thread, and the checks that the run makes between iterations."""

from __future__ import annotations

import atexit
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Self
from weakref import WeakSet

from cbviz.core.watcher import hurry
from cbviz.errors import CbvizError
from cbviz.run.notebook import CellOutputs
from cbviz.view.cell import attended
from cbviz.view.player import element_of
from cbviz.view.summary import Outcome

LAST_THOUGHT = 0.2
"""Seconds that a policy may keep planning once its run has been stopped. Together with the polling interval
(`cbviz.core.watcher.SECONDS_BETWEEN_CHECKS`) that is less than half a second."""
LEAVING = 5.0
"""Seconds that a rerun cell waits for its earlier run to end, so that there are never two."""


_running: WeakSet[ControlledRun] = WeakSet()


def _stop_all() -> None:
    """Stop every run when the script ends: a thread still inside PyTorch would then abort the process."""
    runs = [run for run in list(_running) if run.started and run.running]
    for run in runs:
        run.stop()
    for run in runs:
        run.join(LEAVING)
    with suppress(Exception):  # a kernel's thread sends what was shown: its stream waits for that, others do no harm
        sys.stdout.flush()


def _stop_all_at_exit() -> None:
    """Have `_stop_all` called at exit before everything that is registered so far: Python goes from last to first.

    A kernel sends what is longer than 64 KiB, such as a picture, with the help of a thread of pyzmq, whose module is
    imported late and then registers the end of that thread. Without the thread such a message breaks off in the middle,
    and the page takes the next one for its rest.
    """
    if "zmq" in sys.modules:
        import_module("zmq.utils.garbage")
    atexit.unregister(_stop_all)
    atexit.register(_stop_all)


class Stopped(BaseException):
    """Raised inside long work when its run has been stopped; it never leaves the run.

    It is not an `Exception`, so that error handlers on the way let it through.
    """


class ControlledRun(ABC):
    """A run with a board's controls. Any thread may use them; the run calls `_may_go_on()` between iterations.

    Parameters
    ----------
    name
        The name of the run in messages, such as "race".
    """

    def __init__(self, name: str) -> None:
        self.failure: BaseException | None = None
        """The error that broke the run, if any."""
        self.board: Any = None
        """The live board, if there is one."""
        self.outputs = CellOutputs()
        """The notebook outputs that show it."""
        self.awaits_start = False
        """Whether its board offers a Start button: whatever needs its result then starts it, too."""
        self._name = name
        self._going = threading.Event()
        self._going.set()
        self._stopping = threading.Event()
        self._single_steps = threading.Semaphore(0)
        self._done = threading.Event()
        self._reported = threading.Event()
        self._runner: threading.Thread | None = None
        self._left = self._begun = self._handed_over = False
        self._claiming = threading.Lock()
        _running.add(self)

    @abstractmethod
    def run(self) -> Any:
        """Run to the end in this thread, within `_to_the_end()`."""

    @contextmanager
    def _to_the_end(self, tell: Callable[[], None]) -> Iterator[None]:
        """Context of the run: keeps an error in `failure`, and calls `tell` at the end."""
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
                self._reported.set()
                if self._left:
                    self._close()

    def _claim(self, *, for_a_thread: bool = False) -> None:
        """Claim the run for this caller; raises CbvizError if it is taken. `start` claims for the thread it makes."""
        with self._claiming:
            if self._handed_over and not for_a_thread:
                self._handed_over = False
                return
            if self._begun:
                raise CbvizError(
                    f"this {self._name} has been started and can run only once; make a new one to run it again."
                )
            self._begun, self._handed_over = True, for_a_thread
        _stop_all_at_exit()
        if self.board is not None:
            self.board.begin()

    def start(self) -> Self:
        """Run in its own thread, so that a notebook stays usable. Raises CbvizError if it was started before."""

        def work() -> None:
            try:
                self.run()
            except BaseException:  # kept in `failure`, and raised when the caller asks for a result
                return

        self._claim(for_a_thread=True)
        threading.Thread(target=work, name=f"cbviz {self._name}", daemon=True).start()
        return self

    def restart(self) -> None:
        """Drop the run that has ended, and run once more from the beginning, in a thread of its own, on the same board.

        Raises
        ------
        CbvizError
            It has not been started, has not ended, or its cell has run again.
        """
        if not self._begun:
            raise CbvizError(f"this {self._name} has not been started; there is nothing to restart.")
        if self._left:
            raise CbvizError(f"the cell of this {self._name} has run again; restart the new one.")
        if not (self._done.is_set() and self._reported.wait(LEAVING)):
            raise CbvizError(f"this {self._name} is still running; stop it first.")
        self._forget()
        with self._claiming:
            self._begun = self._handed_over = False
            self._single_steps = threading.Semaphore(0)
            self.failure = None
            self._going.set()
            for event in (self._stopping, self._done, self._reported):
                event.clear()
        if self.board is not None:
            self.board.restart()
            self._fill_board()
            self.outputs.show_again(self.board)
        self.start()

    @abstractmethod
    def _forget(self) -> None:
        """Drop the run that has ended, before a restart."""

    @abstractmethod
    def _fill_board(self) -> None:
        """Put what the board shows before the first iteration on an empty board."""

    def show_end(self, outcome: Callable[[], Outcome]) -> None:
        """Show how the run ended on its board, and in the notebook what a saved one keeps.

        Parameters
        ----------
        outcome
            Its result, asked for if nothing broke the run.
        """
        board = self.board
        if board is None:
            return
        if self.failure is None:
            board.finish(outcome())
        else:
            board.fail(str(self.failure))
        kept = self.kept()
        board.kept_as(element_of(kept))
        self.outputs.replace(kept)

    @property
    def started(self) -> bool:
        """Whether it is running or has run."""
        return self._begun

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` for the end, whether it succeeds or fails."""
        self._reported.wait(seconds)

    def pause(self) -> None:
        """Pause after the iteration in flight; the clocks stop."""
        self._going.clear()

    def resume(self) -> None:
        """Continue after a pause."""
        self._going.set()

    def step_once(self) -> None:
        """While paused: run one more iteration."""
        self._single_steps.release()

    def stop(self) -> None:
        """End after the pass in flight, at most half a second later, whatever is queued. The trace so far is kept.

        Graph capture stops after the current graph. A plan that takes longer than that is aborted, and counts as a
        failure of the policy.
        """
        self._stopping.set()
        self._going.set()
        if self._runner is not None:
            hurry(self._runner.ident, LAST_THOUGHT)

    def end(self) -> None:
        """Stop; a run that has not begun ends before its first iteration, so that its board shows an end too."""
        self.stop()
        self._start_unless_begun()

    def _start_unless_begun(self) -> None:
        with suppress(CbvizError):  # it was started before
            self.start()

    def wait(self, timeout: float | None = None) -> Self:
        """Wait for the end and return the run; a paused run continues, and one that waits for its Start is started.

        Parameters
        ----------
        timeout
            Seconds to wait at most; None waits without limit.

        Raises
        ------
        TimeoutError
            The run did not end in time.
        CbvizError
            The error that broke the run, or it was never started and would never end.
        KeyboardInterrupt
            The wait was interrupted; the run stops after its iteration in flight.
        """
        if self.awaits_start:
            self._start_unless_begun()
        if timeout is None and not self._begun:
            raise CbvizError(f"this {self._name} has not been started; call run() or start() first.")
        self._going.set()
        try:
            if not self._done.wait(timeout):
                raise TimeoutError(f"the {self._name} had not ended after {timeout} seconds.")
            if threading.current_thread() is not self._runner:  # the callback at the end also asks for results
                self._reported.wait()
        except KeyboardInterrupt:
            self.stop()
            self._done.wait()
            raise
        if self.failure is not None:
            raise self.failure
        return self

    def leave(self) -> None:
        """Stop and close the board, because the cell that started the run runs again. The trace stays readable."""
        self._left = True
        self.stop()
        if not self._begun or (self._runner is not threading.current_thread() and self._reported.wait(LEAVING)):
            self._close()

    def _close(self) -> None:
        """Close the board and drop the reference to it."""
        board, self.board = self.board, None
        if board is not None:
            board.close()

    def settle(self) -> None:
        """Wait for the end, however it comes; an error that broke the run is raised only if there is no trace."""
        try:
            self.wait()
        except BaseException as error:
            if error is not self.failure or not self._has_run():
                raise

    @abstractmethod
    def _has_run(self) -> bool:
        """Whether there is a trace of it."""

    def _ipython_display_(self) -> None:
        """While it runs, show the live board, to be replaced at the end; otherwise IPython shows the mime bundle.

        Without a front end that can show a board, the output is final when its cell ends, so we wait for the run.
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
        """Wait until there is something to keep: the end, however it comes."""
        self._going.set()
        try:
            self._reported.wait()
        except KeyboardInterrupt:
            self.stop()
            self._reported.wait()
            raise

    @abstractmethod
    def kept(self) -> dict[str, str]:
        """The mime bundle that a saved notebook keeps."""

    @property
    def running(self) -> bool:
        """Whether it has started and not ended."""
        return not self._done.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before its end."""
        return self._stopping.is_set()

    def _may_go_on(self) -> bool:
        """Wait while paused; returns False once the run has been stopped."""
        while not self._going.wait(timeout=0.05):
            if self._single_steps.acquire(blocking=False):
                return True
        return not self.stopped

    def _keep_going(self) -> None:
        """Raise Stopped if the run has been stopped; long work calls this between its parts."""
        if self.stopped:
            raise Stopped

    def _rest(self, seconds: float) -> None:
        """Sleep, unless the run is stopped."""
        self._stopping.wait(seconds)
