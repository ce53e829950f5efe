"""Pause, step, stop: what people do to a run from another thread, and what the run asks between two iterations."""

from __future__ import annotations

import threading


class Transport:
    """The buttons under a run. Any thread may press them; the run asks `may_go_on()` before every iteration."""

    def __init__(self) -> None:
        self._going = threading.Event()
        self._going.set()
        self._stopping = threading.Event()
        self._steps = threading.Semaphore(0)

    def pause(self) -> None:
        """Stop the clock after the iteration in flight."""
        self._going.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        self._going.set()

    def step_once(self) -> None:
        """While paused: run one more iteration."""
        self._steps.release()

    def stop(self) -> None:
        """End after the iteration in flight."""
        self._stopping.set()
        self._going.set()

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    def may_go_on(self) -> bool:
        """Wait while paused; False once the run is to stop."""
        while not self._going.wait(timeout=0.05):
            if self._steps.acquire(blocking=False):
                return True
        return not self.stopped

    def rest(self, seconds: float) -> None:
        """Let time pass on the wall, unless somebody stops the run."""
        self._stopping.wait(seconds)
