"""Query parameters as routes see them: the bytes that came, undecoded (spec/http.md section 8.2)."""


def first_parameter(query: bytes, name: bytes) -> bytes | None:
    """The first value of a parameter as it stands in the query: Envoy decodes neither name nor value here."""
    for pair in query.split(b"&"):
        found, _, value = pair.partition(b"=")
        if found == name:
            return value
    return None
