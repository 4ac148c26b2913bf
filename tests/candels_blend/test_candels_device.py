"""The PyTorch renderer: the very code that runs on a GPU, on whatever device there is."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch._dynamo.testing import CompileCounterWithBackend  # noqa: E402

from candels_blend import Blends  # noqa: E402
from candels_blend.device import DeviceRenderer, compiled, deviates, philox, start_of_noise  # noqa: E402
from candels_blend.draw import draw_sample  # noqa: E402
from candels_blend.render import PIXELS, Renderer  # noqa: E402
from candels_blend.sample import Sample  # noqa: E402
from candels_blend.stamps import prepare  # noqa: E402
from skyshards.errors import UsageError  # noqa: E402

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def pairs(archive, request):
    return draw_sample(archive, Sample(test_ratio=0.1, n_galaxies=request.param), 90)["train"]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


# Known answers of Random123's philox4x32-10 (Salmon et al. 2011): counter, key, words.
PHILOX = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), PHILOX)
def test_philox_gives_the_known_answers(device, counter, key, words):
    found = philox(tuple(torch.tensor([word], device=device) for word in counter), key)
    assert tuple(int(word) for word in found) == words


@pytest.mark.slow
def test_deviates_are_normal_and_independent(device):
    numbers, starts = torch.arange(40, device=device), [start_of_noise(seed, device) for seed in (1, 2)]
    z = torch.cat([deviates(start, numbers, 0) for start in starts]).double().cpu().numpy()
    bound = 5 / np.sqrt(z.size)
    for moment, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**moment).mean() - expected) < bound * np.sqrt(variance)
    assert 4 < np.abs(z).max() < 7
    others = deviates(starts[0], numbers, 1).double().cpu().numpy()
    for one, other in (
        (z[:, 1:], z[:, :-1]),
        (z[..., 1:], z[..., :-1]),
        (z[1:], z[:-1]),
        (z[:40], z[40:]),
        (z[:40], others),
    ):
        assert abs((one * other).mean()) < 5 / np.sqrt(one.size)
    quarters = z.reshape(80, 4, -1)  # the four words of a counter
    for a in range(4):
        for b in range(a):
            assert abs((quarters[:, a] * quarters[:, b]).mean()) < 10 / np.sqrt(z.size)


def test_numbers_beyond_32_bits_have_noise_of_their_own(device):
    z = deviates(start_of_noise(1, device), torch.tensor([3, 3 + (1 << 32), 3 + (1 << 40)], device=device), 0)
    assert not torch.equal(z[0], z[1]) and not torch.equal(z[1], z[2]) and not torch.equal(z[0], z[2])


def test_masks_are_those_of_numpy(stamps, pairs, device):
    names = [name for name in PIXELS if name not in ("image", "galaxies")]
    numbers = np.arange(len(pairs))
    found = DeviceRenderer(stamps, 3, device).batch(numbers, pairs, names)
    expected = Renderer(stamps, 3).batch(numbers, pairs, names)
    for name in names:
        assert found[name].dtype == torch.uint8 and (found[name].cpu().numpy() == expected[name]).all()


@pytest.mark.slow
def test_noise_has_the_variance_that_numpy_gives(stamps, pairs, device):
    """Differences of two seeds' images on the device, over those of NumPy's: one deviation in all."""
    numbers, names = np.arange(len(pairs)), ("image", "galaxies")
    on_device = [DeviceRenderer(stamps, seed, device).batch(numbers, pairs, names) for seed in (3, 4)]
    on_numpy = [Renderer(stamps, seed).batch(numbers, pairs, names) for seed in (3, 4)]
    for name in names:
        found = (on_device[0][name] - on_device[1][name]).cpu().numpy().astype(float)
        expected = (on_numpy[0][name] - on_numpy[1][name]).astype(float)
        assert ((found == 0) == (expected == 0)).mean() > 0.999  # zeros come in at the same pixels
        ratio = found.reshape(len(pairs), -1).std(axis=1) / expected.reshape(len(pairs), -1).std(axis=1)
        assert abs(ratio - 1).max() < 0.06 and abs(ratio.mean() - 1) < 0.005
        mean = (on_device[0][name].cpu().numpy() - on_numpy[0][name]).mean(axis=0)
        assert abs(mean).max() < 6 * expected.std() / np.sqrt(len(pairs))


def test_galaxies_sum_to_the_image(stamps, pairs, device):
    batch = DeviceRenderer(stamps, 3, device).batch(np.arange(len(pairs)), pairs, ("image", "galaxies"))
    assert torch.equal(batch["galaxies"].sum(dim=1), batch["image"])


def test_stamps_that_are_not_masked_are_those_of_numpy(archive, pairs, device):
    plain, numbers = prepare(archive, masked=False), np.arange(len(pairs))
    found = DeviceRenderer(plain, 3, device).batch(numbers, pairs, ("image", "galaxies"))
    for name, expected in Renderer(plain, 3).batch(numbers, pairs, ("image", "galaxies")).items():
        assert np.array_equal(found[name].cpu().numpy(), expected)


def test_a_blend_is_the_same_in_any_batch(stamps, pairs, device):
    renderer = DeviceRenderer(stamps, 3, device)
    batch = renderer.batch(np.arange(80), pairs[:80], ("image",))["image"]
    for number in (0, 41, 79):
        alone = renderer.batch(np.array([number]), pairs[[number]], ("image",))["image"][0]
        assert torch.equal(alone, batch[number])


@pytest.mark.slow
def test_rendering_is_compiled_once(stamps, pairs):
    """A GPU's compiled code serves batches of any size, and all seeds; it computes what the formulas do."""
    graphs = CompileCounterWithBackend("aot_eager")
    shared = compiled(graphs)
    for seed in (3, 0, 1):
        renderer = DeviceRenderer(stamps, seed, "cpu")
        for rows in (20, 1, 2, 0, 64, 3):
            expected = renderer.batch(np.arange(rows), pairs[:rows], PIXELS)
            renderer._compiled = shared
            for name, values in renderer.batch(np.arange(rows), pairs[:rows], PIXELS).items():
                assert torch.equal(values, expected[name])
            renderer._compiled = None
    assert graphs.frame_count == 1


