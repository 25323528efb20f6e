"""The verbs: one file each; the command line and the public names call them.

prepare   load: examples on disk → a Dataset, looked at, cleaned, split
doctor    what is wrong with the examples, by name
fit       Dataset and Recipe → Model, rung by rung (rungs, told)
evaluate  Model and labelled examples → Report
demo      handwritten digits, from nothing to a report
"""
