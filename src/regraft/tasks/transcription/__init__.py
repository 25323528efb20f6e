"""Speech recognition by connectionist temporal classification (CTC, Graves et al. 2006).

vocabulary  characters of the transcripts, and from the best path to text
network     backbone and head: sounds → (n, moments, characters)
facts       what of a head its tensors do not tell
heads       rows of heads, from and to their tensors
brought     heads that checkpoints bring
chunks      long recordings, heard piece by piece
"""
