"""Networks: torch modules from images to logits. They know nothing of data sets, records or plots."""
