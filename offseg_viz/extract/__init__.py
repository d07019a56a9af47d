"""The only door from torch to numpy: a forward pass goes in, an AlignmentRecord comes out."""
