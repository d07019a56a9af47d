"""The learning rate over the steps of a run."""

from offseg_viz.pipeline.recipes import Recipe


def schedule(step: int, recipe: Recipe) -> float:
    """Factor on the learning rate at a step, counted from 0: linear warm-up to 1, then polynomial decay to 0.

    The last step of the warm-up and the first one after it have factor 1, and the last step of the run 0, as in
    mmengine's LinearLR and PolyLR, by which the release schedules.
    """
    warmup = recipe.warmup_steps
    if step < warmup:
        return recipe.warmup_start + (1 - recipe.warmup_start) * step / max(warmup - 1, 1)
    done = (step - warmup) / max(recipe.steps - 1 - warmup, 1)
    return max(0.0, 1.0 - done) ** recipe.power
