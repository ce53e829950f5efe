"""Normalise notebooks for committing: keep outputs, remove everything accidental.

    python tools/normalise_notebooks.py              # rewrite everything under notebooks/
    python tools/normalise_notebooks.py --check      # change nothing; fail if a notebook is not normalised
    python tools/normalise_notebooks.py --run        # run the notebooks first, then rewrite them

Widget views and widget state are removed: they take megabytes, and without a kernel they show an error instead of the
picture beside them. Execution counts become 1, 2, 3, …; metadata keeps the kernel, tags, and the digest of the English
text that a Chinese cell translates.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_METADATA = ("tags", "jupyter", "translates")
MADE_UP = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){0,3}(-[0-9a-f]{12})?")
CELL_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def normalised(notebook: NotebookNode) -> NotebookNode:
    """A normalised copy."""
    notebook = deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    taken: set[str] = set()
    for position, cell in enumerate(notebook.cells, start=1):
        # Ids are names that a notebook shares with its Chinese twin; an id made up by an editor becomes a number.
        given = str(cell.get("id", ""))
        cell.id = (
            given
            if CELL_ID.fullmatch(given) and given not in taken and not MADE_UP.fullmatch(given)
            else f"cell-{position:02}"
        )
        taken.add(cell.id)
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)})
        cell.source = cell.source.strip("\n")
        if cell.cell_type != "code":
            continue
        if cell.source:
            count += 1
        cell.execution_count = count if cell.source else None
        cell.outputs = _outputs(cell.outputs, cell.execution_count)
    return notebook


def _outputs(outputs: Sequence[NotebookNode], count: int | None) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type in ("display_data", "execute_result"):
            for mimes in (output.data, output.metadata):
                mimes.pop(WIDGET_VIEW, None)
            if not output.data:
                continue
            if output.output_type == "execute_result":
                output.execution_count = count
        same_stream = output.output_type == "stream" and kept and kept[-1].get("name") == output.name
        if same_stream:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run every cell in a fresh kernel; the outputs replace the old ones."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(folder)}}, store_widget_state=False
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise SystemExit(f"{error.ename}: {error.evalue}\n{error.traceback}") from None
    return notebook


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if `--check` finds a notebook that is not normalised."""
    parser = argparse.ArgumentParser(description="Normalise notebooks for committing.")
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks (all under notebooks/)")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something would change")
    parser.add_argument("--run", action="store_true", help="run the notebooks first")
    options = parser.parse_args(argv)
    paths = options.paths or sorted(p for p in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    wrong = 0
    for path in paths:
        before = path.read_text("utf-8")
        notebook = nbformat.reads(before, as_version=4)
        if options.run:
            notebook = run(notebook, path.parent)
        after = nbformat.writes(normalised(notebook)) + "\n"
        if after == before:
            continue
        if options.check:
            print(f"{path}: not normalised; run python tools/normalise_notebooks.py", file=sys.stderr)
            wrong = 1
        else:
            path.write_text(after, "utf-8")
            print(f"{path}: rewritten")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
