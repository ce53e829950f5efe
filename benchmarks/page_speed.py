"""How fast the page is: from opening it to its first frame and first live iteration, and a decode step beside torch.

    python benchmarks/page_speed.py [--throttle 1 4] [--repeats 3] [--without-python] [--json FILE]

In Chromium, with the processor throttled by each factor: milliseconds from opening the file to the first frame of the
recorded race and to the model being ready, from pressing Start to the first live iteration, and those of a median
iteration of `continuous` on 8 slots; while that race ran, the mean and the 95th percentile of the time between two
frames (goals: 16.7 ms, which is 60 a second, and below 20 ms). With a scheduler in Python: from pressing Start to the
first live iteration, where Python must start first and where it is up. In node and in torch (one thread, float32): the
median of a decode step of 8 rows.
Each figure is the smallest of the repeats, because other load on the machine can only delay it; the load is printed.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Browser, sync_playwright
from result_file import write

from cbviz.config import EngineConfig
from cbviz.models import load
from cbviz.policies import get
from cbviz.run.build import build_engine, build_executor
from cbviz.view.pack import read
from cbviz.workload.tasks import task_workload

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import build_page  # noqa: E402
from page_python import NAME as PYTHON  # noqa: E402
from static_host import hosted  # noqa: E402

KEEP = """
  globalThis.frames_ = [];
  globalThis.Worker = class extends Worker {
    constructor(...given) {
      super(...given);
      const text = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
      this.addEventListener("message", ({ data }) => globalThis.frames_.push(...(data.blocks ?? []).map(text)));
    }
  };
  globalThis.firstFrame_ = 0;
  const look = () => {
    const board = document.querySelector("#stage .cbviz[data-frames]");
    if (board) globalThis.firstFrame_ = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  globalThis.moments_ = [];
  const keep = (now) => {
    if (document.body?.dataset.race === "running") globalThis.moments_.push(now);
    requestAnimationFrame(keep);
  };
  requestAnimationFrame(keep);
"""
NODE = """
import { readFileSync } from "node:fs";
const web = new URL(process.argv[1] + "/");
const { Weights } = await import(new URL("web/executor/weights.js", web));
const { Executor } = await import(new URL("web/executor/executor.js", web));
const tiny = new URL("cbviz/models/tiny/", web);
const weights = new Weights(readFileSync(new URL("model.safetensors", tiny)));
const config = JSON.parse(readFileSync(new URL("config.json", tiny), "utf8"));
for (const kernel of [new Uint8Array(readFileSync(new URL("web/executor/matmul.wasm", web))), null]) {
  const executor = new Executor(config, weights, 8, kernel);
  const slots = [0, 1, 2, 3, 4, 5, 6, 7];
  const seats = slots.map((slot) => ({ slot, tokens: [40] }));
  const times = [];
  for (let start = 0; start < 60; start++) {
    const began = performance.now();
    executor.launch({ seats: start ? [] : seats, rows: slots.map((slot) => ({ slot, start, count: 1, draws: true })) });
    times.push(performance.now() - began);
  }
  console.log(times.slice(10).sort((a, b) => a - b)[25]);
}
"""


def page(browser: Browser, address: str, throttle: float) -> dict[str, float]:
    """Milliseconds of one visit."""
    visit = browser.new_page(viewport={"width": 1440, "height": 800})
    visit.context.new_cdp_session(visit).send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    visit.add_init_script(KEEP)
    visit.goto(address)
    visit.wait_for_selector("#stage .cbviz[data-frames]")
    visit.wait_for_selector("body[data-ready=true]", timeout=120_000)
    ready = visit.evaluate("() => performance.now()")
    visit.select_option("#lane1", "continuous")
    visit.select_option("#lane2", "")
    visit.click("#start")
    visit.wait_for_selector("body[data-first]:not([data-first=''])", timeout=120_000)
    visit.wait_for_selector("body[data-race=finished]", timeout=600_000)
    frames = visit.evaluate("() => globalThis.frames_.map((frame) => btoa(frame))")
    blocks = [part for frame in frames for part in read(base64.b64decode(frame))]
    steps = [
        step for header, arrays in blocks if header["kind"] == "iterations" for step in arrays["t1"] - arrays["t0"]
    ]
    moments = visit.evaluate("() => globalThis.moments_")
    gaps = sorted(later - before for before, later in pairwise(moments))
    found = {
        "first frame": visit.evaluate("() => globalThis.firstFrame_"),
        "model ready": ready,
        "start to first iteration": float(visit.get_attribute("body", "data-first") or "nan"),
        "median iteration": 1000 * statistics.median(steps),
        "time of a frame": (moments[-1] - moments[0]) / len(gaps),
        "95 % of frames within": gaps[int(0.95 * len(gaps))],
    }
    visit.close()
    return found


def in_python(browser: Browser, address: str) -> dict[str, float]:
    """Milliseconds from Start to the first iteration of a scheduler in Python: the first race, and the next."""
    visit = browser.new_page(viewport={"width": 1440, "height": 800})
    visit.goto(address)
    visit.wait_for_selector("body[data-ready=true]", timeout=120_000)
    visit.select_option("#lane1", "yours")
    visit.select_option("#lane2", "")
    visit.select_option("#written-in", "python")
    found = {}
    for what in ("start to first iteration, Python starts", "start to first iteration, Python is up"):
        visit.click("#start")
        visit.wait_for_selector("body[data-race=running][data-first]:not([data-first=''])", timeout=120_000)
        found[what] = float(visit.get_attribute("body", "data-first") or "nan")
        visit.wait_for_selector("body[data-race=finished]", timeout=600_000)
        visit.wait_for_selector("body[data-spare=up]", timeout=120_000)
    visit.close()
    return found


def in_node() -> dict[str, float]:
    """Milliseconds of a decode step of 8 rows in node."""
    node = shutil.which("node")
    if node is None:
        return {}
    command = [node, "--input-type=module", "-e", NODE, ROOT.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fast, plain = map(float, done.stdout.split())
    return {"decode step, node, WebAssembly": fast, "decode step, node, plain JavaScript": plain}


def in_torch() -> dict[str, float]:
    """Milliseconds of a decode step of 8 rows in the engine, on one thread."""
    torch.set_num_threads(1)
    tiny = load("tiny", device="cpu", dtype="float32")
    work = task_workload(tiny.encode, 48, 0)
    config = EngineConfig(slots=8, blocks=8 * 24, block_size=16)
    engine = build_engine(build_executor(tiny, config, work), get("continuous"), config, work.arrival_unit)
    events = [event for event in engine.run(work) if event.state.tolist() == [2] * 8]
    return {"decode step, torch": 1000 * statistics.median(event.seconds for event in events)}


def best(found: list[dict[str, float]]) -> dict[str, float]:
    """The smallest of each figure."""
    return {name: round(min(one[name] for one in found), 1) for name in found[0]}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--throttle", type=float, nargs="+", default=[1.0, 4.0], help="factors for the processor")
    parser.add_argument("--repeats", type=int, default=3, help="visits of each kind")
    parser.add_argument("--without-python", action="store_true", help="leave out what needs npm once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write JSON")
    options = parser.parse_args(argv)
    repeats = range(options.repeats)
    result: dict[str, Any] = {"processors": os.cpu_count()}
    result["load"] = [round(load, 1) for load in os.getloadavg()]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        python = None if options.without_python else build_page.python_script()
        Path(folder, "index.html").write_text(build_page.page(python=python), "utf-8")
        if python is not None:
            Path(folder, PYTHON).write_text(python, "utf-8")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with hosted(Path(folder)) as address:  # from a disk no browser loads Python
            for throttle in options.throttle:
                result[f"page × {throttle:g}"] = best([page(browser, address, throttle) for _ in repeats])
            if python is not None:
                result["page"] = best([in_python(browser, address) for _ in repeats])
        browser.close()
    result["step"] = best([in_node() | in_torch() for _ in repeats])
    if options.json:
        write(options.json, __file__, argv, device="cpu", **result)
    print(f"{result['processors']} processors, load average {result['load'][0]} at the start")
    for name, figures in result.items():
        for what, milliseconds in figures.items() if isinstance(figures, dict) else ():
            print(f"{name:10} {what:38} {milliseconds:9,.1f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
