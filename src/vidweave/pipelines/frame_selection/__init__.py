"""Frame selectors in front of any pipeline: open a clip, score its frames for a question, return timestamps."""
