"""The grader of the labs: checks, the process that holds a submission's code, verdicts and their reports."""
from .grading import Grade, Options, grade

__all__ = ["Grade", "Options", "grade"]
