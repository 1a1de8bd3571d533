"""What the notebooks of the course need besides the library: checks of answers, figures, and a made-up study."""

from sparsecycle_book.course import answers
from sparsecycle_book.course.checks import check, check_function
from sparsecycle_book.course.rules import check_rule, follow

__all__ = ["answers", "check", "check_function", "check_rule", "follow"]
