"""``python -m safegen.cli``."""

from safegen.cli import main

main()
