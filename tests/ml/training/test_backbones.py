"""Backbones of timm of every kind: each trains and serves the vectors that torch gives, at the asked size."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ml.errors import LookalikeError
from ml.model import backbone, embedder, weights
from ml.model.backbone import default_preprocessing
from ml.model.bundle import NETWORK
from ml.model.network import from_bundle, pretrained
from ml.training import frozen_backbone, layers
from ml.training.train import train
from tests.ml.conftest import quick

# The smallest of each kind. test_vit3 pools by attention, as the image towers of SigLIP do, whose smallest has 93
# million weights.
KINDS = {
    "DINOv2": "vit_small_patch14_dinov2",
    "DINOv3": "vit_small_patch16_dinov3",
    "CLIP": "vit_xsmall_patch16_clip_224",
    "SigLIP": "test_vit3",
    "ConvNeXt": "test_convnext",
    "ResNet": "test_resnet",
    "MobileNet": "mobilenetv3_small_050",
    "one size alone": "levit_128s",
}


@pytest.fixture(scope="module")
def few(products):
    """12 images of 4 products."""
    return products.subset(np.flatnonzero(np.isin(products.labels, range(4)) & (np.arange(len(products)) % 2 == 0)))


@pytest.mark.parametrize("name", KINDS.values(), ids=KINDS)
def test_it_trains_a_step_and_serves_what_torch_gives(name, few, tmp_path):
    config = quick(backbone=f"{name}@random", epochs=1, train_px=64, test_px=96, fit="own", layer_decay=0.8)
    result = train(config, few, tmp_path)
    patch, own = backbone.patch_px(name), default_preprocessing(name)
    size = round(96 / patch) * patch
    seen = result.bundle.preprocessing
    assert (seen.size_px, seen.fit, seen.interpolation) == (size, own.fit, own.interpolation)
    assert (seen.mean, seen.std) == (own.mean, own.std)
    assert seen.resize_px == round(size * own.resize_px / own.size_px)
    assert NETWORK in result.bundle.files
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    vectors = embedder.load(result.bundle.directory, device="cpu").embed_arrays(images)
    with torch.inference_mode():
        expected = from_bundle(result.bundle)(torch.from_numpy(images)).numpy()
    assert (vectors * expected).sum(1).min() > 0.99


def test_a_vision_transformer_keeps_its_position_embeddings_at_another_size(tmp_path):
    source = backbone.create("test_vit", 160)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model, preprocessing = pretrained(f"test_vit@{tmp_path / 'weights.safetensors'}", size_px=80, any_size=True)
    assert (preprocessing.size_px, preprocessing.resize_px) == (80, 84)
    tokens = model.backbone.pos_embed
    before = source.pos_embed[:, 1:].unflatten(1, (10, 10)).mean((1, 2))
    torch.testing.assert_close(tokens[:, 0], source.pos_embed[:, 0])
    torch.testing.assert_close(tokens[:, 1:].mean(1), before, atol=5e-3, rtol=0.2)
    assert tokens.shape[1] == 1 + 5 * 5
    assert backbone.takes(model.backbone, 160)


def test_a_finished_model_goes_on_at_another_size(products, tmp_path):
    config = quick(backbone="test_vit@random", epochs=1, train_px=64, test_px=64)
    first = train(config, products, tmp_path)
    second = train(quick(backbone=str(first.bundle.directory), epochs=1, test_px=96), products, tmp_path)
    assert (first.bundle.preprocessing.size_px, second.bundle.preprocessing.size_px) == (64, 96)


class TestWeightsFromElsewhere:
    def test_the_image_tower_of_an_open_clip_checkpoint(self, tmp_path):
        source = backbone.create("vit_xsmall_patch16_clip_224", 224)
        state = {f"visual.{_in_clip(name)}": value for name, value in source.state_dict().items()}
        state["visual.class_embedding"] = state["visual.class_embedding"].flatten()
        state["visual.positional_embedding"] = state["visual.positional_embedding"][0]
        state |= {"visual.proj": torch.zeros(256, 8), "token_embedding.weight": torch.zeros(4, 4)}
        path = tmp_path / "open_clip_pytorch_model.bin"
        torch.save({"state_dict": state}, path)
        model, _ = pretrained(f"vit_xsmall_patch16_clip_224@{path}")
        x = torch.randn(1, 3, 224, 224)
        with torch.inference_mode():
            torch.testing.assert_close(model.features(x), source.eval()(x))

    def test_a_tower_of_timm_in_an_open_clip_checkpoint(self, tmp_path):
        source = backbone.create("test_vit", 160)
        state = {f"visual.trunk.{name}": value for name, value in source.state_dict().items()}
        save_file(state | {"text.weight": torch.zeros(2)}, tmp_path / "open_clip.safetensors")
        model, _ = pretrained(f"test_vit@{tmp_path / 'open_clip.safetensors'}")
        torch.testing.assert_close(model.backbone.cls_token, source.cls_token)

    def test_a_folder_as_the_hub_has_it(self, tmp_path):
        source = backbone.create("test_vit", 160)
        save_file(source.state_dict(), tmp_path / "model.safetensors")
        config = (
            '{"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 160, 160], "crop_pct": 1.0,'
            ' "crop_mode": "squash", "interpolation": "bilinear", "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}'
        )
        (tmp_path / "config.json").write_text(config)
        model, preprocessing = pretrained(str(tmp_path))
        torch.testing.assert_close(model.backbone.cls_token, source.cls_token)
        assert (preprocessing.fit, preprocessing.interpolation) == ("squash", "bilinear")
        assert preprocessing.mean == (0.1, 0.2, 0.3)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"args": torch.nn.Identity()}, "they hold torch.nn.modules.linear.Identity, which is no tensor"),
            ({"epoch": 3}, "holds no weights by name"),
            ({"blocks.0.norm1.weight": torch.zeros(3)}, "the weights lack"),
        ],
    )
    def test_a_file_that_is_none_is_refused_in_one_line(self, content, message, tmp_path):
        torch.save(content, tmp_path / "file.pth")
        with pytest.raises(LookalikeError, match=message) as refused:
            pretrained(f"test_vit@{tmp_path / 'file.pth'}")
        assert "\n" not in refused.value.message

    def test_without_a_network_the_message_names_the_ways_out(self, monkeypatch):
        def away(*_: object, **__: object) -> None:
            raise OSError("no route")

        monkeypatch.setattr(weights.timm, "create_model", away)
        with pytest.raises(LookalikeError, match="cannot be downloaded: no route") as refused:
            pretrained("test_vit")
        assert "test_vit@weights.safetensors" in refused.value.hint and "test_vit@random" in refused.value.hint


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet5", "resnet50"),
        ("vit_small_patch14_dino", "vit_small_patch14_dinov2"),
        ("convnext_tny", "convnext_tiny"),
    ],
)
def test_a_misspelt_name_is_told_the_names_that_are_nearest(name: str, nearest: str) -> None:
    with pytest.raises(LookalikeError, match=f"there is no backbone '{name}'") as refused:
        default_preprocessing(name)
    assert refused.value.hint.split(", ")[0] == f"for example {nearest}"


class TestLayers:
    def test_rates_fall_from_the_last_layer_to_the_first(self):
        network = backbone.create("test_vit", 160)
        groups = layers.by_rate(network, 0.5)
        assert [factor for factor, _ in groups] == [0.5**place for place in range(len(groups))]
        assert sum(len(parameters) for _, parameters in groups) == len(list(network.parameters()))
        assert any(parameter is network.pos_embed for parameter in groups[-1][1])
        assert any(parameter is network.norm.weight for parameter in groups[0][1])

    @pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet", "test_efficientnet"])
    def test_frozen_layers_stay_as_they_are(self, name, products, tmp_path):
        torch.manual_seed(0)
        source = backbone.create(name, 160)
        save_file(source.state_dict(), tmp_path / "weights.safetensors")
        frozen = backbone.create(name, 160)
        frozen_backbone.prepare(frozen)
        layers.freeze(frozen, 2)
        names = [key for key, value in frozen.named_parameters() if not value.requires_grad]
        assert 0 < len(names) < len(list(frozen.parameters()))
        config = quick(
            backbone=f"{name}@{tmp_path / 'weights.safetensors'}", epochs=1, lr=0.1, frozen_layers=2, test_px=160
        )
        state = from_bundle(train(config, products, tmp_path).bundle).backbone.state_dict()
        kept = [key for key in names if key in source.state_dict() and key.endswith("weight") and "conv" not in key]
        for key in kept:
            torch.testing.assert_close(state[key], source.state_dict()[key])

    def test_so_many_that_nothing_would_learn_are_refused(self):
        with pytest.raises(LookalikeError, match=r"frozen_layers must be < \d+, the layers of this backbone, got 99"):
            layers.check(backbone.create("test_vit", 160), 99)


def test_depthwise_kernels_are_trained_where_that_costs_nothing():
    for device, is_trained in (("cpu", False), ("meta", True)):  # a GPU is as little a CPU as meta is
        network = backbone.create("test_convnext", 160).to(device)
        frozen_backbone.prepare(network)
        kernels = [m.weight for m in network.modules() if type(m).__name__ in ("DepthwiseConv", "Conv2d")]
        depthwise = [weight for weight in kernels if weight.shape[1] == 1]
        assert depthwise and {weight.requires_grad for weight in depthwise} == {is_trained}


def _in_clip(name: str) -> str:
    """A name of timm's vision transformer as CLIP has it."""
    for theirs, ours in (
        ("class_embedding", "cls_token"),
        ("positional_embedding", "pos_embed"),
        ("conv1", "patch_embed.proj"),
        ("ln_pre", "norm_pre"),
        ("transformer.resblocks.", "blocks."),
        ("ln_1", "norm1"),
        ("ln_2", "norm2"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
        ("attn.in_proj_", "attn.qkv."),
        ("attn.out_proj", "attn.proj"),
    ):
        name = name.replace(ours, theirs)
    return name.replace("norm.", "ln_post.") if name.startswith("norm.") else name
