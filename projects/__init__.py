"""What is labeled, and by whom: datastores, datasets, projects, label classes, images, access.

Owns the files' side (stores, previews, refresh). Imports no other app of this site.
"""
