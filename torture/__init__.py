"""Attacks on bigrec: killed processes, fuzzed files, damaged bundles, hostile servers.

Each module is one attack, ``python -m torture.NAME --tries N --seed S``. It prints a table of what
it tried and what survived, and exits with 1 on a fault. ``make torture`` runs all.
"""
