"""The file that resources come in: a DiscoveryResponse as YAML or JSON (envoy.service.discovery.v3).

The resources themselves stay nodes here; where their messages belong, they are decoded.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from envoy.service.discovery.v3 import discovery_pb2

from fastproxy.config import schema
from fastproxy.config.decode import Decoder
from fastproxy.config.json_text import parse_json
from fastproxy.config.nodes import MAX_TEXT_BYTES, ListNode, MapNode, Node, ScalarNode, SyntaxProblem
from fastproxy.config.problems import Place, ProblemLog
from fastproxy.config.yaml_text import parse_yaml
from fastproxy.upstream.hashing import xxh64

_YAML_SUFFIXES = frozenset({".yaml", ".yml"})
_BINARY_SUFFIXES = frozenset({".pb", ".pb_text", ".pb_yaml"})
_WRAPPER = "envoy.service.discovery.v3.Resource"
_NAMES = ("name", "cluster_name", "clusterName")


@dataclass(frozen=True, slots=True)
class Resource:
    """One entry of `resources`, not decoded yet."""

    index: int
    node: Node
    """With its "@type"."""
    type_name: str
    """Full name of the message; empty if there is none."""
    name: str
    """`name`, or `cluster_name` of an assignment; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a file holds."""

    path: str
    text: str
    version: str
    """`version_info`."""
    resources: tuple[Resource, ...]


class UnreadableFile(Exception):
    """A file has no content that could be taken; the message says why."""


def read_resource_file(path: str) -> bytes:
    """Read a file, at most a byte more than may be in one.

    Raises:
        UnreadableFile: there is none, or it is no regular file.
    """
    try:
        # Without waiting: a named pipe would hang whoever opens it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UnreadableFile("not a regular file")
            return stream.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(error.strerror or "cannot be read") from error
    except ValueError as error:
        raise UnreadableFile("not a usable file name") from error


def version_number(version: str) -> int:
    """The number that Envoy's `version` gauges show for a `version_info`."""
    return xxh64(version.encode())


def parse_response(path: str, content: bytes, log: ProblemLog) -> Response | None:
    """Take a file apart; None if that cannot be done (reported)."""
    text = _decode(path, content, log)
    node = None if text is None else _parse(path, text, log)
    if text is None or node is None:
        return None
    if not isinstance(node, MapNode):
        log.error(
            Place(path, node.line), "", "expected version_info: and resources:", "See DiscoveryResponse"
        )
        return None
    rest, items = MapNode(node.line), None
    for entry in node.entries:
        if entry.key == "resources":
            items = entry.value.items if isinstance(entry.value, ListNode) else [entry.value]
        else:
            rest.entries.append(entry)
    response = discovery_pb2.DiscoveryResponse()
    Decoder(log, path).message(rest, response)
    if items is None:
        # Half of a file may be just its first line, and it would take everything away.
        log.error(
            Place(path, node.line), "", "there are no resources", "Write resources: [] if none are meant"
        )
        return None
    return Response(
        path, text, response.version_info, tuple(_resource(index, item) for index, item in enumerate(items))
    )


def check_response(path: str, content: bytes) -> tuple[str, bool]:
    """`version_info` of a file, and whether it holds no resources.

    Raises:
        ConfigError: it is no DiscoveryResponse.
    """
    log = ProblemLog()
    response = parse_response(path, content, log)
    log.raise_if_failed()
    assert response is not None
    return response.version, not response.resources


def _decode(path: str, content: bytes, log: ProblemLog) -> str | None:
    suffix = Path(path).suffix.lower()
    if suffix in _BINARY_SUFFIXES:
        log.error(Place(path, None), "", f"{suffix} files are not supported", "Use YAML or JSON")
        return None
    if len(content) > MAX_TEXT_BYTES:
        log.error(Place(path, None), "", f"larger than {MAX_TEXT_BYTES} bytes")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        place = Place(path, content.count(b"\n", 0, exc.start) + 1)
    log.error(place, "", "not UTF-8 text", "Save the file as UTF-8")
    return None


def _parse(path: str, text: str, log: ProblemLog) -> Node | None:
    try:
        return parse_yaml(text) if Path(path).suffix.lower() in _YAML_SUFFIXES else parse_json(text)
    except SyntaxProblem as exc:
        found = exc
    log.error(Place(path, found.line), "", found.problem, found.fix)
    return None


def _resource(index: int, node: Node) -> Resource:
    name = _type_of(node)
    if name == _WRAPPER and isinstance(node, MapNode):
        for entry in node.entries:
            if entry.key == "resource":
                node, name = entry.value, _type_of(entry.value)
                break
    return Resource(index, node, name, next((_text(node, key) for key in _NAMES if _text(node, key)), ""))


def _type_of(node: Node) -> str:
    return schema.type_name(_text(node, "@type"))


def _text(node: Node, key: str) -> str:
    """The last value of a key, if it is text or a number: a name may look like one."""
    found = ""
    for entry in node.entries if isinstance(node, MapNode) else ():
        if entry.key == key and isinstance(entry.value, ScalarNode):
            value = entry.value.value
            found = "" if value is None or isinstance(value, bool) else str(value)
    return found
