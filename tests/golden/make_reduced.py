"""Makes the reduced golden files of this folder from the whole ones.

    python tests/golden/make_reduced.py

A reduced file begins behind the projections of the mid features, which hold most of the bytes: its
mid feature is the stored projected one, and its projections are unit matrices, so that all that
follows is the release's own numbers. Of UMTFSS it has the whole model, of CyCTR the first layer,
of PFENet the first scale. Arrays that nothing else depends on are left out. UMTFSS's file alone
has the high features, which all share.
"""

import os
import re
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
WHOLE = Path(os.environ.get("UMTFSS_GOLDEN", HERE.parents[2] / "shared" / "golden"))
BEGINNING = r"inputs/.*(label|padding|layer4)|weights/(query_|support_|level|scale_0\.)"
KEPT = {
    "umtfss": r"settings/|draws/|inputs/.*(label|padding|layer4)|weights/|results/(mask_on|global"
    r"|support_v|prior|token|element|prototype|query_tok|.*probability|.*1\.block|logits_on|loss)"
    r"|gradients/(support_merge|.*(offsets|value|key))",
    "cyctr": rf"settings/|draws/test|{BEGINNING}|weights/(self|cross)_attention_0|results/(mask_on"
    r"|prior|token|query_tok|repaired\.(element|cross_attention_0\.(token|incons|prob|block)))",
    "pfenet": rf"settings/|{BEGINNING}|results/(mask_on|prior|scale_0\.(merged|refined|logits))",
}


def reduced(name: str) -> dict[str, np.ndarray]:
    """The arrays of a reduced file."""
    with np.load(WHOLE / f"golden_{name}.npz") as file:
        whole = dict(file)
    kept = {key: value for key, value in whole.items() if re.match(KEPT[name], key)}
    for role in ("query", "support"):
        projected = whole[f"results/{role}_projected"]
        kept[f"inputs/{role}_mid"] = projected
        unit = np.eye(projected.shape[-3], dtype=np.float32)[..., None, None]
        kept[f"weights/{role}_projection.weight"] = unit
        layer4 = kept.pop(f"inputs/{role}_layer4")
        if name == "umtfss":  # one file holds it for all, as multiples of 1/4
            kept[f"inputs/{role}_layer4"] = (4 * layer4).astype(np.int8)
            assert np.array_equal(4 * layer4, kept[f"inputs/{role}_layer4"])
    kept["settings/reduced"] = np.array(1)
    if name == "cyctr":
        kept["settings/layers"] = np.array(1)
    if name == "pfenet":
        for key in ("scale_sides", "scales_as_configured"):
            kept[f"settings/{key}"] = whole[f"settings/{key}"][:1]
    return kept


if __name__ == "__main__":
    for one in sys.argv[1:] or KEPT:
        np.savez_compressed(HERE / f"golden_{one}.npz", **reduced(one))
