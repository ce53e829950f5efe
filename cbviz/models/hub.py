"""Fetch a model from the Hugging Face hub, or from its local cache."""

from __future__ import annotations

from pathlib import Path

from cbviz.errors import ModelError
from cbviz.models.folder import first_line

FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
"""The files to fetch: no pickled weights, no code."""


def fetch(repository: str, progress: bool = True) -> Path:
    """Return the folder of a model on the hub, downloading it if it is not in the cache.

    Without a network it takes the newest cached copy. It respects HF_ENDPOINT and HF_HOME.

    Raises ModelError if the hub does not know the model or requires a login, or if it cannot be reached and the cache
    is empty.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    bars = not are_progress_bars_disabled()
    if not progress:
        disable_progress_bars()
    try:
        return Path(snapshot_download(repository, allow_patterns=FILES, ignore_patterns=["*/*"], etag_timeout=10))
    except GatedRepoError as error:
        raise ModelError(
            f"{repository} is gated on the Hugging Face hub: accept its licence there and run `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"the Hugging Face hub has no model {repository}, or it is private.") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"cannot reach the Hugging Face hub, and {repository} is not in its cache; connect to a network, give the "
            "folder of a model you have, or use 'tiny', which needs none."
        ) from error
    except Exception as error:  # the hub's client, its HTTP library and the disk each raise their own
        raise ModelError(f"cannot fetch {repository} from the Hugging Face hub: {first_line(error)}") from error
    finally:
        if bars:
            enable_progress_bars()
