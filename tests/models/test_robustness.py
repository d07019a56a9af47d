"""What every network must withstand: export, compilation, half precision, batches, another memory layout, training."""

from functools import lru_cache

import pytest
import torch

from offseg_viz.models.zoo import load_model

NAMES = ["nano-offset", "segformer-b0-offset", "segnext-t-offset", "offseg-t"]
pytestmark = pytest.mark.parametrize("name", NAMES)


@lru_cache
def network(name):
    """A network whose norms and scales are not all one and zero, so that its parts all show in the logits."""
    model = load_model(name, num_classes=7)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 1 or "layer_scale" in key:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
            if key.endswith("class_embedding"):
                parameter.mul_(20)
    return model.eval()


@pytest.fixture
def images():
    """Two images with edges and areas, not noise alone."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(2, 3, 4, 6, generator=generator).repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    return coarse + 0.3 * torch.randn(2, 3, 64, 96, generator=generator)


@pytest.fixture
def logits(name, images):
    with torch.no_grad():
        return network(name)(images)


def test_exports(name, images, logits):
    with torch.no_grad():
        exported = torch.export.export(network(name), (images,)).module()
        torch.testing.assert_close(exported(images), logits, atol=1e-4, rtol=0)
        # nothing of the example is baked in
        torch.testing.assert_close(exported(images.flip(0)).flip(0), logits, atol=1e-4, rtol=0)


def test_compiles_without_a_graph_break(name, images, logits):
    torch._dynamo.reset()
    compiled = torch.compile(network(name), fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), logits, atol=1e-4, rtol=0)
    torch._dynamo.reset()


def test_bfloat16_stays_near(name, images, logits):
    model = load_model(name, num_classes=7)
    model.load_state_dict(network(name).state_dict())
    with torch.no_grad():
        rounded = model.bfloat16()(images.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(name)(images)
    best, second = logits.topk(2, dim=1).values.unbind(1)
    clear = best - second > 0.25 * logits.std()  # a tie may fall either way
    assert clear.float().mean() > 0.25
    share, distance = (0.9, 0.2) if name == "segnext-t-offset" else (0.98, 0.03)  # a factorisation magnifies rounding
    for low in (rounded, mixed):
        assert low.isfinite().all()
        assert (low.argmax(1) == logits.argmax(1))[clear].float().mean() > share
        assert (low.float() - logits).abs().mean() < distance * logits.std()
    assert rounded.dtype == torch.bfloat16


def test_float64_stays_near(name, images, logits):
    model = load_model(name, num_classes=7)
    model.load_state_dict(network(name).state_dict())
    with torch.no_grad():
        exact = model.double()(images.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(logits, exact.float(), atol=1e-4, rtol=0)


def test_a_batch_equals_its_images_one_by_one(name, images, logits):
    with torch.no_grad():
        single = torch.cat([network(name)(image[None]) for image in images])
    assert (logits[0] - logits[1]).abs().max() > 0.1
    torch.testing.assert_close(logits, single, atol=1e-4, rtol=0)


def test_channels_last_changes_nothing(name, images, logits):
    with torch.no_grad():
        other = network(name)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(other, logits, atol=1e-4, rtol=0)


def test_every_parameter_gets_a_finite_gradient_in_training(name, images):
    model = load_model(name, num_classes=7).train()
    loss = (model(images) * torch.randn(7, 1, 1)).square().mean()
    loss.backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert not without, without
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
