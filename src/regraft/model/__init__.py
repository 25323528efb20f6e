"""The grafted model: what it is, how it answers, how it is kept.

model     Model: frozen networks, head, classes, calibration, provenance
predict   files → Predictions, by a Model or by a pretrained network as it is
named     what a person names → files
packing   Model ⇄ bundle
"""
