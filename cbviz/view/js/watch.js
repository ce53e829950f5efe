/* Watches the page around a board: its size, whether it is on screen, its theme. */

/** Attributes by which notebooks and pages switch their theme. */
const THEME_ATTRIBUTES = ["class", "style", "data-jp-theme-light", "data-jp-theme-name", "data-theme", "data-vscode-theme-kind"];
const THEME_QUERIES = ["(prefers-color-scheme: dark)", "(forced-colors: active)"];

/**
 * Watches until `stop` is called.
 * @param {HTMLElement} root
 * @param {{resized: () => void, seen: (visible: boolean) => void, themed: () => void}} on
 * @returns {{alsoResized: (element: Element) => void, stop: () => void}} `alsoResized` watches the size of one more element
 */
export function watchPage(root, on) {
  const sizes = new ResizeObserver(() => on.resized());
  sizes.observe(root);
  const places = new IntersectionObserver((entries) => on.seen(entries[entries.length - 1].isIntersecting));
  places.observe(root);
  const themes = new MutationObserver(() => on.themed());
  for (const element of [document.documentElement, document.body])
    if (element) themes.observe(element, { attributes: true, attributeFilter: THEME_ATTRIBUTES });
  const queries = THEME_QUERIES.map((query) => window.matchMedia(query));
  const themed = () => on.themed();
  for (const query of queries) query.addEventListener("change", themed);
  return {
    alsoResized: (element) => sizes.observe(element),
    stop: () => {
      for (const observer of [sizes, places, themes]) observer.disconnect();
      for (const query of queries) query.removeEventListener("change", themed);
    },
  };
}
