"""Where a sound came from: the payload of the watermark, and finding it again."""
