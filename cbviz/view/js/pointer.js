/* Mouse and fingers over a lane: drag pans, a drag on the axis moves the time, two fingers or Ctrl + wheel zoom. */

import { GUTTER } from "./layout.js";

/** @import { Plot } from "./plot.js" */
/** @import { View } from "./view.js" */

/**
 * @param {View} view
 * @param {Plot} plot
 * @param {(x: number, y: number, event: PointerEvent | null) => void} point where the pointer is, in px of the cells; null: it has left
 */
export function listenToPointer(view, plot, point) {
  const { element } = plot;
  /** Positions of the pointers that are down. @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  let moved = false;
  let scrubbing = false;
  let spread = 0;
  const place = (/** @type {PointerEvent | WheelEvent} */ event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left - GUTTER, y: event.clientY - box.top };
  };
  const pinch = () => {
    const [a, b] = [...down.values()];
    const apart = Math.hypot(a.x - b.x, a.y - b.y);
    if (spread > 0 && apart > 0) view.zoom(apart / spread, (a.x + b.x) / 2);
    spread = apart;
    moved = true;
  };
  element.addEventListener("pointerdown", (event) => {
    const at = place(event);
    down.set(event.pointerId, at);
    element.setPointerCapture(event.pointerId);
    moved = false;
    spread = 0;
    scrubbing = down.size === 1 && at.y > plot.heights.top + plot.heights.rows + 4;
    if (!scrubbing) return;
    view.pauseView();
    view.moveTo(view.camera.axis.value(at.x), true);
  });
  element.addEventListener("pointermove", (event) => {
    const at = place(event);
    const before = down.get(event.pointerId);
    if (!before) point(at.x, at.y, event);
    else if (down.size === 2) {
      down.set(event.pointerId, at);
      pinch();
    } else if (scrubbing) view.moveTo(view.camera.axis.value(at.x), true);
    else if (moved || Math.abs(at.x - before.x) > 3) {
      view.pan(before.x - at.x);
      down.set(event.pointerId, at);
      moved = true;
    }
  });
  const up = (/** @type {PointerEvent} */ event) => {
    if (!down.delete(event.pointerId) || moved || scrubbing || event.type !== "pointerup") return;
    const at = place(event);
    point(at.x, at.y, event);
    view.pin(view.hovered);
  };
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);
  element.addEventListener("pointerleave", () => {
    if (!down.size) point(-1, -1, null);
  });
  element.addEventListener("dblclick", () => view.fit());
  element.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.004)), place(event).x);
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        view.pan((event.deltaX || event.deltaY) * (event.deltaMode ? 16 : 1));
      }
    },
    { passive: false },
  );
}
