"""Public checks of the contracts: run them over your own encoder, trunk, selector or pipeline before you register it."""

from vidweave.testing.encoders import check_encoder
from vidweave.testing.pipelines import check_pipeline
from vidweave.testing.selectors import check_selector
from vidweave.testing.trunks import check_trunk

__all__ = ["check_encoder", "check_pipeline", "check_selector", "check_trunk"]
