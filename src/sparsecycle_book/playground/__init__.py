"""Things to play with in the pages of the book, without a kernel: made here, moved by `book/static/playground`."""

from sparsecycle_book.playground.budget import budget_slider
from sparsecycle_book.playground.controllers import controller_board

__all__ = ["budget_slider", "controller_board"]
