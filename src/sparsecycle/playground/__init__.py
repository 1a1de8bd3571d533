"""Things to play with in the pages of the book, without a kernel: made here, moved by `book/static/playground`."""

from sparsecycle.playground.budget import BudgetView, budget_slider
from sparsecycle.playground.controllers import controller_board
from sparsecycle.playground.runs import run_board

__all__ = ["BudgetView", "budget_slider", "controller_board", "run_board"]
