"""The companion study (arXiv 1906.11626): multilayer perceptrons that are sparse from the start and stay sparse."""
