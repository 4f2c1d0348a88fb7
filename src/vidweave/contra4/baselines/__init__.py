"""Ways to answer a question about several scenes, each an `Answerer`: through captions, an endpoint, or scene by scene."""
