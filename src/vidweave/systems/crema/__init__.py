"""CREMA: any modality for a few million parameters (Yu, Yoon and Bansal, ICLR 2025, arXiv 2402.05889)."""
