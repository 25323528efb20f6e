"""How knowledge moves from a pretrained network to the user's classes.

- scaling        raw block features → block-normalised ones
- ridge          the closed-form solve with exact leave-one-out, in memory and streamed
- block_weights  how much each block counts, by leave-one-out
- probe          the three together: features and labels → Head
- noise          which labels look wrong, from the leave-one-out scores
- novelty        which pictures look like none of the examples
- baselines      majority class and ridge without any network: what every result is measured against
- ranking        which pretrained network suits these examples
- fit            the verb: Dataset → Model
"""
