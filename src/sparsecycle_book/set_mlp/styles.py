"""How the methods of the companion study look in its figures."""

from sparsecycle_book.figures import Look

METHODS: dict[str, Look] = {
    "dense": Look("#7d8590", "o", "-"),
    "static": Look("#009e73", "^", "--"),
    "set": Look("#0f83c9", "s", "-"),
    "set_pruned": Look("#d55e00", "D", "-"),
}
