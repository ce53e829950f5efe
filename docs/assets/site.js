// Boards take their light or dark theme from the background, and check again when `data-theme` changes. This site's theme
// uses another attribute, so copy its value.
const sayTheme = () => (document.body.dataset.theme = document.body.dataset.mdColorScheme);
new MutationObserver(sayTheme).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] });
sayTheme();
