"""What leaves the site: exports, labeled datasets, formats.

May import projects, labeling and assist.
"""
