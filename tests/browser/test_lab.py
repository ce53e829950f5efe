"""The live board in JupyterLab: nothing is lost, controls act, and a picture outlives the kernel."""

from __future__ import annotations

from playwright.sync_api import Page, expect
import pytest

pytestmark = pytest.mark.browser

SETUP = """
import threading, time, random
from cbviz.board import LiveBoard, LaneInfo, RequestText, Finish, Board, Control
from cbviz.board import player
from cbviz.engine import Engine
from cbviz.engine.null import NullExecutor
from cbviz.memory import BlockPool
from cbviz.policies import get
from cbviz.trace import Recorder, TraceMeta
from cbviz.workload import Request, Workload

class Live:
    '''Two lanes of an engine that computes nothing, paced by the test.'''
    def __init__(self, requests=60, slots=8, mean=12, pause=0.0, prompt='Count to {}'):
        rng = random.Random(1)
        made = []
        for i in range(requests):
            n = 1 + int(rng.expovariate(1 / mean))
            made.append(Request(i, tuple(range(3, 10)), n, output_length=n, text=prompt.format(n)))
        self.workload = Workload('test', tuple(made))
        self.pause, self.going, self.stopping = pause, threading.Event(), threading.Event()
        self.single = threading.Semaphore(0)
        self.going.set()
        self.lanes, self.recorders, self.counts, self.heard = [], [], [0, 0], []
        for name in ('static', 'continuous'):
            policy, pool = get(name), BlockPool(slots * 16, 16)
            engine = Engine(NullExecutor(seconds=0.01), policy, slots=slots, pool=pool)
            engine.submit(*made)
            self.lanes.append(engine)
            self.recorders.append(Recorder(TraceMeta(policy=name, policy_summary=policy.summary, slots=slots,
                block_size=16, total_blocks=slots * 16, model='none', clock='virtual'), self.workload))
        self.board = LiveBoard([LaneInfo(r.meta.policy if hasattr(r, 'meta') else n, 'summary', slots, slots * 16)
            for r, n in zip(self.recorders, ('static', 'continuous'))], title='Race', subtitle='nothing · test', on_control=self.control)
        self.board.add_requests([RequestText(r.id, r.text, len(r.prompt), r.max_new_tokens, 0.0) for r in made])
    def control(self, c):
        self.heard.append((c.action, time.monotonic()))
        if c.action == 'pause': self.going.clear()
        if c.action == 'resume': self.going.set()
        if c.action == 'step': self.single.release()
        if c.action == 'stop': self.stopping.set(); self.going.set()
    def work(self):
        left = [0, 1]
        while left and not self.stopping.is_set():
            while not self.going.is_set():
                if self.single.acquire(timeout=0.01): break
            number = min(left, key=lambda k: self.lanes[k].now)
            event = self.lanes[number].step()
            if event is None:
                left.remove(number); continue
            self.counts[number] += 1
            self.recorders[number].add(event)
            self.board.push(number, event, {s: f' {t}' for s, t in enumerate(event.token) if t >= 0})
            if self.pause: time.sleep(self.pause)
        self.traces = [r.trace(lambda ts: [f' {t}' for t in ts]) for r in self.recorders]
        self.board.finish(Finish.of(*self.traces))
    def start(self):
        self.thread = threading.Thread(target=self.work, daemon=True); self.thread.start()
        return self.board
"""


def test_live(lab, page: Page, board, errors) -> None:
    lab.write("live.ipynb", SETUP + "\nlive = Live(pause=0.01)\nlive.start()", "live.thread.join(); print('ran', *live.counts)")
    lab.open(page, "live.ipynb")
    lab.run_cell(page, 0)
    page.wait_for_selector(".cbviz", timeout=30000)
    page.wait_for_timeout(1500)
    page.screenshot(path="/tmp/dev/lab1.png")
    lab.run_cell(page, 1)
    board("status", "finished")
    page.wait_for_timeout(500)
    page.screenshot(path="/tmp/dev/lab2.png")
    print(page.evaluate("JSON.stringify({...document.querySelector('.cbviz').dataset})"))
    print(page.locator(".jp-OutputArea-output").last.text_content())
    print(errors)
