"""Photos with their masks beside them, paired by name."""

from pathlib import Path

from umtfss.data.folder import SUFFIXES

MASK_ENDINGS = ("-mask", "_mask")


def pairs(folder: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """The photos of a folder with their masks, and what is wrong with its files.

    The mask of `a.jpg` is `a.png`, `a-mask.png` or `a_mask.png`. Sub-folders, hidden files and
    files of other kinds are left out.
    """
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    stems = [path.stem for path in files]
    shared = {stem for stem in stems if stems.count(stem) > 1}
    masks: dict[str, list[Path]] = {}  # by the stem of their photo
    photos = []
    for path in files:
        ending = next((end for end in MASK_ENDINGS if path.stem.endswith(end)), "")
        if ending or (path.suffix.lower() == ".png" and path.stem in shared):
            masks.setdefault(path.stem.removesuffix(ending), []).append(path)
        else:
            photos.append(path)
    found, problems = [], []
    for photo in photos:
        own = masks.pop(photo.stem, [])
        if len(own) == 1:
            found.append((photo, own[0]))
        else:
            named = ", ".join(path.name for path in own)
            problems.append(f"{photo} has {f'several masks: {named}' if own else 'no mask'}")
    problems += [f"{path} is the mask of no photo" for some in masks.values() for path in some]
    return found, problems
