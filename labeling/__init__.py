"""What people say about images: tasks, pages, annotations and their history; queue, submit, review.

May import projects. Works with assist switched off and torch not installed.
"""
