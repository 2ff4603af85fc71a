"""The grader of the labs: checks, the process that holds a submission's code, verdicts and their reports."""
