"""Errors meant for the user: what is wrong, what was expected, what was found, what to do."""


class UmtfssError(Exception):
    """Base of every error that a user can mend.

    Args:
        problem: One sentence that names the file or the key.
        expected: What should have been there.
        found: What was there.
        fix: What the user can do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
    ) -> None:
        self.problem, self.expected, self.found, self.fix = problem, expected, found, fix
        lines = [problem]
        if expected is not None:
            lines.append(f"  expected: {expected}")
        if found is not None:
            lines.append(f"  found:    {found}")
        if fix is not None:
            lines.append(f"  to do:    {fix}")
        super().__init__("\n".join(lines))


class ConfigError(UmtfssError):
    """A key of an experiment file is unknown, missing or out of range."""


class DataError(UmtfssError):
    """A raw image, mask, list or annotation file is missing or broken."""


class WeightsError(UmtfssError):
    """Pretrained weights are missing, altered or do not fit the network."""


class StoreError(UmtfssError):
    """A cache, manifest or episode file is missing, incomplete or of another version."""


class DiskSpaceError(UmtfssError):
    """The disk has too little free space for a file that is about to be written."""


class TrainingError(UmtfssError):
    """Training cannot start, resume or go on."""


class TableError(UmtfssError):
    """A table lacks numbers that it has to print."""
