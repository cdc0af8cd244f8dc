"""From a file to a checked configuration, with every problem at once.

The phases: text to nodes, nodes to messages (schema), `validate.rules`, then the builders (meaning, and fields
that nobody supports). A text that cannot be parsed ends the load; after that every phase runs, and each stays
quiet about places that an earlier one has complained about.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError, EncodeError

from fastproxy.config.build.bootstrap import build_settings
from fastproxy.config.decode import Decoder
from fastproxy.config.dynamic.assignments import check_endpoint_files
from fastproxy.config.dynamic.expand import Expansion
from fastproxy.config.dynamic.resources import Resources
from fastproxy.config.json_text import parse_json
from fastproxy.config.nodes import MAX_TEXT_BYTES, Node, SyntaxProblem
from fastproxy.config.problems import ConfigError, ConfigProblem, Place, ProblemLog
from fastproxy.config.rules import check_rules
from fastproxy.config.schema import Bootstrap
from fastproxy.config.settings import NodeSettings, ProxySettings
from fastproxy.config.view import View
from fastproxy.config.yaml_text import parse_yaml

_YAML_SUFFIXES = frozenset({".yaml", ".yml"})
_BINARY_SUFFIXES = frozenset({".pb", ".pb_text", ".pb_yaml"})
_SUFFIX_DECIDES = "A file is YAML if its name ends in .yaml or .yml, and JSON otherwise"
#: How `--config-yaml` is called where a file name is expected.
INLINE_NAME = "--config-yaml"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a configuration is read."""

    allow_unknown_fields: bool = False
    """Fields that the schema does not know become warnings (`--allow-unknown-fields`). Fields that FastProxy does not
    support stay errors."""
    allow_unknown_resource_fields: bool = False
    """The same for resources from files (`--ignore-unknown-dynamic-fields`)."""
    node: NodeSettings = field(default_factory=NodeSettings)
    """Replaces what the configuration says, where it is not empty (`--service-node`, `--service-cluster`)."""
    requires_node: bool = True
    """Resources from files need a node with a name, as in Envoy; whoever only looks at a configuration does not."""
    checks_endpoints: bool = False
    """Look at the files of EDS clusters, too. A proxy that runs follows them, and does not end for what they hold."""


