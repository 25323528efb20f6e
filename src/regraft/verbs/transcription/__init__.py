"""The verbs for recordings with transcripts.

fit        examples and a recipe → TranscriptionModel
prepare    looked at, without what cannot be learned from, split
settings   what of a recipe is obeyed
steps      the head on frozen moments, then the network with it
measure    model and recordings → the record of a report
told       the model's record
doctor     what is odd about recordings and their transcripts
"""