@pytest.mark.slow
def test_rendering_of_each_set_of_columns_is_compiled(stamps, pairs):
    """However many sets there are: PyTorch's own limit of eight would leave the others to slower code."""
    graphs = CompileCounterWithBackend("eager")
    renderer = DeviceRenderer(stamps, 5, "cpu")
    renderer._compiled = compiled(graphs)
    sets = [chosen for count in (1, 2) for chosen in itertools.combinations(PIXELS, count)]
    for names in sets:
        renderer.batch(np.arange(4), pairs[:4], names)
    assert graphs.frame_count == len(sets) > 8


def test_a_gpu_is_refused_to_forked_processes(stamps, pairs):
    renderer = DeviceRenderer(stamps, 3, "cpu")
    renderer._device, renderer._process = torch.device("cuda"), renderer._process + 1
    with pytest.raises(UsageError, match="leave out num_workers of DataLoader .* or leave out `device`"):
        renderer.batch(np.arange(2), pairs[:2], ("image",))


def test_blends_on_a_device(datapath, device):
    plain = Blends(datapath, seed=2, length=50)
    blends = Blends(datapath, seed=2, length=50, device=device)
    found, expected = blends[[3, 30]], plain[[3, 30]]
    assert list(found) == list(expected)
    for name, values in expected.items():
        if name in PIXELS:
            assert found[name].device.type == device and tuple(found[name].shape) == values.shape
        if name != "image":
            assert np.array_equal(np.asarray(found[name].cpu() if name in PIXELS else found[name]), values)
    assert blends[3]["image"].shape == (128, 128)
    assert len(blends.columns(["flux"])[:5]["flux"]) == 5


@pytest.mark.parametrize("device", [3.5, True, ["cuda"]])
def test_device_that_is_none(stamps, device):
    with pytest.raises(
        UsageError, match=r"^device: expected a torch.device or the name of one, .*; leave out `device`"
    ):
        DeviceRenderer(stamps, 3, device)


@pytest.mark.parametrize("absent", ["cuda:99", "toaster", 10**30] + ([] if torch.cuda.is_available() else ["cuda"]))
def test_device_that_is_not_there(datapath, absent):
    with pytest.raises(UsageError, match=f"has no device '{absent}' here .*; leave out `device` to render with NumPy"):
        Blends(datapath, device=absent)
