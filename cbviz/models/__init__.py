"""Find, load and describe a model."""

from cbviz.models.find import catalogue, load
from cbviz.models.loaded import LoadedModel
from cbviz.models.pieces import PieceStream

__all__ = ["LoadedModel", "PieceStream", "catalogue", "load"]
