"""The public surface: names resolve, are documented and keep the conventions of their signatures."""

import inspect
import subprocess
import sys

import pytest

import offseg_viz

RANDOM = {
    "attach_offset_learning",
    "class_plane",
    "class_scatter",
    "compressed_features",
    "feature_color_basis",
    "load_model",
    "project",
    "projection_stability",
    "sample_pixels",
}
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

PUBLIC = """
    available_models load_model load_samples extract extract_many open_store describe save_record load_record
    validate_record aligned_feature aligned_class_embedding scores logits prediction coupled_attention class_attention
    position_attention cosine_similarity offset_magnitude ideal_class_embedding ideal_prediction ideal_similarity
    class_iou sample_pixels project plot_map plot_panels plot_matrix plot_scatter plot_classes AlignmentExplorer
    load_official_weights load_backbone_weights write_report report_html glossary confusion_matrix
    alignment alignment_report boundary_distance change_map changes class_embedding_angle class_maps class_margin
    class_offset_agreement class_plane class_scatter decomposition embedding_similarity feature_class_mean ideal_angle
    image_miou intervene interventions last_layer_flips object_area offset_direction offset_measures own_class_cosine
    extract_windows plot_measures plot_models plot_plane plot_terms projection_stability score_terms shape_changes
    stitch_windows strength_curve winning_class compressed_features feature_color_basis feature_colors
    prediction_quality FeatureField OffsetLab PixelMap PixelProbe ProjectionExplorer pixel_plane pixel_similarity
    unit_vectors
    interactive_html write_interactive
    segmentation_metrics OffsetLearning PerPixelClassifier attach_offset_learning detach_offset_learning
""".split()


def test_the_public_names_are_these():
    assert sorted(offseg_viz.__all__) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves_and_is_documented(name):
    value = getattr(offseg_viz, name)
    assert value.__name__ == name
    assert value.__doc__ and value.__doc__.strip(), f"{name} has no docstring"
    assert "__doc__" in vars(value) or not inspect.isclass(value), f"{name} inherits its docstring"
    assert getattr(offseg_viz, name) is value


@pytest.mark.parametrize("name", PUBLIC)
def test_a_signature_keeps_the_conventions(name):
    parameters = inspect.signature(getattr(offseg_viz, name)).parameters
    positional = [p.name for p in parameters.values() if p.kind in POSITIONAL]
    assert len(positional) <= 3, f"at most three positional parameters, found {positional}"
    flags = [p.name for p in parameters.values() if isinstance(p.default, bool) and p.kind in POSITIONAL]
    assert not flags, f"flags are keyword-only, found {flags}"
    if name in RANDOM or "seed" in parameters:
        assert parameters["seed"].default == 0
        assert parameters["seed"].kind is inspect.Parameter.KEYWORD_ONLY


def test_dir_lists_the_public_names():
    assert set(PUBLIC) <= set(dir(offseg_viz))
    assert "__version__" in dir(offseg_viz)
    assert not [name for name in dir(offseg_viz) if name.startswith("_") and not name.startswith("__")]


def test_star_import_gives_the_public_names():
    found = {}
    exec("from offseg_viz import *", found)
    assert set(PUBLIC) <= found.keys()


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(AttributeError, match=r"'plot_maps'.*Did you mean 'plot_map'\?"):
        offseg_viz.plot_maps  # noqa: B018
    with pytest.raises(AttributeError, match=r"'zzzz'.*Public names: AlignmentExplorer, .*write_report"):
        offseg_viz.zzzz  # noqa: B018
    with pytest.raises(ImportError):
        exec("from offseg_viz import zzzz")
    assert not hasattr(offseg_viz, "__wrapped__")


def test_the_subpackage_extract_does_not_hide_the_function():
    """Python binds an imported subpackage as an attribute of its parent, here over a function of the same name."""
    program = "import offseg_viz, offseg_viz.extract.store; print(type(offseg_viz.extract).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "function", done.stderr
