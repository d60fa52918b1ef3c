"""The photos to segment."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from umtfss.common.errors import DataError
from umtfss.data.folder import SUFFIXES, FolderDataset
from umtfss.predict.outputs import Outputs, Query
from umtfss.predict.supports import Support


def find_queries(
    paths: Sequence[Path],
    outputs: Outputs,
    supports: Sequence[Support] = (),
) -> list[Query]:
    """Find the photos to segment, each with its own results.

    Args:
        paths: Photos, or folders that are searched with their sub-folders. Files in the folder of
            the results are left out.
        outputs: The files that are written; no photo or mask is overwritten.
        supports: The supports, whose masks are left out of searched folders.

    Raises:
        DataError: A path does not exist, a folder holds no photo, two photos would have the same
            result file, or a result would overwrite an input.
    """
    queries: list[Query] = []
    folder = outputs.folder
    masks = {support.mask.resolve() for support in supports}
    for path in paths:
        if path.is_dir():
            ids = FolderDataset("queries", path).ids("all")
            if path.resolve() in folder.resolve().parents:
                inner = folder.resolve().relative_to(path.resolve())
                ids = [i for i in ids if inner not in Path(i).parents]
            ids = [i for i in ids if (path / i).resolve() not in masks]
            queries += [Query(path / i, str(Path(i).with_suffix(""))) for i in ids]
        elif path.is_file() and path.suffix.lower() in SUFFIXES:
            queries.append(Query(path, path.stem))
        else:
            raise DataError(
                f"{path} is no photo and no folder of photos",
                expected=f"a file ending in {', '.join(sorted(SUFFIXES))}, or a folder",
                found="another kind of file" if path.exists() else "nothing there",
                fix="correct the path",
            )
    written = {path.resolve(): Path("all photos") for path in outputs.lists}
    for query in queries:
        for path in outputs.paths(query):
            if path.resolve() in written:
                raise DataError(
                    f"two results would be written to {path}",
                    found=f"results of {written[path.resolve()]} and {query.path}",
                    fix="rename one of them, or segment them into different --out folders",
                )
            written[path.resolve()] = query.path
    read = [query.path for query in queries]
    read += [path for support in supports for path in (support.image, support.mask)]
    if lost := sorted(str(path) for path in read if path.resolve() in written):
        raise DataError(
            f"a result would overwrite {lost[0]}",
            expected="another folder than that of the photos and masks",
            found=str(folder),
            fix="give another --out",
        )
    if not queries:
        raise DataError(
            "there is no photo to segment",
            expected="a photo that is no mask of a support and no result",
            found=", ".join(map(str, paths)) or "no path",
            fix="name photos, or folders of photos",
        )
    return queries


def check_folder(folder: Path) -> None:
    """Check that results can be written to a folder, before anything is computed.

    Raises:
        DataError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"nothing can be written to {folder} ({error.strerror})", fix="give another --out"
        ) from error
