"""The version, in its one place: ``pyproject.toml`` and ``show_config`` read it here."""

__version__ = "0.1.0"
