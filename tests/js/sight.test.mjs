import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Element, page } from "./page.mjs";
import { load } from "./modules.mjs";

const { keepInSight, opening, wayTo } = await load("sight");

/** A board in a panel that scrolls, at a height above the upper edge of the window. */
function placed(top, height = 500) {
  const panel = Object.assign(new Element("div"), { scrollHeight: 3000, clientHeight: 700, overflow: "auto", box: { top: 90, bottom: 790 } });
  const board = Object.assign(new Element("section"), { box: { top, bottom: top + height } });
  panel.append(board);
  document.body.append(panel);
  return { panel, board };
}

test("what scrolls around a board cuts what can be seen of it", () => {
  const { panel, board } = placed(0);
  assert.deepEqual(opening(board), { top: 90, bottom: 790 });
  panel.overflow = "visible";
  assert.deepEqual(opening(board), { top: 0, bottom: 800 });
  Object.assign(panel, { overflow: "auto", scrollHeight: 700 });
  assert.deepEqual(opening(board), { top: 0, bottom: 800 }, "it has nothing to scroll");
  panel.remove();
});

test("a board that fits is shown whole, one that does not from its upper end", () => {
  const room = { top: 90, bottom: 790 };
  assert.equal(wayTo({ top: 90, bottom: 650 }, room), null);
  assert.equal(wayTo({ top: 80, bottom: 640 }, room), "center", "its title is cut");
  assert.equal(wayTo({ top: 300, bottom: 860 }, room), "center");
  assert.equal(wayTo({ top: 20, bottom: 920 }, room), "start");
  assert.equal(wayTo({ top: 100, bottom: 1000 }, room), null);
});

test("a page that moves the board away is scrolled again, until it rests or the viewer acts", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { panel, board } = placed(900);
  const look = () => {
    board.scrolled = null;
    mock.timers.tick(350);
    return board.scrolled;
  };
  keepInSight(board, () => false);
  assert.deepEqual(look(), { block: "center", behavior: "smooth" });
  assert.equal(board.dataset.came, "900");
  board.box = { top: 200, bottom: 700 };
  assert.equal(look(), null);
  board.box = { top: 1432, bottom: 1932 }; // the cells above are laid out
  assert.deepEqual(look(), { block: "center", behavior: "auto" });
  board.box = { top: 200, bottom: 700 };
  for (let looks = 0; looks < 6; looks++) assert.equal(look(), null);
  board.box = { top: 1432, bottom: 1932 };
  assert.equal(look(), null, "the page was at rest: this is the viewer's doing");

  keepInSight(board, () => true);
  assert.deepEqual(look(), { block: "center", behavior: "auto" });
  window.fire("wheel");
  assert.equal(look(), null);
  board.scrolled = null;
  panel.remove();
  keepInSight(board, () => true);
  for (let looks = 0; looks < 40; looks++) assert.equal(look(), null);
  document.body.append(panel);
  assert.equal(look(), null, "one that never comes onto the page is given up");
  mock.timers.reset();
  panel.remove();
  page.observers.length = 0;
});
