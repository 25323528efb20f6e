"""How far small changes of a picture move the answer: attacks, and whether they can be trusted."""
