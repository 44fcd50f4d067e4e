"""SQLite for a site with many threads (DATABASES' ENGINE; see base.py)."""
