"""3D-LLM's files of a scene: the features of its points, and the voxel of each in a file beside them.

`voxelized_features_sam_nonzero_preprocess/<scene>.pt` is a tensor (P, C), `voxelized_voxels_sam_nonzero_preprocess/
<scene>.npy` whole numbers (P, 3) in 0..255. `vidweave extract pointfeatures` writes such pairs.
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
    """The points of a scene in the folder `root`: voxels as coordinates, and features that stay in their file (mapped)
    until they are used. None where there are no features.

    Raises:
        MediaTypeError: features that are no tensor (P, C) of floats (no code of a file is ever run), voxels that are not
            whole numbers (P, 3).
        MediaDecodeError: voxels that are missing or cannot be read, or as many of them as of other points.
    """
    features_file, voxels_file = root / FEATURES / f"{scene}.pt", root / VOXELS / f"{scene}.npy"
    if not features_file.exists():
        return None
    if not voxels_file.exists():
        raise MediaDecodeError(f"{features_file} has no voxels beside it; {voxels_file} is missing")
    features = _mapped(features_file)
    with ArrayFile(voxels_file) as array:
        if len(array.shape) != 2 or array.shape[1] != 3:
            raise MediaTypeError(f"{array.label} holds an array of shape {array.shape}, voxels are (P, 3)")
        voxels = array.read_all().astype(np.float32)
    if (voxels % 1).any():
        raise MediaTypeError(f"{voxels_file.name} holds fractions, voxels are whole numbers")
    if len(voxels) != len(features):
        raise MediaDecodeError(f"{scene}: {len(features)} points have features and {len(voxels)} have voxels")
    return PointCloud(voxels, features)


def _mapped(file: Path) -> np.ndarray:
    """The tensor (P, C) of a `.pt` file, read when it is used."""
    try:
        is_zip = zipfile.is_zipfile(file)  # files of torch before 1.6 are none, and cannot be mapped
        tensor = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MediaTypeError(
            f"{file.name} cannot be read as a tensor alone ({reason}); save it with torch.save"
        ) from error
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 2 or not tensor.is_floating_point():
        told = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise MediaTypeError(f"{file.name} holds {told}, features of points are floats (P, C)")
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # numpy has no bfloat16
