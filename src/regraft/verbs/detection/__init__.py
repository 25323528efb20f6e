"""The verbs for boxes.

fit        examples and a recipe → DetectionModel
prepare    looked at, without unreadable pictures, split
settings   what of a recipe is obeyed, and strategies
beginnings a head on a backbone, or a whole detector
start      network, anchors, what learns, the plan
measure    model and pictures → the record of a report
gallery    predictions over truth as small pictures
answers    predict
compare    ways to train, side by side
preview    augmented pictures with their boxes
doctor     what is odd about boxes
"""
