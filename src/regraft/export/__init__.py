"""Model → files that others read.

archive     named bytes in one sealed file
bundle      write_bundle(...), read_bundle(...): documents, arrays and pages of a model in it
"""
