"""Examples on disk → Dataset: sources, splits, and what was found on the way.

sources     load(...): folder, manifest, single file, list of paths → Dataset
folders     one sub-folder per class, with or without train/validation/test above
manifests   CSV, TSV, Parquet, JSON lines
dataset     Dataset: the table of examples and its views
splits      split(...) and audit(...): stratified, group-disjoint, reproducible
duplicates  exact and near duplicates among the examples
findings    Finding: something a person should know, by name and with a reason
paths       inside(root, name): the one check of every path read from a file
"""
