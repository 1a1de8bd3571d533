"""What the notebooks of the course need besides the library: checks of answers, and two figures."""

from sparsecycle_book.course import answers
from sparsecycle_book.course.checks import check, check_function
from sparsecycle_book.course.rules import check_rule

__all__ = ["answers", "check", "check_function", "check_rule"]
