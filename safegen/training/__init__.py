"""Workshop: recipes that train what ships, one a file, resumable."""
