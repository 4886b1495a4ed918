from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from upres.errors import ScaleError, WeightsError
from upres.networks import FSRCNN, NETWORKS
from upres.weights import store


@pytest.fixture
def metadata():
    return store.Metadata(
        network="fsrcnn",
        arguments={"scale": 3, "d": 8, "s": 4, "m": 1},
        scale=3,
        halos={3: 4},
        parameters=7,
        recipe={"rescale": [1.0]},
        steps=5,
        seed=1,
        data="d",
        commit="c",
        results={3: {"set5": [30.0, 0.9]}},
    )


def test_network_and_metadata_come_back(tmp_path, metadata):
    network = FSRCNN(**metadata.arguments).eval()
    store.save(network, metadata, tmp_path / "a.safetensors")
    back, read = store.load(tmp_path / "a.safetensors")
    assert read == metadata
    y = torch.rand(1, 1, 5, 6)
    torch.testing.assert_close(back(y), network(y), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("drrn", {"channels": 8, "units": 3}),
        ("drrn", {"channels": 8, "units": 3, "unit": "post_activation"}),
        ("lapsrn", {"channels": 8, "convolutions": 2, "shared_levels": True}),
        *((name, {}) for name in ("srcnn", "fsrcnn", "espcn", "vdsr")),
    ],
)
def test_shared_layers_come_back_shared(tmp_path, metadata, name, arguments):
    arguments = {"scale": 4} | arguments
    network = NETWORKS[name](**arguments).eval()
    path = tmp_path / "a.safetensors"
    store.save(network, replace(metadata, network=name, arguments=arguments, scale=4, halos={4: 4}), path)
    assert path.stat().st_size < 4 * sum(p.numel() for p in network.parameters()) + 20_000
    y = torch.rand(1, 1, 5, 6)
    torch.testing.assert_close(store.load(path)[0](y), network(y), rtol=0, atol=0)


def test_weights_of_several_scales_load_at_each(tmp_path, metadata):
    network = NETWORKS["vdsr"](scale=2, depth=3, channels=4)
    about = replace(metadata, network="vdsr", arguments={"scale": 2, "depth": 3, "channels": 4}, scale=2)
    store.save(network, replace(about, halos={2: 4, 4: 3}), tmp_path / "a.safetensors")
    y = torch.rand(1, 1, 5, 6)
    assert store.load(tmp_path / "a.safetensors")[0](y).shape == (1, 1, 10, 12)
    assert store.load(tmp_path / "a.safetensors", 4)[0](y).shape == (1, 1, 20, 24)
    with pytest.raises(ScaleError, match=r"a.safetensors has no scale 3; it has 2, 4"):
        store.load(tmp_path / "a.safetensors", 3)


def test_what_half_precision_holds_is_stored_so(tmp_path, metadata):
    network = FSRCNN(**metadata.arguments).eval()
    exact = network.feature[0].weight
    with torch.no_grad():
        exact.copy_(exact.half())
    store.save(network, metadata, tmp_path / "a.safetensors")
    kinds = {name: tensor.dtype for name, tensor in load_file(tmp_path / "a.safetensors").items()}
    assert kinds.pop("feature.0.weight") == torch.float16
    assert set(kinds.values()) == {torch.float32}
    y = torch.rand(1, 1, 5, 6)
    torch.testing.assert_close(store.load(tmp_path / "a.safetensors")[0](y), network(y), rtol=0, atol=0)


def test_damaged_files_are_named(tmp_path, metadata):
    path = tmp_path / "a.safetensors"
    with pytest.raises(WeightsError, match="no such weights file"):
        store.load(path)
    store.save(FSRCNN(**metadata.arguments), metadata, path)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-50]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="not a whole safetensors file"):
            store.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="no upres metadata in it"):
        store.load(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"format": store.FORMAT, "network": "oops"})
    with pytest.raises(WeightsError, match="metadata is damaged"):
        store.load(path)


def test_tensors_that_do_not_fit_the_arguments_are_an_error(tmp_path, metadata):
    store.save(FSRCNN(scale=3), metadata, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        store.load(tmp_path / "a.safetensors")
