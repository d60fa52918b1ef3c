"""Wrong formulas: every test file must fail when the formula that it tests is wrong.

python -m tests.mutations    # a quarter of an hour of one core; writes tests/mutations.md
"""

import argparse
import importlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, copy_project

PAGE = ROOT / "tests/mutations.md"
HEAVY = ("faiss", "h5py", "hypothesis", "pandas", "scipy.stats", "skimage", "sklearn", "torch")
HEAD = """# Wrong formulas

`python -m tests.mutations` writes this page. In a copy of the project it replaces one text of the
package, runs one file of `tests/unit`, and puts the text back. *Caught* is a file with a test that
fails.

| formula | replaced | by | test file | outcome |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Mutation:
    """A wrong formula.

    Attributes:
        formula: What the formula computes.
        source: File of the package that holds the text, once.
        old: A text of the formula.
        new: The wrong text.
        test: File below `tests/unit` that tests the formula.
    """

    formula: str
    source: str
    old: str
    new: str
    test: str


def of(formula: str, source: str, test: str, *texts: tuple[str, str]) -> tuple[Mutation, ...]:
    """The mutations of a formula.

    Args:
        formula: What the formula computes.
        source: File below `umtfss`.
        test: File below `tests/unit`.
        *texts: Right and wrong texts.
    """
    return tuple(Mutation(formula, f"umtfss/{source}", old, new, test) for old, new in texts)


MUTATIONS = (
    *of(
        "dice loss",
        "models/layers/dice.py",
        "models/layers/test_dice.py",
        ("2 * overlap /", "overlap /"),
        ("(1 - dice).sum(1).mean()", "(1 - dice).sum(0).mean()"),
        ("probability.square()", "probability"),
        (".clamp(min=_SMALLEST)", ""),
    ),
    *of(
        "cross-entropy of pixels",
        "models/layers/cross_entropy.py",
        "models/test_pfenet.py",
        ("logits[:, 1:].float() - logits[:, :1]", "logits[:, :1].float() - logits[:, 1:]"),
        ("counted.sum().clamp(min=1)", "counted.numel()"),
        (".clamp(min=1)", ""),
    ),
    *of(
        "masked average",
        "models/layers/prior_mask.py",
        "models/layers/test_prior_mask.py",
        ("weight.sum(1, keepdim=True) + _AREA", "weight.sum(1, keepdim=True)"),
        ("weight.sum(1, keepdim=True) + _AREA", "weight.sum(0, keepdim=True) + _AREA"),
    ),
    *of(
        "prior mask",
        "models/layers/prior_mask.py",
        "models/layers/test_prior_mask.py",
        ("(cosine - low) / (high - low + _RANGE)", "(cosine - low) / (high - low)"),
        ("(cosine - low) / (high - low + _RANGE)", "(high - cosine) / (high - low + _RANGE)"),
        ("torch.inf).amin(1, keepdim=True)", "torch.inf).amin(0, keepdim=True)"),
        ("(prior / shots)", "prior"),
    ),
    *of(
        "matcher of prototypes",
        "models/prototype.py",
        "models/test_prototype.py",
        (
            "(valid - mask).flatten(1), mask.flatten(1)",
            "mask.flatten(1), (valid - mask).flatten(1)",
        ),
        ("cosine[:, 1] > cosine[:, 0]", "cosine[:, 1] < cosine[:, 0]"),
        ("[half, -half]", "[-half, half]"),
    ),
    *of(
        "prototypes of groups",
        "models/layers/prototype_attention.py",
        "models/layers/test_prototype_attention.py",
        (
            'F.normalize(sums, dim=2) if pool == "mean"',
            'F.normalize(sums, dim=1) if pool == "mean"',
        ),
        ("[:, None] * (total + 1)).flatten()", "[:, None] * total).flatten()"),
    ),
    *of(
        "hash codes",
        "models/layers/hamming_kmeans.py",
        "models/layers/test_hamming_kmeans.py",
        ("bits) > thresholds[:, None]", "bits) > -thresholds[:, None]"),
        ("(3**0.5 / 2**16)", "(3 / 2**16)"),
        ("parts - 2 * 0xFFFF", "parts - 0xFFFF"),
    ),
    *of(
        "k-means in Hamming space",
        "models/layers/hamming_kmeans.py",
        "models/layers/test_hamming_kmeans.py",
        ("sums[..., :bits] > 0, float(scale)", "sums[..., :bits] >= 0, float(scale)"),
        ("centres[..., -1] = -torch.arange", "centres[..., -1] = torch.arange"),
        ("member.sum(1, keepdim=True) <= size", "member.sum(1, keepdim=True) < size"),
    ),
    *of(
        "k-means of pixels",
        "clustering/pixel_kmeans.py",
        "clustering/test_pixel_kmeans.py",
        ("2 * centres, -centres.square()", "2 * centres, centres.square()"),
        ("2 * centres, -centres.square()", "centres, -centres.square()"),
        ("drift / np.maximum(total, 1)", "drift / np.maximum(new, 1)"),
    ),
    *of(
        "nearest centre of a pixel",
        "pseudo_masks/assign.py",
        "pseudo_masks/test_assign.py",
        ("@ centres.T - centres.square()", "@ centres.T + centres.square()"),
        ("align_corners=align_corners)", "align_corners=False)"),
    ),
    *of(
        "counts of an episode",
        "episodes/overlap.py",
        "evaluation/test_miou.py",
        ("(predicted | true)", "(predicted & true)"),
        ("predicted & (label != IGNORE)", "predicted"),
    ),
    *of(
        "mIoU",
        "evaluation/miou.py",
        "evaluation/test_miou.py",
        ("int(labelled - union)", "int(labelled)"),
        ("(foreground + background) / 2", "(foreground + background)"),
        ("self.union - self.intersection", "self.union + self.intersection"),
        ("np.bincount(place, iou) / episodes", "np.bincount(place, iou) / episodes.mean()"),
    ),
    *of(
        "intervals",
        "evaluation/intervals.py",
        "evaluation/test_intervals.py",
        ("values.std(ddof=1) / np.sqrt(count)", "values.std(ddof=1)"),
        ("values.std(ddof=1)", "values.std(ddof=0)"),
        ("stdtrit(count - 1, (1 + coverage) / 2)", "stdtrit(count - 1, coverage)"),
        ("covariance.sum() - np.trace(covariance)", "covariance.sum()"),
        ("sums[:, ::2] / sums[:, 1::2]", "sums[:, 1::2] / sums[:, ::2]"),
        ("(one * other).sum(0) / size", "-(one * other).sum(0) / size"),
    ),
    *of(
        "learning rate",
        "training/schedule.py",
        "training/test_schedule.py",
        ("(1 - done) ** settings", "(1 + done) ** settings"),
        ("(1 + cos(pi * done))", "(1 - cos(pi * done))"),
        ("(step + 1) / warmup)", "step / warmup)"),
    ),
    *of(
        "means of superpixels",
        "pseudo_masks/superpixels.py",
        "pseudo_masks/test_superpixels.py",
        ("(1 - part) * score + part * means", "part * score + (1 - part) * means"),
        ("superpixels * clusters + labels", "labels * clusters + superpixels"),
        ("/ np.maximum(pixels, 1)", "/ pixels"),
    ),
    *of(
        "spectral saliency",
        "pseudo_masks/saliency.py",
        "pseudo_masks/test_saliency.py",
        ("links.sum(1) ** -0.5", "links.sum(1) ** -1"),
        ("cosine > cosine.mean()", "cosine < cosine.mean()"),
        ("score -= score.mean()", "score -= 0"),
        ("shares[0] <= shares[1]", "shares[0] >= shares[1]"),
    ),
    *of(
        "graph of a pool",
        "features/pool_graph.py",
        "features/test_pool_graph.py",
        (
            "(cosine[chosen] - 1) / settings.temperature",
            "(1 - cosine[chosen]) / settings.temperature",
        ),
        ("weights.sum(1)).ravel() ** -0.5", "weights.sum(1)).ravel() ** -1"),
        ("image[other] != image[:, None]", "image[other] == image[:, None]"),
    ),
    *of(
        "diffused features",
        "features/diffusion.py",
        "features/test_diffusion.py",
        ("-np.inf) - 1) / settings.temperature", "-np.inf) - 1) * settings.temperature"),
        ("vectors[:, ::-1][:, :count]", "vectors[:, :count]"),
        (
            "(1 - keep) ** 0.5 * found, keep**0.5 * own",
            "keep**0.5 * found, (1 - keep) ** 0.5 * own",
        ),
    ),
    *of(
        "tokens and pixels",
        "features/geometry.py",
        "features/test_geometry.py",
        ("token * ((pixels - 1) / (tokens - 1))", "token * (pixels / tokens)"),
        ("(pixels / tokens) - 0.5", "(pixels / tokens)"),
        ("labelled >= 0.5", "labelled > 0"),
    ),
    *of(
        "transductive inference",
        "models/layers/transduction.py",
        "models/layers/test_transduction.py",
        ("(p - task.label) / len(p)", "(task.label - p) / len(p)"),
        ("terms.kl * by_mean - terms.entropy * z", "terms.kl * by_mean + terms.entropy * z"),
        ("(total - along * direction), -slope", "(total - along * direction), slope"),
    ),
    *of(
        "deformable attention",
        "models/layers/deformable_attention.py",
        "models/layers/test_deformable_attention.py",
        ("top - top_right, top_right,", "top_right, top - top_right,"),
        ("offsets[..., 0, :] + column", "offsets[..., 1, :] + column"),
    ),
    *of(
        "scale of mid features",
        "features/standard.py",
        "features/test_standard.py",
        ("np.float32(std / found)", "np.float32(found / std)"),
    ),
    *of(
        "pools of supports",
        "episodes/draw_unlabelled.py",
        "episodes/test_draw_unlabelled.py",
        (
            "np.partition(cosine, -pool_size, axis=1)[:, -pool_size, None]",
            "np.partition(cosine, pool_size, axis=1)[:, pool_size, None]",
        ),
        ("cosine[here, start + here] = -np.inf", "cosine[here, here] = -np.inf"),
    ),
)


def fails(test: str, root: Path) -> bool:
    """Whether a test file of a project fails, in a process that has loaded the heavy libraries.

    Raises:
        RuntimeError: No test ran.
    """
    child = os.fork()
    if child == 0:  # the copy's modules are loaded anew, libraries are not
        os.chdir(root)
        sys.path.insert(0, str(root))
        for name in [one for one in sys.modules if one.split(".")[0] in ("umtfss", "tests")]:
            del sys.modules[name]
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", f"tests/unit/{test}"]))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, 1):
        raise RuntimeError(f"pytest ended with {code} on {test}")
    return code == 1


def is_caught(mutation: Mutation, root: Path) -> bool:
    """Whether the test file of a mutation fails in a copy of the project, which stays as it is."""
    path = root / mutation.source
    text = path.read_text()
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        return fails(mutation.test, root)
    finally:
        path.write_text(text)


def main() -> None:
    """Try every mutation and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formula", help="only those of a formula; writes no page")
    asked = parser.parse_args().formula
    chosen = [one for one in MUTATIONS if asked in (None, one.formula)]
    for name in HEAVY:
        importlib.import_module(name)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = copy_project(Path(name) / "umtfss").root
        for test in sorted({one.test for one in chosen}):
            if fails(test, root):
                sys.exit(f"{test} fails without a mutation")
        for one in chosen:
            outcome = "caught" if is_caught(one, root) else "**missed**"
            cells = (one.formula, f"`{one.old}`", f"`{one.new}`", f"`{one.test}`", outcome)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
            print(rows[-1], end="", flush=True)
    if asked is None:
        PAGE.write_text(HEAD + "".join(rows))


if __name__ == "__main__":
    main()
