"""``python -m weighbridge``."""

from weighbridge.cli import entry

if __name__ == "__main__":
    entry()
