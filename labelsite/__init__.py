"""Wires the apps together: settings, URLs, the API's router, the admin site, site-wide commands.

May import every app; no app imports it.
"""
