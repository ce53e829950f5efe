// Boards take light or dark from what lies behind them, and look again when `data-theme` changes. The theme of this site
// calls it by another name.
const sayTheme = () => (document.body.dataset.theme = document.body.dataset.mdColorScheme);
new MutationObserver(sayTheme).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] });
sayTheme();
