"""Faults as data, and how they are drawn, scheduled and decided: see `vocabulary`, `grudges`, `schedule`, `link`."""
