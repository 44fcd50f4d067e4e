"""What models say about images: runs, predictions, the assist cycle; `pipeline` is torch without Django.

May import projects and labeling.
"""
