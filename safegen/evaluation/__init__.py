"""Workshop: benchmarks, one a file, each reproduces a published number."""
