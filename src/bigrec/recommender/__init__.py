"""BIGRec: encode a history, rank the catalog, fuse other scores in."""
