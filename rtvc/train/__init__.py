"""Training: from corpora to the networks of the neural voice and their ONNX files. Needs the extra `train`."""


class TrainingError(Exception):
    """A step of the training cannot be done; the text says which file or option and what to do."""
