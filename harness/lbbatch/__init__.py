"""What harness/grade_all.py is made of: reads submissions, grades them one process each, writes pages and figures."""
