"""Requests to the page's server."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.unit.predict.serve.test_finder import box, wait
from umtfss.predict.serve import application as module
from umtfss.predict.serve.application import application
from umtfss.predict.serve.finder import Finder

SECRET = "s3cret"
HOME = f"http://127.0.0.1:8765/{SECRET}/"


@pytest.fixture
def finder(filled, matcher):
    matcher.min_score = 0.9
    matcher.features_folder = filled.folder / "features"
    return Finder(filled, {"matcher": matcher})


@pytest.fixture
def client(filled, finder) -> TestClient:
    return TestClient(application(filled, finder, SECRET, ["bad.jpg is bad"]), base_url=HOME)


def png(size=(30, 20)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (9, 8, 7)).save(stream, "PNG")
    return stream.getvalue()


def test_from_a_photo_to_results(client, filled, finder):
    assert client.post("photos?name=../../up.png", content=png()).json() == {"number": 4}
    assert client.post("objects?name=green").status_code == 204
    size = filled.photo(1).size
    labels = box(size, 20, 20, 100, 80)
    answer = client.put("photos/1/labels?object=red&object=green", content=labels.tobytes())
    assert answer.status_code == 204
    assert client.get("photos/1/labels").content == labels.tobytes()
    assert client.post("search?min_score=0.95").status_code == 202
    wait(finder)
    state = client.get("state").json()
    assert state["min_score"] == pytest.approx(0.95)
    assert state["problems"] == ["bad.jpg is bad"]
    assert [one["name"] for one in state["objects"]] == ["red", "green"]
    photos = {one["name"]: one for one in state["photos"]}
    assert photos["one.png"]["marked"] == ["red"]
    (found,) = photos["two.png"]["found"]
    assert found["name"] == "red"
    assert found["score"] > 0.95
    assert found["share"] > 0.2
    assert photos["blue.png"]["found"][0]["share"] == 0
    answer = client.get("results.zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        mask = np.array(Image.open(io.BytesIO(file.read("masks/one.png"))))
    np.testing.assert_array_equal(mask, labels)


def test_pictures_and_areas(client, filled):
    for kind, size in (("picture", (200, 120)), ("thumbnail", (200, 120))):
        answer = client.get(f"photos/1/{kind}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).size == size
    width, height, *areas = np.frombuffer(client.get("photos/1/areas?size=1").content, "<u2")
    assert (width, height) == (200, 120)
    np.testing.assert_array_equal(areas, filled.areas(filled.photo(1)).ravel())
    assert client.get("photos/1/areas?size=1000").status_code == 400


def test_objects_and_photos_are_changed_and_removed(client, filled):
    size = filled.photo(1).size
    client.put("photos/1/labels?object=red", content=box(size, 20, 20, 100, 80).tobytes())
    assert client.put("objects?old=red&name=box").status_code == 204
    assert filled.photo(1).marked.keys() == {"box"}
    assert client.delete("photos/1/labels").status_code == 204
    assert filled.photo(1).marked is None
    assert client.delete("objects?name=box").status_code == 204
    assert client.delete("photos/1").status_code == 204
    assert (filled.objects, list(filled.photos)) == ([], [2, 3])


def test_a_bad_photo_is_explained(client, filled):
    answer = client.post("photos?name=cow.jpg", content=b"no picture")
    assert answer.status_code == 422
    assert "cow.jpg cannot be decoded" in answer.json()["problem"]
    assert answer.json()["fix"]
    answer = client.post("photos?name=cow.heic", content=png())
    assert ".jpg" in answer.json()["expected"]
    assert len(filled.photos) == 3


def test_uploads_have_a_limit_in_bytes(client, filled, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    assert client.post("photos?name=a.png", content=bytes(101)).status_code == 413
    sent = []

    def endless():
        while len(sent) < 1000:
            sent.append(1)
            yield bytes(40)

    answer = client.post("photos?name=a.png", content=endless())  # says no length
    assert answer.status_code == 413
    assert "too large" in answer.json()["problem"]
    assert client.put("photos/1/labels?object=red", content=bytes(24001)).status_code == 413
    assert client.put("photos/1/labels?object=red", content=bytes(23999)).status_code == 400
    assert len(filled.photos) == 3


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example",
                                  "", "localhost.evil.example"])  # fmt: skip
@pytest.mark.parametrize("path", ["", "state"])
def test_other_hosts_are_refused(client, host, path):
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 400
    assert "umtfss" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8765", "LOCALHOST"])
def test_this_machine_is_served(client, host):
    assert client.get("state", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/state",
        "/wrong/state",
        f"/{SECRET}/../state",
        f"/{SECRET}/photos/../../pyproject.toml",
        f"/{SECRET}/photos/..%2f..%2fsession.json/picture",
        f"/{SECRET}/%2e%2e/%2e%2e/etc/passwd",
        f"/{SECRET}/session.json",
        f"/{SECRET}/photos/-1/picture",
        f"/{SECRET}/photos/1.5/picture",
        f"/{SECRET}//etc/passwd",
    ],
)
def test_nothing_is_served_by_another_address(client, address):
    answer = client.get(f"http://127.0.0.1:8765{address}", follow_redirects=False)
    assert answer.status_code == 404
    assert "open the address that the terminal shows" in answer.text


def test_a_photo_that_is_gone_and_an_empty_export_are_explained(client):
    assert "there is no photo 99" in client.get("photos/99/picture").json()["problem"]
    assert "nothing to export yet" in client.get("results.zip").json()["problem"]
    assert client.post("search?min_score=high").status_code == 400


def test_the_page_loads_nothing_from_elsewhere_and_runs_its_own_code_alone(client):
    answer = client.get("")
    policy = answer.headers["content-security-policy"]
    (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
    assert set(re.findall(r'nonce="([^"]*)"', answer.text)) == {nonce}
    assert nonce not in client.get("").text
    assert "default-src 'none'" in policy
    assert not re.findall(r"https?://|@import|<link[^>]*stylesheet|<script[^>]*src", answer.text)
    assert str(module.MOST_BYTES) in answer.text
    for name, value in module.HEADERS.items():
        assert answer.headers[name] == value
        assert client.get("photos/1/picture").headers[name] == value
