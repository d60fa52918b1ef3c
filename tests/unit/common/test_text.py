"""Text files in the encodings that editors write."""

import pytest

from umtfss.common.errors import ConfigError, DataError
from umtfss.common.text import read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_encodings_of_editors_are_read(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("Grün\n".encode(encoding))
    assert read_text(tmp_path / "a.txt", DataError) == "Grün\n"


@pytest.mark.parametrize("error", [ConfigError, DataError])
def test_another_encoding_is_refused_with_its_place(tmp_path, error):
    (tmp_path / "a.txt").write_bytes("Grün".encode("latin-1"))
    with pytest.raises(error, match=r"a\.txt(?s:.*)byte 2(?s:.*)save it as UTF-8"):
        read_text(tmp_path / "a.txt", error)
    with pytest.raises(error, match="cannot be read"):
        read_text(tmp_path, error)


def test_utf16_is_refused_where_other_programs_read_the_file(tmp_path):
    (tmp_path / "a.txt").write_bytes("Grün".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"a\.txt(?s:.*)byte 0(?s:.*)save it as UTF-8"):
        read_text(tmp_path / "a.txt", ConfigError, utf16=False)
    (tmp_path / "a.txt").write_bytes("Grün".encode("utf-8-sig"))
    assert read_text(tmp_path / "a.txt", ConfigError, utf16=False) == "Grün"
