"""One file per family of vision-language models, registered in `registry.VLM_FAMILIES` by transformers' `model_type`."""
