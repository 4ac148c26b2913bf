"""A static page of a built dataset: sky, counts, histograms and a gallery, for any browser, without a server."""
