"""Find, load and describe a model."""

from cbviz.models import hush as hush  # before anything imports transformers
from cbviz.models.find import as_loaded, catalogue, load
from cbviz.models.int8 import quantised
from cbviz.models.loaded import LoadedModel
from cbviz.models.pieces import PieceStream

__all__ = ["LoadedModel", "PieceStream", "as_loaded", "catalogue", "load", "quantised"]
