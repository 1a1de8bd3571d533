"""The companion study (arXiv 1906.11626): multilayer perceptrons that are sparse from the start and stay sparse."""

from sparsecycle.set_mlp.evolution import erdos_renyi, evolve
from sparsecycle.set_mlp.layer import SparseLayer
from sparsecycle.set_mlp.network import Network, dense_network, sparse_network
from sparsecycle.set_mlp.pruning import prune_neurons

__all__ = ["Network", "SparseLayer", "dense_network", "erdos_renyi", "evolve", "prune_neurons", "sparse_network"]
