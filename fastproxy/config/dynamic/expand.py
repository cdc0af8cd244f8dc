"""Puts resources of files where they would stand in the configuration itself (CDS, LDS, RDS).

Everything after it sees one `Bootstrap`: clusters and listeners of files follow those of `static_resources`, and `rds`
of a connection manager has become its `route_config`. Places keep saying file and line, and problems name the resource.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fastproxy.config import schema
from fastproxy.config.build.config_source import find_source_file
from fastproxy.config.build.http_manager import HTTP_CONNECTION_MANAGER
from fastproxy.config.decode import Decoder
from fastproxy.config.digest import digest_listener
from fastproxy.config.dynamic.resources import (
    ResourceFile,
    ResourceKind,
    Resources,
    ResourceSource,
    ShownResource,
)
from fastproxy.config.dynamic.response import (
    Resource,
    Response,
    UnreadableFile,
    parse_response,
    read_resource_file,
)
from fastproxy.config.problems import Place, ProblemLog, quote
from fastproxy.config.rules import check_rules, unpack
from fastproxy.config.schema import Bootstrap
from fastproxy.config.view import View

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_LISTENER = "envoy.config.listener.v3.Listener"
_ROUTES = "envoy.config.route.v3.RouteConfiguration"
_DATA_SOURCE = "envoy.config.core.v3.DataSource"
#: What only a management server can have.
_LOCATORS = ("lds_resources_locator", "cds_resources_locator", "ads_config")


class Expansion:
    """One configuration with what its files add.

    Args:
        base: the `Bootstrap` as it was written; it is not changed.
        place: where it stood; not changed either.
        log: takes the problems.
        contents: of files that need not be read, by path.
        allow_unknown_fields: fields of resources that the schema does not know are warnings.
    """

    def __init__(
        self,
        base: Any,
        place: Place,
        log: ProblemLog,
        contents: Mapping[str, bytes],
        *,
        allow_unknown_fields: bool = False,
    ) -> None:
        self._base = base
        self.message = Bootstrap()
        """The whole configuration."""
        self.message.CopyFrom(base)
        self.place = _copy(place)
        """Where it stands."""
        self.texts: dict[str, str] = {}
        """What was read, by the name of the file."""
        self._log = log
        self._contents = contents
        self._allow_unknown_fields = allow_unknown_fields
        self._sources: dict[ResourceSource, None] = {}
        self._responses: dict[str, Response | None] = {}
        self._files: dict[str, ResourceFile] = {}
        self._shown: list[ShownResource] = []
        self._used: dict[str, set[int]] = {}
        """Positions of the route tables that somebody asked for, by file."""

    def run(self) -> Resources:
        """Read the files and put everything in its place; problems go to the log."""
        self._add_collections()
        self._fill_in_routes()
        self._warn_of_unused_routes()
        if not self._sources:
            return Resources()
        return Resources(
            tuple(self._sources),
            self._files,
            tuple(self._shown),
            self._base.SerializeToString(deterministic=True),
            frozenset(digest_listener(one) for one in self.message.static_resources.listeners),
        )

    # -- clusters and listeners ----------------------------------------------------------------------------

    def _add_collections(self) -> None:
        if not self.message.HasField("dynamic_resources"):
            return
        path = "dynamic_resources"
        view = View(self.message.dynamic_resources, self.place.child(path), path, self._log)
        check_rules(view.message, view.place, path, self._log)
        for name in _LOCATORS:
            view.unsupported(
                name, "management servers are not supported", "Use path_config_source: {path: FILE}"
            )
        clusters, listeners = view.child("cds_config"), view.child("lds_config")
        if clusters is not None:
            self._add(clusters, ResourceKind.CLUSTERS, "clusters", _CLUSTER, "cluster_manager.cds.")
        if listeners is not None:
            self._add(listeners, ResourceKind.LISTENERS, "listeners", _LISTENER, "listener_manager.lds.")
            self._check_listener_names()
        view.sweep()
        self.message.ClearField(path)

    def _add(self, source: View, kind: ResourceKind, field: str, type_name: str, stats: str) -> None:
        response = self._find(source, kind, stats)
        if response is None:
            return
        values = getattr(self.message.static_resources, field)
        places = _own(self.place, "static_resources", field)
        for resource in response.resources:
            index = len(values)
            where = f"static_resources.{field}[{index}]"
            found = self._decode(response, resource, type_name, where)
            if found is not None:
                message, places.children[index] = found
                values.append(message)
                self._show(kind, message, response.version)

    def _check_listener_names(self) -> None:
        seen: set[str] = set()
        for index, listener in enumerate(self.message.static_resources.listeners):
            if listener.name and listener.name in seen:
                place = self.place.child("static_resources").child("listeners").child(index).child("name")
                where = f"static_resources.listeners[{index}].name"
                self._log.error(
                    place, where, f"duplicate listener {quote(listener.name)}", "Rename one of them"
                )
            seen.add(listener.name)

    # -- routes --------------------------------------------------------------------------------------------

    def _fill_in_routes(self) -> None:
        for keys, entry in _network_filters(self.message.static_resources.listeners):
            if schema.type_name(entry.typed_config.type_url) != HTTP_CONNECTION_MANAGER:
                continue
            manager = unpack(entry.typed_config)
            if manager is not None and manager.HasField("rds"):
                self._fill_in(manager, ("static_resources", *keys, "typed_config"))
                entry.typed_config.Pack(manager, deterministic=True)

    def _fill_in(self, manager: Any, keys: tuple[str | int, ...]) -> None:
        place, path = _own(self.place, *keys), _path(keys)
        view = View(manager.rds, place.child("rds"), f"{path}.rds", self._log)
        check_rules(manager.rds, view.place, view.path, self._log)
        name, source = view.text("route_config_name"), view.child("config_source")
        if not name:
            view.error("no name of a route table", "Say which one of the file", field="route_config_name")
        response = None
        if source is not None:
            stats = f"http.{manager.stat_prefix}.rds.{name}."
            response = self._find(source, ResourceKind.ROUTES, stats, name)
        view.sweep()
        # It takes the place of `rds`; empty is what nobody has to complain about any more.
        manager.route_config.name = name
        if response is None or not name:
            return
        resource = self._pick(response, name)
        if resource is None:
            return
        found = self._decode(response, resource, _ROUTES, f"{path}.route_config")
        if found is not None:
            message, place.children["route_config"] = found
            self._refuse_files(message, place.child("route_config"), f"{path}.route_config")
            self._show(ResourceKind.ROUTES, message, response.version)
            manager.route_config.CopyFrom(message)
            if not message.HasField("validate_clusters"):
                # Clusters may come later than routes to them: until then requests get 503.
                manager.route_config.validate_clusters.value = False

    def _pick(self, response: Response, name: str) -> Resource | None:
        found = [one for one in response.resources if one.name == name]
        self._used.setdefault(response.path, set()).update(one.index for one in found)
        if len(found) == 1:
            return found[0]
        if found:
            self._log.error(
                Place(response.path, found[1].node.line),
                f"resources[{found[1].index}]",
                f"there are two route tables {quote(name)}",
                "Rename one of them",
            )
        elif not response.resources:
            self._log.warning(
                Place(response.path, 1), "", f"there is no route table {quote(name)} yet: requests get 404"
            )
        else:
            names = ", ".join(quote(one.name) for one in response.resources[:5])
            self._log.error(
                Place(response.path, 1), "", f"there is no route table {quote(name)}", f"It has {names}"
            )
        return None

    def _refuse_files(self, message: Any, place: Place, path: str) -> None:
        """Whoever may write routes may not therefore read any file that the proxy can read."""
        if message.DESCRIPTOR.full_name == _DATA_SOURCE:
            for field in ("filename", "environment_variable"):
                if message.HasField(field):
                    self._log.error(
                        place.child(field),
                        f"{path}.{field}",
                        "routes from a file must not name other files or the environment",
                        "Use inline_string, or put the route into the configuration itself",
                    )
            return
        inner = unpack(message) if message.DESCRIPTOR.full_name == schema.ANY else message
        for name, key, item in _parts(inner):
            at, where = place.child(name), f"{path}.{name}"
            if key is not None:
                at, where = at.child(key), where + _step(key)
            self._refuse_files(item, at, where)

    def _warn_of_unused_routes(self) -> None:
        for path, used in self._used.items():
            response = self._responses[path]
            assert response is not None
            for resource in response.resources:
                if resource.index not in used:
                    self._log.warning(
                        Place(path, resource.node.line),
                        f"resources[{resource.index}]",
                        f"has no effect: nothing names the route table {quote(resource.name)}",
                    )

    # -- files ---------------------------------------------------------------------------------------------

    def _find(self, source: View, kind: ResourceKind, stats: str, name: str = "") -> Response | None:
        found = find_source_file(source)
        if found is None or not found[1]:
            return None
        holder, path = found
        self._sources[ResourceSource(kind, path, stats, name)] = None
        if path not in self._responses:
            self._responses[path] = self._read(holder, path)
        return self._responses[path]

    def _read(self, holder: View, path: str) -> Response | None:
        content = self._contents.get(path)
        if content is None:
            try:
                content = read_resource_file(path)
            except UnreadableFile as error:
                holder.error(f"{quote(path)} cannot be read: {error}", field="path")
                return None
        response = parse_response(path, content, self._log)
        if response is not None:
            self._files[path] = ResourceFile(content, response.version, not response.resources)
            self.texts[path] = response.text
        return response

    def _decode(
        self, response: Response, resource: Resource, type_name: str, where: str
    ) -> tuple[Any, Place] | None:
        """Decode one resource as what stands at `where`; None if it is not what it has to be (reported)."""
        self._log.show_as(where, f"resources[{resource.index}]")
        if resource.type_name != type_name:
            self._log.error(
                Place(response.path, resource.node.line),
                where,
                f"expected {type_name}, found {quote(resource.type_name)}",
                f'Write "@type": type.googleapis.com/{type_name}',
            )
            return None
        any_class = schema.find_message(schema.ANY)
        assert any_class is not None
        packed = any_class()
        decoder = Decoder(self._log, response.path, allow_unknown_fields=self._allow_unknown_fields)
        place = decoder.message(resource.node, packed, where)
        message = unpack(packed)
        return None if message is None else (message, place)

    def _show(self, kind: ResourceKind, message: Any, version: str) -> None:
        shown = ShownResource(kind, message.name, message.SerializeToString(deterministic=True), version)
        if shown not in self._shown:
            self._shown.append(shown)


def _network_filters(listeners: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every network filter, with the way to it below `static_resources`."""
    for index, listener in enumerate(listeners):
        chains: list[tuple[tuple[str | int, ...], Any]] = [
            (("filter_chains", number), chain) for number, chain in enumerate(listener.filter_chains)
        ]
        if listener.HasField("default_filter_chain"):
            chains.append((("default_filter_chain",), listener.default_filter_chain))
        for keys, chain in chains:
            for position, entry in enumerate(chain.filters):
                yield ("listeners", index, *keys, "filters", position), entry


def _parts(message: Any) -> Iterator[tuple[str, str | int | None, Any]]:
    """The messages in a message: field, key or index, message."""
    for field, value in () if message is None else message.ListFields():
        if not schema.is_message(field):
            continue
        if not field.is_repeated:
            yield field.name, None, value
        elif not schema.is_map(field):
            for index, item in enumerate(value):
                yield field.name, index, item
        elif schema.is_message(field.message_type.fields_by_name["value"]):
            for key in sorted(value):
                yield field.name, str(key), value[key]


def _path(keys: tuple[str | int, ...]) -> str:
    return "".join(_step(key) for key in keys).removeprefix(".")


def _step(key: str | int) -> str:
    return f"[{key}]" if isinstance(key, int) else f".{key}"


def _copy(place: Place) -> Place:
    return Place(place.file, place.line, dict(place.children), place.replaces)


def _own(root: Place, *keys: str | int) -> Place:
    """The place at the end of a way, which may be changed: it and all before it are copies from now on."""
    place = root
    for key in keys:
        known = place.children.get(key)
        mine = Place(place.file, place.line) if known is None else _copy(known)
        place.children[key] = mine
        place = mine
    return place
