"""See, measure and teach feature / class alignment in efficient semantic segmentation (offset learning).

The method is that of "OffSeg" (arXiv 2508.08811). Torch goes in, a labelled record comes out, and above that line every
function returns a map, a matrix or a table, each with one way to draw it::

    import offseg_viz as ov

    record = ov.extract(ov.load_model("nano-offset", weights="scenes"), ov.load_samples("scenes")[0])
    ov.plot_map(ov.offset_magnitude(record, "feature", relative=True), over=record)

Every public name is imported when it is first asked for, so that ``import offseg_viz`` takes no time and saved records
can be looked at without loading torch.
"""

import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

_HOMES = {
    "terms": ("glossary",),
    "record": ("load_record", "save_record", "validate_record"),
    "metrics": ("confusion_matrix", "segmentation_metrics"),
    "data": ("load_samples",),
    "models.cost": ("available_models",),
    "models.zoo": ("load_model",),
    "models.official.backbones": ("load_backbone_weights",),
    "models.official.loading": ("load_official_weights",),
    "models.offset_learning": ("OffsetLearning",),
    "models.per_pixel": ("PerPixelClassifier",),
    "models.attach": ("attach_offset_learning", "detach_offset_learning"),
    "extract.extract": ("extract", "extract_many", "extract_windows"),
    "extract.store": ("open_store",),
    "analyze.align": (
        "aligned_class_embedding",
        "aligned_feature",
        "class_maps",
        "logits",
        "prediction",
        "scores",
        "winning_class",
    ),
    "analyze.alignment": (
        "alignment",
        "class_embedding_angle",
        "class_margin",
        "ideal_angle",
        "own_class_cosine",
    ),
    "analyze.attention": ("class_attention", "coupled_attention", "position_attention"),
    "analyze.changes": ("change_map", "changes", "shape_changes"),
    "analyze.class_means": ("feature_class_mean",),
    "analyze.class_plane": ("class_plane",),
    "analyze.class_scatter": ("class_scatter",),
    "analyze.compressed_features": ("compressed_features",),
    "analyze.decomposition": ("decomposition", "last_layer_flips", "score_terms"),
    "analyze.describe": ("describe",),
    "analyze.embedding_similarity": ("embedding_similarity",),
    "analyze.feature_colors": ("feature_color_basis", "feature_colors"),
    "analyze.ideal": ("ideal_class_embedding", "ideal_prediction", "ideal_similarity"),
    "analyze.interventions": ("intervene", "interventions", "strength_curve"),
    "analyze.offset_agreement": ("class_offset_agreement",),
    "analyze.offset_measures": ("offset_measures",),
    "analyze.offsets": ("offset_direction", "offset_magnitude"),
    "analyze.pixel_plane": ("pixel_plane",),
    "analyze.pixel_similarity": ("pixel_similarity", "unit_vectors"),
    "analyze.pixels": ("sample_pixels",),
    "analyze.places": ("boundary_distance", "object_area"),
    "analyze.prediction_quality": ("prediction_quality",),
    "analyze.projection": ("project", "projection_stability"),
    "analyze.quality": ("class_iou", "image_miou"),
    "analyze.similarity": ("cosine_similarity",),
    "analyze.windows": ("stitch_windows",),
    "plot.bars": ("plot_classes",),
    "plot.maps": ("plot_map", "plot_panels"),
    "plot.matrices": ("plot_matrix",),
    "plot.measures": ("plot_measures",),
    "plot.models": ("plot_models",),
    "plot.plane": ("plot_plane",),
    "plot.scatter": ("plot_scatter",),
    "plot.terms": ("plot_terms",),
    "widgets.explorer": ("AlignmentExplorer",),
    "widgets.feature_field": ("FeatureField",),
    "widgets.offset_lab": ("OffsetLab",),
    "widgets.pixel_map": ("PixelMap",),
    "widgets.pixel_probe": ("PixelProbe",),
    "widgets.projection_explorer": ("ProjectionExplorer",),
    "export.page": ("interactive_html", "write_interactive"),
    "report": ("report_html", "write_report"),
    "report.alignment": ("alignment_report",),
}
_HOME = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name.startswith("__"):  # probes of the import system and of inspect
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    import difflib

    near = difflib.get_close_matches(name, __all__, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Public names: {', '.join(__all__)}."
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}. {hint}")


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})


class _LazyPackage(ModuleType):
    """Keeps the function `extract` in front of the subpackage of the same name.

    After importing a subpackage Python binds it as an attribute of its parent, which would hide the public function.
    """

    def __setattr__(self, name, value):
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _LazyPackage
