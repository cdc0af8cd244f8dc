"""Files with resources are taken apart, or refused with a line."""

import os
from pathlib import Path

import pytest

from fastproxy.config import UnreadableFile, read_resource_file, version_number
from fastproxy.config.dynamic.response import parse_response
from fastproxy.config.nodes import MAX_TEXT_BYTES
from fastproxy.config.problems import ConfigError, ProblemLog

WRAPPER = "type.googleapis.com/envoy.service.discovery.v3.Resource"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def problem(content: bytes, path: str = "cds.yaml") -> str:
    log = ProblemLog()
    parse_response(path, content, log)
    with pytest.raises(ConfigError) as caught:
        log.raise_if_failed()
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("cds.yaml", f'version_info: "7"\nresources:\n- {{"@type": {CLUSTER}, name: a}}\n'),
        ("cds.json", f'{{"version_info": "7", "resources": [{{"@type": "{CLUSTER}", "name": "a"}}]}}'),
        # As Envoy: whatever is not called YAML is JSON.
        ("cds", f'{{"version_info": "7", "resources": {{"@type": "{CLUSTER}", "name": "a"}}}}'),
        (
            "cds.yml",
            f'version_info: "7"\nresources: [{{"@type": {WRAPPER}, resource: {{"@type": {CLUSTER}, name: a}}}}]',
        ),
    ],
)
def test_every_spelling_means_the_same(path: str, content: str) -> None:
    """The suffix decides, a single value stands for a list, and a wrapped resource is the resource."""
    log = ProblemLog()
    response = parse_response(path, content.encode(), log)
    log.raise_if_failed()
    assert response is not None
    assert response.version == "7"
    (resource,) = response.resources
    assert (resource.type_name, resource.name) == ("envoy.config.cluster.v3.Cluster", "a")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"resources: [", "cds.yaml:2: not valid YAML"),
        (b"version_info: a\nresources:\n- {a\n", "cds.yaml:"),
        (b"version_info: '1'\n", "there are no resources. Write resources: [] if none are meant"),
        (b"", "the file is empty"),
        (b"- a\n", "expected version_info: and resources:"),
        (b"version_info: a\nresource: []\nresources: []", 'cds.yaml:2: resource: unknown field "resource"'),
        (b"a: \xff\n", "cds.yaml:1: not UTF-8 text"),
        (b"a" * (MAX_TEXT_BYTES + 1), f"larger than {MAX_TEXT_BYTES} bytes"),
    ],
)
def test_a_file_that_is_no_response_is_refused_with_its_line(content: bytes, words: str) -> None:
    """The first lines of a file that is being written must not take every cluster away."""
    assert words in problem(content)


def test_binary_files_are_not_guessed_at() -> None:
    """Envoy reads `.pb`; a proxy that took it for JSON would tell nonsense."""
    assert ".pb files are not supported" in problem(b"{}", "cds.pb")


def test_only_regular_files_are_read_and_never_more_than_allowed(tmp_path: Path) -> None:
    """A named pipe would hang, a device need never end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, why in (
        (str(pipe), "regular"),
        (str(tmp_path), "directory|regular"),
        ("/dev/zero", "regular"),
        ("a\0b", "usable"),
    ):
        with pytest.raises(UnreadableFile, match=why):
            read_resource_file(path)
    large = tmp_path / "large.yaml"
    with large.open("wb") as stream:
        stream.truncate(MAX_TEXT_BYTES * 2)
    assert len(read_resource_file(str(large))) == MAX_TEXT_BYTES + 1


def test_the_version_gauge_shows_envoys_number() -> None:
    """Dashboards compare it over a fleet; this number was seen in Envoy's /stats."""
    assert version_number("c1") == 814672407442807801
