"""The speed of streaming SD-CPC beside SegFormer, measured in one run."""
