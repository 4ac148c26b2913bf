"""Image encoders from timm, and the preparation of images for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skyshards.errors import BuildError, UsageError

if TYPE_CHECKING:
    import torch

MODEL = "hf_hub:mwalmsley/zoobot-encoder-convnext_nano"
UNTRAINED_MODEL = "convnext_nano"
"""Default model of `--untrained`: the architecture of the default model."""
SEED = 0
"""Seed of random weights, so that a resumed run has the same ones."""


@dataclass(frozen=True)
class Encoder:
    """An image encoder and its normalization.

    `network` maps float32 [batch, 3, size, size] to float32 [batch, length]. Images in the range 0 to 1 are normalized
    with `mean` and `std`, three numbers each. `about` describes it in the output's metadata (JSON values).
    """

    network: Callable[[torch.Tensor], torch.Tensor]
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    about: dict[str, Any]


def timm_encoder(model: str | None = None, untrained: bool = False) -> Encoder:
    """Load an encoder with `timm.create_model`, on the GPU if there is one.

    Parameters
    ----------
    model : str, optional
        Such as "hf_hub:mwalmsley/zoobot-encoder-convnext_nano" (the default) or "convnext_nano.in12k_ft_in1k".
    untrained : bool
        Use random weights, for trials without a network connection.

    Returns
    -------
    Encoder

    Raises
    ------
    UsageError
        timm is not installed, or does not know the model.
    BuildError
        The weights cannot be downloaded.
    """
    model = model or (UNTRAINED_MODEL if untrained else MODEL)
    if untrained and ":" in model:
        raise UsageError(f"`untrained`: expected one of timm's own models, such as {UNTRAINED_MODEL}, found {model}")
    try:
        import timm
        import torch
    except ImportError as error:
        raise UsageError(f"embedding needs PyTorch and timm ({error}): pip install 'skyshards[embed]'") from error
    torch.manual_seed(SEED)
    try:
        network = timm.create_model(model, pretrained=not untrained, num_classes=0)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"`model` {model}: timm cannot make it ({error}); timm.list_models() lists the names"
        ) from error
    except OSError as error:  # includes the errors of the Hub
        hint = "try again, or give `untrained` for random weights"
        raise BuildError(f"`model` {model}: its weights cannot be fetched ({error}); {hint}") from error
    expects = timm.data.resolve_model_data_config(network)
    about = {"model": model, "untrained": untrained, "seed": SEED if untrained else None, "timm": timm.__version__}
    return Encoder(network.eval().to(device()), expects["input_size"][-1], expects["mean"], expects["std"], about)


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def prepared(images: np.ndarray, size: int, device: str = "cpu") -> torch.Tensor:
    """Prepare images for an encoder: float32 [batch, 3, size, size] from 0 to 1.

    Parameters
    ----------
    images : array [batch, H, W], [batch, H, W, channels] or [batch, channels, H, W]
        With 1, 3 or 4 channels; the fourth (transparency) is dropped, and grey images get three equal channels.
    size : int
        Width and height to resize to, pixels.
    device : str
        Device of the result.

    Raises
    ------
    UsageError
        The arrays have another shape.
    """
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    if batch.ndim == 3:
        batch = batch[:, None]
    elif batch.ndim == 4 and batch.shape[-1] in (1, 3, 4):
        batch = batch.permute(0, 3, 1, 2)
    if batch.ndim != 4 or batch.shape[1] not in (1, 3, 4):
        raise UsageError(f"column: expected images with 1, 3 or 4 channels, found arrays of shape {images.shape[1:]}")
    batch = batch[:, :3]
    if batch.dtype == torch.uint8:
        batch = batch.float() / 255
    else:
        batch = batch.float()
        least, greatest = (edge(batch, dim=(1, 2, 3), keepdim=True) for edge in (torch.amin, torch.amax))
        batch = (batch - least) / (greatest - least).clamp(min=torch.finfo(torch.float32).tiny)
    batch = batch.expand(-1, 3, -1, -1)
    if batch.shape[-2:] == (size, size):
        return batch
    return torch.nn.functional.interpolate(batch, (size, size), mode="bicubic", antialias=True).clamp(0, 1)


def encode(images: np.ndarray, encoder: Encoder) -> np.ndarray:
    """Compute the vectors of a batch of images, float32 [batch, length].

    For the images see `prepared`; an object array holds images of different sizes.
    """
    import torch

    where = device()
    with torch.inference_mode():
        if images.dtype == object:  # of several sizes
            batch = torch.cat([prepared(image[None], encoder.size, where) for image in images])
        else:
            batch = prepared(images, encoder.size, where)
        mean, std = (torch.tensor(values, device=where).view(1, 3, 1, 1) for values in (encoder.mean, encoder.std))
        vectors = encoder.network((batch - mean) / std)
    return vectors.float().cpu().numpy()