@dataclass(frozen=True, slots=True)
class _Base:
    """What stands in the configuration itself; the resources of files are put into copies of it."""

    message: Any
    place: Place
    texts: Mapping[str, str]
    source: str
    options: LoadOptions


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can be run."""

    bootstrap: bytes
    """The serialised `envoy.config.bootstrap.v3.Bootstrap`, resources from files included; what workers get."""
    settings: ProxySettings
    warnings: tuple[ConfigProblem, ...]
    """What has no effect, is deprecated or dangerous; for the log, at every start."""
    source: str
    """What it was read from, in words."""
    places: Place = field(default_factory=lambda: Place("", None), repr=False)
    """Where everything stood; `locate` finds a path in it."""
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What was read, by the name of the file; comments are nowhere else."""
    resources: Resources = field(default_factory=Resources)
    """What came from files of its own."""
    shown_paths: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where things stand that came from files of their own; for `show_path`."""
    base: _Base | None = field(default=None, repr=False)
    """For `update_config`; None: there is nothing that could change."""


def load_config(
    path: Path | None,
    *,
    config_yaml: str | None = None,
    options: LoadOptions | None = None,
    in_force: LoadedConfig | None = None,
) -> LoadedConfig:
    """Read, check and build a configuration.

    Args:
        path: `.yaml` and `.yml` are YAML, anything else is JSON, as in Envoy.
        config_yaml: YAML that is merged over the file as Envoy does it: messages merge, lists grow, the rest is
            replaced.
        options: how.
        in_force: what a reload is to replace. If the configuration itself says the same, a cluster that has gone from
            a file with clusters since then is no mistake of it.

    Raises:
        ConfigError: with every problem that was found.
    """
    options = options or LoadOptions()
    problems = ProblemLog()
    bootstrap, place = Bootstrap(), Place(str(path) if path is not None else INLINE_NAME, None)
    texts = _read_texts(path, config_yaml, problems)
    parsed = [
        (name, node)
        for name, text, as_yaml in texts
        if (node := _parse(name, text, problems, as_yaml=as_yaml))
    ]
    problems.raise_if_failed()
    allows = options.allow_unknown_fields
    for index, (name, node) in enumerate(parsed):
        part = Bootstrap()
        part_place = Decoder(problems, name, allow_unknown_fields=allows).message(node, part)
        if index == 0:
            bootstrap, place = part, part_place
        else:
            bootstrap.MergeFrom(part)
            place.merge(part_place)
    if options.node.id:
        bootstrap.node.id = options.node.id
    if options.node.cluster:
        bootstrap.node.cluster = options.node.cluster
    if options.node.zone:
        bootstrap.node.locality.zone = options.node.zone
    source = " + ".join(name for name, _ in parsed)
    is_same = in_force is not None and in_force.base is not None and in_force.base.message == bootstrap
    return _finish(
        _Base(bootstrap, place, {name: text for name, text, _ in texts}, source, options),
        problems,
        known_listeners=in_force.resources.listeners if in_force is not None and is_same else (),
    )


def update_config(loaded: LoadedConfig, contents: Mapping[str, bytes]) -> LoadedConfig:
    """Make a configuration anew in which files with resources hold something else; nothing else is read again.

    Args:
        loaded: the configuration in force.
        contents: of the files, by path; those that are not among them hold what they held.

    Raises:
        ConfigError: with every problem that was found.
    """
    assert loaded.base is not None
    known = {**loaded.resources.contents, **contents}
    return _finish(loaded.base, ProblemLog(), known, loaded.resources.listeners)


def _finish(
    base: _Base,
    problems: ProblemLog,
    contents: Mapping[str, bytes] | None = None,
    known_listeners: Collection[bytes] = (),
) -> LoadedConfig:
    """Add the resources of files, check and build."""
    expansion = Expansion(
        base.message,
        base.place,
        problems,
        contents or {},
        allow_unknown_fields=base.options.allow_unknown_resource_fields,
    )
    resources = expansion.run()
    bootstrap, place = expansion.message, expansion.place
    problems.end_phase()
    check_rules(bootstrap, place, "", problems)
    problems.end_phase()
    settings = build_settings(View(bootstrap, place, "", problems), known_listeners=known_listeners)
    if base.options.requires_node and (resources or any(one.eds is not None for one in settings.clusters)):
        _check_node(settings, place, problems)
    if base.options.checks_endpoints:
        check_endpoint_files(settings.clusters, place, problems)
    problems.raise_if_failed()
    return LoadedConfig(
        bootstrap=_serialise(bootstrap, place),
        settings=settings,
        warnings=problems.warnings,
        source=base.source,
        places=place,
        texts={**base.texts, **expansion.texts},
        resources=resources,
        shown_paths=problems.shown_paths(),
        base=base if resources else None,
    )


def _check_node(settings: ProxySettings, place: Place, problems: ProblemLog) -> None:
    if not settings.node.id or not settings.node.cluster:
        problems.echo(
            place.child("node"),
            "node",
            "node 'id' and 'cluster' are required, for there are resources in files of their own",
            "Set them here, or with --service-node and --service-cluster",
        )


def settings_from_bootstrap(bootstrap: bytes) -> ProxySettings:
    """Build the settings again from what `load_config` returned; done in every worker.

    Files and environment variables that the configuration names are read again, except for the files of
    `local_jwks`: what they hold now may differ from what the other workers use, so the control plane sends it.

    Raises:
        ConfigError: the bytes are no Bootstrap, or a file that it names has gone or changed.
    """
    message = Bootstrap()
    try:
        message.ParseFromString(bootstrap)
    except DecodeError as exc:
        raise ConfigError((ConfigProblem("", None, "", "not a serialised Bootstrap message"),)) from exc
    problems = ProblemLog()
    settings = build_settings(View(message, Place("", None), "", problems), in_worker=True)
    problems.raise_if_failed()
    return settings


def _serialise(bootstrap: Any, place: Place) -> bytes:
    try:
        return bytes(bootstrap.SerializeToString(deterministic=True))
    except EncodeError as exc:
        problem = ConfigProblem(place.file, None, "", "nested too deeply to be encoded")
        raise ConfigError((problem,)) from exc


def _read_texts(
    path: Path | None, config_yaml: str | None, problems: ProblemLog
) -> list[tuple[str, str, bool]]:
    """Name, text and whether it is YAML, of every source in the order of merging."""
    texts = []
    if path is not None:
        text = _read_file(path, problems)
        if text is not None:
            texts.append((str(path), text, path.suffix.lower() in _YAML_SUFFIXES))
    if config_yaml is not None:
        texts.append((INLINE_NAME, config_yaml, True))
    if path is None and config_yaml is None:
        problems.error(Place("", None), "", "no configuration given", "Use -c FILE or --config-yaml TEXT")
    return texts


def _read_file(path: Path, problems: ProblemLog) -> str | None:
    place = Place(str(path), None)
    if path.suffix.lower() in _BINARY_SUFFIXES:
        problems.error(place, "", f"{path.suffix} files are not supported", "Use YAML or JSON")
        return None
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_TEXT_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a usable file name"
        problems.error(place, "", f"cannot be read: {reason}")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        problems.error(Place(str(path), line), "", "not UTF-8 text", "Save the file as UTF-8")
        return None


def _parse(name: str, text: str, problems: ProblemLog, *, as_yaml: bool) -> Node | None:
    if len(text) > MAX_TEXT_BYTES:
        # Refused before it is parsed: nothing a person wrote is as large.
        problems.error(Place(name, None), "", f"larger than {MAX_TEXT_BYTES} bytes")
        return None
    try:
        return parse_yaml(text) if as_yaml else parse_json(text)
    except SyntaxProblem as exc:
        problems.error(
            Place(name, exc.line), "", exc.problem, exc.fix or ("" if as_yaml else _SUFFIX_DECIDES)
        )
        return None
