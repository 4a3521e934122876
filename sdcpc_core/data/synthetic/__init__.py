"""A procedural drive through a street, in CamVid's 11 classes."""

from sdcpc_core.data.synthetic.drive import SyntheticDrive, SyntheticFrame

__all__ = ["SyntheticDrive", "SyntheticFrame"]
