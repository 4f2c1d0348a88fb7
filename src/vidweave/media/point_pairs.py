"""Read 3D-LLM's scene files: features of the points, and the voxel of each point in a second file.

`voxelized_features_sam_nonzero_preprocess/<scene>.pt` is a tensor (P, C), `voxelized_voxels_sam_nonzero_preprocess/
<scene>.npy` integers (P, 3) in 0..255. `vidweave extract pointfeatures` writes such pairs.
"""

# Axes: P points, C feature width

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch

from vidweave.errors import MediaDecodeError, MediaTypeError
from vidweave.media.arrays import ArrayFile
from vidweave.types import PointCloud

__all__ = ["FEATURES", "VOXELS", "read_point_pair"]

FEATURES = "voxelized_features_sam_nonzero_preprocess"
VOXELS = "voxelized_voxels_sam_nonzero_preprocess"


def read_point_pair(root: Path, scene: str) -> PointCloud | None:
    """Read the points of a scene in the folder `root`: voxels as coordinates, and memory-mapped features. None without
    features.

    Raises:
        MediaTypeError: features that are not a float tensor (P, C) (code in a file is never run), or voxels that are not
            integers (P, 3).
        MediaDecodeError: voxels that are missing, unreadable or of another number than the features.
    """
    features_file, voxels_file = root / FEATURES / f"{scene}.pt", root / VOXELS / f"{scene}.npy"
    if not features_file.exists():
        return None
    if not voxels_file.exists():
        raise MediaDecodeError(f"{features_file} has no matching voxels; {voxels_file} is missing")
    features = _mapped(features_file)
    with ArrayFile(voxels_file) as array:
        if len(array.shape) != 2 or array.shape[1] != 3:
            raise MediaTypeError(f"{array.label} has shape {array.shape}, but voxels must be (P, 3)")
        voxels = array.read_all().astype(np.float32)
    if (voxels % 1).any():
        raise MediaTypeError(f"{voxels_file.name} holds fractions, but voxels must be integers")
    if len(voxels) != len(features):
        raise MediaDecodeError(f"{scene}: {len(features)} points have features and {len(voxels)} have voxels")
    return PointCloud(voxels, features)


def _mapped(file: Path) -> np.ndarray:
    """Memory-map the tensor (P, C) of a `.pt` file."""
    try:
        is_zip = zipfile.is_zipfile(file)  # files of torch before 1.6 are not, and cannot be mapped
        tensor = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MediaTypeError(
            f"{file.name} cannot be read as a plain tensor ({reason}); save it with torch.save"
        ) from error
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 2 or not tensor.is_floating_point():
        info = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise MediaTypeError(f"{file.name} holds {info}, but point features must be floats (P, C)")
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # numpy has no bfloat16
