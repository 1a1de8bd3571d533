"""What the notebooks of the course need besides the library: checks of answers, and two figures."""

from sparsecycle.course import answers
from sparsecycle.course.checks import check, check_function
from sparsecycle.course.rules import check_rule

__all__ = ["answers", "check", "check_function", "check_rule"]
