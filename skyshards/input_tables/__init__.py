"""Catalogues that a dataset is made from, in whatever file they were published: one reader for all of them."""
