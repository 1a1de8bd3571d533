"""The companion study (arXiv 1906.11626): multilayer perceptrons that are sparse from the start and stay sparse."""

from sparsecycle.set_mlp.evolution import erdos_renyi, evolve
from sparsecycle.set_mlp.layer import SparseLinear
from sparsecycle.set_mlp.network import MLP, dense_mlp, sparse_mlp
from sparsecycle.set_mlp.pruning import prune_neurons

__all__ = ["MLP", "SparseLinear", "dense_mlp", "erdos_renyi", "evolve", "prune_neurons", "sparse_mlp"]
