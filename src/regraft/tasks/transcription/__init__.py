"""Speech recognition by connectionist temporal classification (CTC, Graves et al. 2006).

vocabulary  characters of the transcripts, and from the best path to text
network     backbone and head: sounds → (n, moments, characters)
chunks      long recordings, heard piece by piece
"""
