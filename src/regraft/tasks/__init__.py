"""What examples are for, beside classes: the network around a backbone, its loss, its answers.

detection      objects with boxes
transcription  what is said in recordings
"""
