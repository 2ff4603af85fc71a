"""harness/grade_all.py is made of this: reads submissions, grades each in a process, writes pages and
figures."""
