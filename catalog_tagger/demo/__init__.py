"""A catalogue to try the product on, made by the product: no download, nobody's recordings."""

from catalog_tagger.demo.catalogue import DemoCatalogue, make_demo_catalogue
from catalog_tagger.demo.encode import CODECS, SUFFIXES, write_audio

__all__ = ["CODECS", "SUFFIXES", "DemoCatalogue", "make_demo_catalogue", "write_audio"]
