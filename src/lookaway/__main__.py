"""``python -m lookaway``: the same as the command ``lookaway``."""

from lookaway.cli import main

if __name__ == "__main__":
    main()
