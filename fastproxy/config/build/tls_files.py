"""The files that TLS on listeners is made from: certificates, keys, authorities, secrets of file SDS.

They change while the proxy runs, so their content is remembered by name. The control plane reads them; workers are
given what it has read, and read none themselves: what a file holds now may be half of a change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastproxy.config.build.data_source import read_data_source
from fastproxy.config.view import View


@dataclass(slots=True)
class TlsFiles:
    """Reads the files of one load."""

    given: Mapping[str, bytes] | None = None
    """The content of every file, from the control plane; None: read them from disk."""
    contents: dict[str, bytes] = field(default_factory=dict, repr=False)
    """What was read, by file name."""
    is_waiting: bool = False
    """A file was asked for that is not among `given`: the content is still to come."""

    @property
    def checks(self) -> bool:
        """Whether what is read has to be tried out; what the control plane gives it has tried."""
        return self.given is None

    def read(self, source: View) -> bytes | None:
        """Read a `DataSource`; None when there is no content, which is reported unless it is still to come."""
        if source.selected("specifier") != "filename":
            return read_data_source(source)
        # Every way of replacing a file is seen, that by a directory too.
        source.accept("watched_directory")
        return self._read_named(source.text("filename"), source)

    def read_path(self, holder: View, name: str) -> bytes | None:
        """Read the file that a plain path field names; `holder` is where it stands."""
        if self.given is None:
            content = read_named_file(holder, name)
            if content is not None:
                self.contents[name] = content
            return content
        return self._given(name)

    def _read_named(self, name: str, source: View) -> bytes | None:
        if self.given is not None:
            return self._given(name)
        content = read_data_source(source)
        if content is not None:
            self.contents[name] = content
        return content

    def _given(self, name: str) -> bytes | None:
        assert self.given is not None
        content = self.given.get(name)
        if content is None:
            self.is_waiting = True
        else:
            self.contents[name] = content
        return content


def read_named_file(holder: View, name: str) -> bytes | None:
    """Read a file by name with `DataSource`'s rules; problems are reported at the field `path` of `holder`."""
    from envoy.config.core.v3.base_pb2 import DataSource  # noqa: PLC0415

    source = View(DataSource(filename=name), holder.place, holder.path, holder.log)
    return read_data_source(source)
