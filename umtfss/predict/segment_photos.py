"""Segmentation of many photos: results of each are kept, so a call goes on where it was.

`results.jsonl` has a line for each photo. Its first line says what made them; with other supports,
weights or settings all photos are segmented anew. Scores and COCO JSON are written from it at last.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from umtfss.common.digests import digest_json
from umtfss.common.errors import DataError
from umtfss.common.files import atomic_path, write_json
from umtfss.figures.overlay import overlay_labels
from umtfss.predict.annotations import coco, encode, labelme
from umtfss.predict.outputs import Outputs, Query
from umtfss.predict.segmenter import NO_MIN_SCORE, Segmentation, Segmenter
from umtfss.predict.supports import read_photo

Record = dict[str, Any]


def segment_photos(
    segmenter: Segmenter,
    queries: Sequence[Query],
    outputs: Outputs,
    report: Callable[[str], None] = tqdm.write,
) -> list[Record]:
    """Segment photos, write their files, and return their records.

    A photo that cannot be read is reported and passed over; its record has an `error`. Photos that
    an equal call has segmented before are not computed again, and their number is reported.

    Args:
        segmenter: A fitted segmenter.
        queries: The photos.
        outputs: The files to write.
        report: Takes a line about each photo that is segmented, and one about all others.
    """
    path = outputs.record
    kinds = [outputs.names, outputs.soft, outputs.labelme]
    head = {"made_by": digest_json([segmenter.digest, kinds])}
    known = _known(path, head)
    with atomic_path(path) as temporary:  # without the rest of a line that a killed call began
        temporary.write_text("".join(json.dumps(line) + "\n" for line in (head, *known.values())))
    records, computed = [], 0
    try:
        with open(path, "a") as stream:
            for query in tqdm(queries, unit="photo", disable=len(queries) == 1):
                record = known.get(query.name)
                if record is None or not _is_current(record, query, outputs):
                    record = _segment(segmenter, query, outputs)
                    computed += 1
                    stream.write(json.dumps(record) + "\n")
                    stream.flush()
                    report(describe(record, query, outputs))
                records.append(record)
    finally:
        write_tables(records, outputs)
    if kept := len(records) - computed:
        report(
            f"already done: {kept} of {len(records)} photos, by an equal call before; "
            f"to segment them again, delete {path}"
        )
    return records


def describe_lowest(segmenter: Segmenter) -> str:
    """Which scores are too low for an object to be in a photo, in one line.

    Args:
        segmenter: A fitted segmenter.
    """
    lowest = dict(sorted(zip(segmenter.shots, segmenter.lowest_scores.tolist(), strict=True)))
    if max(lowest.values()) <= NO_MIN_SCORE:
        return "no object is left out for its score; --min-score sets a limit"
    if segmenter.min_score is not None:
        return f"objects with a score below {segmenter.min_score:g} are left out"
    of = ", ".join(f"{score:.3f} with {n} shot{'s' * (n > 1)}" for n, score in lowest.items())
    return f"objects with a score below {of} are left out; --min-score sets another limit"


def describe(record: Record, query: Query, outputs: Outputs) -> str:
    """What is found in a photo, in one line."""
    if "error" in record:
        return f"{query.path}: not segmented: {record['error']}"
    parts = [
        f"{one['name']} {100 * one['share']:.1f} % (score {one['score']:.2f})"
        if one["share"]
        else f"no {one['name']} (score {one['score']:.2f})"
        for one in record["objects"]
    ]
    return f"{outputs.mask(query)}: {', '.join(parts)}"


def _segment(segmenter: Segmenter, query: Query, outputs: Outputs) -> Record:
    """Segment one photo and write its files."""
    try:
        pixels = read_photo(query.path)
    except DataError as error:
        return {"photo": query.name, "error": str(error)}
    record = write_photo(pixels, segmenter.segment(pixels), query, outputs)
    return {**record, "stamp": _stamp(query.path)}


def objects(found: Segmentation, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The name, score, share of the photo and run lengths of every object."""
    for number, (name, score) in enumerate(zip(names, found.scores, strict=True), 1):
        mask = found.labels == number
        yield {
            "name": name,
            "score": round(float(score), 4),
            "share": round(float(mask.mean()), 5) if mask.any() else 0,
            "runs": encode(mask),
        }


def write_photo(pixels: np.ndarray, found: Segmentation, query: Query, outputs: Outputs) -> Record:
    """Write the files of a photo, and return its record.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        found: What is found in it.
        query: The photo.
        outputs: The files to write.
    """
    record = {
        "photo": query.name,
        "file": _file_name(query),
        "size": list(found.labels.shape),
        "objects": list(objects(found, outputs.names)),
    }
    colours = (np.array(outputs.colours) * 255).round().astype(np.uint8)
    if outputs.named:
        mask = Image.fromarray(found.labels)
        mask.putpalette([0, 0, 0, *colours.ravel().tolist()])
    else:
        mask = Image.fromarray(found.labels * 255)
    picture = overlay_labels(pixels, found.labels, outputs.colours)
    images = [mask, Image.fromarray((picture * 255).round().astype(np.uint8))]
    paths = [outputs.mask(query), outputs.overlay(query)]
    if outputs.soft:
        images += [Image.fromarray((one * 255).round().astype(np.uint8)) for one in found.soft]
        paths += outputs.soft_masks(query)
    for path, image in zip(paths, images, strict=True):
        with atomic_path(path) as temporary:
            image.save(temporary)
    for path in outputs.labelme_file(query):
        where = os.path.relpath(query.path.resolve(), path.parent.resolve())
        write_json(path, labelme(where, record["size"], _shown(record)))
    return record


def write_tables(records: Iterable[Record], outputs: Outputs) -> None:
    """Write scores, COCO JSON and the list of names."""
    good = [record for record in records if "error" not in record]
    with (
        atomic_path(outputs.scores) as temporary,
        open(temporary, "w", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["photo", "object", "score", "share"])
        for record in good:
            for one in record["objects"]:
                writer.writerow([record["file"], one["name"], one["score"], one["share"]])
    photos = [(record["file"], _shown(record)) for record in good]
    sizes = {record["file"]: record["size"] for record in good}
    write_json(outputs.regions, coco(photos, sizes, outputs.names, outputs.coco))
    if outputs.named:
        with atomic_path(outputs.classes) as temporary:
            temporary.write_text("".join(f"{name}\n" for name in outputs.names))


def _shown(record: Record) -> list[dict[str, Any]]:
    """The objects that are in a photo."""
    return [one for one in record["objects"] if one["share"]]


def _file_name(query: Query) -> str:
    """The photo's path below the folder that was searched."""
    return str(Path(query.name).with_name(query.path.name))


def _known(path: Path, head: Record) -> dict[str, Record]:
    """Photo -> record of an equal call before, which wrote `head`; empty if there is none."""
    if not path.is_file():
        return {}
    first, *lines = path.read_text().splitlines() or [""]
    if first != json.dumps(head):
        return {}
    known = {}
    for line in lines:
        with suppress(json.JSONDecodeError):  # the last line of a call that was killed
            record = json.loads(line)
            known[record["photo"]] = record
    return known


def _is_current(record: Record, query: Query, outputs: Outputs) -> bool:
    """Whether a record is that of the photo as it lies there, with all its files."""
    return (
        "error" not in record
        and record["stamp"] == _stamp(query.path)
        and all(path.is_file() for path in outputs.paths(query))
    )


def _stamp(path: Path) -> list[int]:
    """Size and time of a file, which change with its content."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
