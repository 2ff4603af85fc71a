def render(grade):
    return ""
