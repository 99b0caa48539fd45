"""Browsers ⇄ device groups, and the pages."""
