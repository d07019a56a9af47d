"""Records of mask classification, of this package's Mask2Former and of transformers': any prediction of the decoder."""

import numpy as np
import pytest
import torch
from noise import CLASSES, noise_sample, stirred
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerModel, SwinConfig

from offseg_viz.analyze.align import class_maps, logits, prediction, scores
from offseg_viz.errors import ModelError
from offseg_viz.extract.extract import extract
from offseg_viz.models.attach import attach_offset_learning
from offseg_viz.models.heads.mask2former import class_maps as maps_of
from offseg_viz.models.zoo import load_model
from offseg_viz.record import has_offsets, has_queries, load_record, save_record

K, QUERIES = len(CLASSES), 20
PREDICTOR = "model.transformer_module.decoder.mask_predictor"


def network(name):
    """One whose queries are of different classes, and whose offsets matter."""
    model = load_model(name, classes=CLASSES)
    stirred(model.decode_head.class_predictor)
    predictor = model.decode_head.transformer_module.decoder.mask_predictor
    stirred(predictor, scale=0.05)
    return model


@pytest.fixture(scope="module", params=["mask2former-swin-t", "mask2former-swin-t-offset"])
def ours(request):
    return network(request.param)


def small_config():
    swin = SwinConfig(
        embed_dim=8,
        depths=[1] * 4,
        num_heads=[1] * 4,
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=24,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=5,
        num_attention_heads=2,
        dim_feedforward=32,
        num_queries=QUERIES,
        num_labels=K,
        init_xavier_std=1.0,
        output_auxiliary_logits=True,
    )


@pytest.fixture(scope="module", params=["plain", "attached"])
def theirs(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Mask2FormerForUniversalSegmentation(small_config()).eval()
    return model if request.param == "plain" else stirred(attach_offset_learning(model, start="paper"), scale=0.1)


@pytest.mark.parametrize("size", [(96, 128), (75, 101)])
def test_class_maps_and_prediction_are_those_of_the_model(ours, size):
    given = noise_sample(size=size)
    record = extract(ours, given)
    with torch.no_grad():
        maps = ours(ours.normalize(given.image))[0].numpy()
    np.testing.assert_allclose(class_maps(record), maps, rtol=2e-5)
    two = np.sort(maps, axis=0)[-2:]
    clear = two[1] - two[0] > 1e-4 * two[1]
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(prediction(record).values[clear], maps.argmax(0)[clear])
    assert has_queries(record) and list(record.cls.values) == list(CLASSES) and record.sizes["query"] == 100
    assert record.attrs["layer"] == 9 and record.attrs["stride"] == [4, 4] and record.label.shape == maps.shape[1:]


def test_without_offsets_both_stages_are_one(ours):
    record = extract(ours, noise_sample())
    difference = np.abs(class_maps(record, "aligned") - class_maps(record, "initial")).max()
    assert has_offsets(record) == ours.name.endswith("-offset")
    assert (difference > 1e-3) == has_offsets(record) and (difference == 0) != has_offsets(record)
    np.testing.assert_allclose(logits(record), record.logits, atol=1e-4 * float(np.abs(record.logits).max()))


@pytest.mark.parametrize("layer", [0, 4, -1])
def test_any_prediction_of_the_decoder(ours, layer):
    given = noise_sample(size=(64, 96))
    record = extract(ours, given, layer=layer)
    with torch.no_grad():
        queries = ours.queries(ours.normalize(given.image))
        maps = maps_of(queries.class_logits_by_layer[layer], queries.mask_logits_by_layer[layer])[0]
    np.testing.assert_array_equal(record.logits, queries.mask_logits_by_layer[layer][0])
    np.testing.assert_array_equal(record.feature, queries.feature[0].permute(1, 2, 0))
    np.testing.assert_allclose(class_maps(record), maps, atol=2e-4, rtol=1e-4)
    assert record.attrs["layer"] == layer % 10
    if layer == -1:
        np.testing.assert_allclose(record.class_embedding, queries.mask_embedding[0], rtol=1e-6)


def test_offsets_are_those_of_the_refinement():
    model = network("mask2former-swin-t-offset")
    record = extract(model, noise_sample(size=(64, 96)), layer=3)
    learning = model.decode_head.transformer_module.decoder.mask_predictor.offset_learning
    embedding, feature = (torch.from_numpy(record[name].values) for name in ("class_embedding", "feature"))
    with torch.no_grad():
        expected = learning.refinement(embedding[None], feature.permute(2, 0, 1)[None])
    for mine, exact in (
        (record.class_offset, expected.class_offset[0]),
        (record.feature_offset, expected.feature_offset),
    ):
        exact = exact.numpy().reshape(mine.shape)
        np.testing.assert_allclose(mine, exact, atol=1e-4 * np.abs(exact).max(), rtol=1e-4)


@pytest.mark.parametrize("layer", [0, 2, -1])
def test_transformers_mask2former(theirs, layer):
    given = noise_sample(size=(64, 96))
    images = torch.from_numpy(given.image.transpose(2, 0, 1)[None] / np.float32(255))
    record = extract(theirs, given, layer=layer, preprocess=lambda image: images)
    with torch.no_grad():
        out = theirs(images)
    expected = [*out.auxiliary_logits, out][layer]  # the last one is not among the auxiliary ones
    np.testing.assert_array_equal(record.logits, expected["masks_queries_logits"][0])
    np.testing.assert_allclose(scores(record), expected["masks_queries_logits"][0], atol=1e-5)
    probability = expected["class_queries_logits"][0].softmax(1)[:, :K]
    np.testing.assert_allclose(record.query_class, probability, atol=1e-6)
    maps = maps_of(expected["class_queries_logits"], expected["masks_queries_logits"])[0]
    np.testing.assert_allclose(class_maps(record), maps, atol=1e-4)
    assert record.sizes["query"] == QUERIES and record.sizes["channel"] == 24 and record.attrs["layer"] == layer % 5
    assert has_offsets(record) == hasattr(theirs.get_submodule(PREDICTOR), "offset_learning")


def test_a_record_of_queries_is_stored_and_read(theirs, tmp_path):
    record = extract(theirs, noise_sample(size=(64, 96)))
    found = load_record(save_record(record, tmp_path / "a"))
    np.testing.assert_array_equal(prediction(found), prediction(record))
    assert found.identical(record)


def test_what_cannot_be_read(theirs):
    with pytest.raises(ModelError, match="layer is 5; the decoder makes 5 predictions: needed 0 to 4, or -1"):
        extract(theirs, noise_sample(), layer=5)
    with pytest.raises(ModelError, match="layer is 1.5"):
        extract(theirs, noise_sample(), layer=1.5)
    with pytest.raises(ModelError, match="lacks a class predictor; needed the whole network"):
        extract(Mask2FormerModel(small_config()), noise_sample())
    with pytest.raises(ModelError, match="lacks decoder layers"):
        extract(torch.nn.Sequential(theirs.get_submodule(PREDICTOR)), noise_sample())
    other = noise_sample(classes=type(CLASSES).numbered(3))
    with pytest.raises(ModelError, match=f"the model {K} outputs"):
        extract(theirs, other)
