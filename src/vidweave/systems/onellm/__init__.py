"""OneLLM: one universal encoder for eight modalities and a mixture of projection experts, in front of LLaMA-2."""
