"""Named secrets: `static_resources.secrets` and secrets in files (file SDS, `path_config_source`)."""

from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from fastproxy.config.build.config_source import find_source_file
from fastproxy.config.build.tls_files import TlsFiles
from fastproxy.config.decode import Decoder
from fastproxy.config.fingerprint import fingerprint
from fastproxy.config.json_text import parse_json
from fastproxy.config.nodes import SyntaxProblem
from fastproxy.config.problems import Place, quote
from fastproxy.config.rules import check_rules, unpack
from fastproxy.config.view import View
from fastproxy.config.yaml_text import parse_yaml

_SECRET = secret_pb2.Secret.DESCRIPTOR.full_name


class Secrets:
    """Finds secrets by name.

    Args:
        static: the `static_resources` of the configuration.
        files: reads the files of file SDS.
    """

    def __init__(self, static: View, files: TlsFiles) -> None:
        self._files = files
        self._used: set[str] = set()
        self._static: dict[str, View] = {}
        self._documents: dict[str, dict[str, View] | None] = {}
        """Secrets by name, by file; None: the file cannot be used, or is still to come."""
        for view in static.children("secrets"):
            name = view.text("name")
            if name in self._static:
                view.error(f"duplicate secret {quote(name)}", "Rename or remove one of them", field="name")
            self._static[name] = view

    def find(self, config: View, kind: str) -> View | None:
        """The part `kind` (`tls_certificate`...) of the secret that an `SdsSecretConfig` names; problems are reported.

        None without a report: its file is still to come.
        """
        name = config.text("name")
        source = config.child("sds_config")
        known = self._static if source is None else self._from_source(source)
        if known is None:
            return None
        secret = known.get(name)
        # A file may hold one secret without a name, and Envoy takes it for the one that is asked for.
        if secret is None and source is not None and len(known) == 1:
            secret = known.get("")
        if secret is None:
            where = "in static_resources.secrets" if source is None else "in the file"
            config.error(
                f"there is no secret {quote(name)} {where}", "Add it, or correct the name", field="name"
            )
            return None
        if source is None:
            self._used.add(name)
        found = secret.child(kind)
        if found is None:
            secret.accept(*(field.name for field, _ in secret.message.ListFields()))
            config.error(f"the secret {quote(name)} has no {kind}", field="name")
        return found

    def digest(self, common: Any) -> str:
        """What the secrets of the configuration say that a `CommonTlsContext` names; changes when they do."""
        named = [
            *common.tls_certificate_sds_secret_configs,
            common.validation_context_sds_secret_config,
            common.combined_validation_context.validation_context_sds_secret_config,
        ]
        found = (self._static.get(one.name) for one in named if not one.HasField("sds_config"))
        return "".join(fingerprint(secret.message) for secret in found if secret is not None)

    def sweep(self) -> None:
        """Report what nobody read in the files, and secrets nobody uses; `static_resources` is swept with the rest."""
        for name, view in self._static.items():
            if name not in self._used:
                view.accept(*(field.name for field, _ in view.message.ListFields()))
                view.warn(f"has no effect: nothing names the secret {quote(name)}")
        for secrets in self._documents.values():
            for view in (secrets or {}).values():
                view.sweep()

    def _from_source(self, source: View) -> dict[str, View] | None:
        found = find_source_file(source, ", or static_resources.secrets")
        if found is None:
            return None
        holder, path = found
        if path not in self._documents:
            self._documents[path] = self._read(path, holder)
        return self._documents[path]

    def _read(self, path: str, holder: View) -> dict[str, View] | None:
        content = self._files.read_path(holder, path)
        if content is None:
            return None
        response: Any = discovery_pb2.DiscoveryResponse()
        try:
            text = content.decode()
            node = parse_json(text) if path.lower().endswith(".json") else parse_yaml(text)
        except UnicodeDecodeError:
            holder.error(f"{path} is not UTF-8 text")
            return None
        except SyntaxProblem as exc:
            holder.log.error(  # noqa: TRY400 the problems of a file, no logger
                Place(path, exc.line), "", exc.problem, exc.fix
            )
            return None
        place = Decoder(holder.log, path).message(node, response)
        check_rules(response, place, "", holder.log)
        found = {}
        for index, packed in enumerate(response.resources):
            inner = unpack(packed)
            at = place.child("resources").child(index)
            if inner is None or inner.DESCRIPTOR.full_name != _SECRET:
                holder.error(f"resources[{index}] of {path} is no Secret", f"Expected {_SECRET}")
                continue
            view = View(inner, at, f"resources[{index}]", holder.log)
            found[view.text("name")] = view
        return found
