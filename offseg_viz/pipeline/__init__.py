"""Train and evaluate: the side wing that makes the weights. Analyses never import it."""
