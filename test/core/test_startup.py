"""What a robot waits for before its first frame."""

import json
import subprocess
import sys

FIRST_FRAME = """
import json, sys
from sdcpc_core import Segmenter
Segmenter.from_checkpoint(device="cpu").warm_up((64, 96))
print(json.dumps(sorted(sys.modules)))
"""


def test_nothing_but_the_network_is_imported_up_to_the_first_frame():
    modules = json.loads(subprocess.check_output([sys.executable, "-c", FIRST_FRAME], text=True))
    # PyTorch's compiler alone doubles the time.
    assert not {"torch._dynamo", "transformers", "lightning", "rich", "jinja2"} & set(modules)
