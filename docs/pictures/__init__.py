"""The pictures of the documentation, drawn from what the extractors say.

A page asks for its picture in a block of its own, ``{picture}``, whose body says its rows: one line of Python for each
extractor. `reading` takes the bins, points and cells from the weights of any extractor, `sheet` lays them out.
"""
