"""A live board on a page of its own: a stand-in for the widget's model holds the state and writes down what is sent."""

from __future__ import annotations

import base64
import json
from typing import Any

from cbviz.view.js_source import joined
from cbviz.view.player import style

HOOKS = "export default { initialize, render };"


def page(state: dict[str, Any], run: bytes = b"") -> str:
    """A page with a live board.

    Parameters
    ----------
    state
        The widget's state: `_meta`, `_status`, `_knobs`, `_actions`, `_language`.
    run
        The run so far, as blocks.

    Returns
    -------
    str
        The HTML document. On the page, `sent` lists the board's messages, and `change(name, value)` is the kernel's.
    """
    module = joined().replace("</script", "<\\/script")
    assert HOOKS in module
    module = module.replace(HOOKS, "globalThis.hooks = { initialize, render };")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Live board</title><style>
:root {{ color-scheme: light dark; background: #ffffff; }}
@media (prefers-color-scheme: dark) {{ :root {{ background: #111418; }} }}
body {{ margin: 0; padding: 0; }}
{style()}</style></head><body><main id="board"></main><script type="module">
{module}
const state = {json.dumps(state)};
state._run = new DataView(Uint8Array.from(atob("{base64.b64encode(run).decode()}"), (c) => c.charCodeAt(0)).buffer);
const listeners = {{}};
globalThis.sent = [];
globalThis.change = (name, value) => {{ state[name] = value; listeners["change:" + name]?.(); }};
const model = {{
  get: (name) => state[name], on: (name, act) => (listeners[name] = act), off: (name) => delete listeners[name],
  send: (message) => sent.push(message),
}};
hooks.initialize({{ model }});
hooks.render({{ model, el: document.getElementById("board") }});
</script></body></html>"""
