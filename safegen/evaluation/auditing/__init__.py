"""The parts of the audit of a data set: what is in it, what a file is like, what tells it apart."""
