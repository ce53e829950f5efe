"""Sliders with a picture each: one call in a notebook, one idea a file."""
