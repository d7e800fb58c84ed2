"""Parts of ``safegen eval generation``: prompts, meters beside chance, distance, speed, page."""
