"""Caption metrics of the COCO evaluation: tokenizer, BLEU, ROUGE-L and CIDEr in Python; METEOR and SPICE by Java."""
