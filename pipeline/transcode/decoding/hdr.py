"""HDR pixels (BT.2020 primaries, PQ or HLG curve; ITU-R BT.2100) to what an SDR screen shows (BT.709 primaries, sRGB).

Diffuse white is 203 nits (BT.2408). Up to KNEE of it nothing changes; brighter light is compressed, hue kept.
"""

from __future__ import annotations

import numpy as np

WHITE_NITS = 203.0
HLG_PEAK_NITS = 1000.0
KNEE = 0.6
TO_BT709 = np.array(  # BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


def tone_map(pixels: np.ndarray, *, is_pq: bool) -> np.ndarray:
    """uint16 (H, W, 3) on the PQ or HLG curve to uint8 (H, W, 3)."""
    signal = pixels.astype(np.float32) / 65535.0
    light = (pq_to_nits(signal) if is_pq else hlg_to_nits(signal)) / WHITE_NITS
    light = np.maximum(light @ TO_BT709.T, 0.0)
    peak = light.max(axis=-1, keepdims=True)
    light *= np.where(peak > KNEE, shoulder(peak) / np.maximum(peak, KNEE), 1.0)
    return np.round(255.0 * srgb(light)).astype(np.uint8)


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084's curve, [0, 1] to [0, 10000] nits."""
    root = np.power(signal, 32.0 / 2523.0)
    return 10000.0 * np.power(np.maximum(root - 0.8359375, 0.0) / (18.8515625 - 18.6875 * root), 8192.0 / 1305.0)


def hlg_to_nits(signal: np.ndarray) -> np.ndarray:
    """BT.2100's inverse OETF and OOTF for a screen of HLG_PEAK_NITS."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3.0, (np.exp((signal - c) / a) + b) / 12.0)
    luma = (scene @ LUMA_2020)[..., None]
    return HLG_PEAK_NITS * np.power(np.maximum(luma, 1e-6), 0.2) * scene


def shoulder(light: np.ndarray) -> np.ndarray:
    """Identity up to KNEE, then towards 1 and never above."""
    over = np.maximum(light - KNEE, 0.0) / (1.0 - KNEE)
    return np.minimum(light, KNEE) + (1.0 - KNEE) * over / (1.0 + over)


def srgb(light: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, linear [0, 1] to signal."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(np.maximum(light, 0.0031308), 1 / 2.4) - 0.055)
