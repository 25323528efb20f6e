"""The verbs for tags and numbers: what they do otherwise than for classes.

tags, numbers  their rows for `verbs.ways`: model, figures, the record of a report
measured       what both measure alike
shown          examples that went most wrong, with pictures
evaluate, doctor  the verbs
"""
