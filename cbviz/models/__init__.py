"""Find, load and describe a model."""

from cbviz.models import quiet_imports as quiet_imports  # before anything imports transformers
from cbviz.models.detokenizer import PieceStream
from cbviz.models.find import as_loaded, catalogue, load
from cbviz.models.int8 import quantised
from cbviz.models.loaded import LoadedModel

__all__ = ["LoadedModel", "PieceStream", "as_loaded", "catalogue", "load", "quantised"]
