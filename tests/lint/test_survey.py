"""What lint thinks would happen to a request is what happens: the real filter and route table are the oracle."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    JwtAuthnSettings,
    LocalJwksSettings,
    PerRouteSettings,
    ProviderSettings,
    RequirementSettings,
    RequiresAll,
    RequiresAny,
    RequiresNothing,
    RequiresProvider,
    RuleSettings,
)
from fastproxy.http.messages import Request
from fastproxy.lint.requirements import accepted, needs_token
from fastproxy.lint.survey import Access, ManagerSurvey, forwards, is_loopback, listed
from fastproxy.listener.settings import (
    FilterChainSettings,
    HttpConnectionManagerSettings,
    HttpFilterSettings,
    ListenerSettings,
)
from fastproxy.match.path import build_path_matcher
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.settings import (
    DirectResponseAction,
    ForwardAction,
    RouteConfigurationSettings,
    RouteSettings,
    VirtualHostSettings,
)
from tests.lint.support import PUBLIC_KEY

PROVIDER = ProviderSettings(
    "idp", "https://idp.example", (), LocalJwksSettings(f'{{"keys":[{PUBLIC_KEY}]}}'.encode(), "")
)
REQUIREMENTS: list[RequirementSettings] = [
    RequiresProvider("idp"),
    AllowsMissing(),
    AllowsMissingOrFailed(),
    RequiresNothing(),
]
requirements = st.recursive(
    st.sampled_from(REQUIREMENTS),
    lambda inner: (
        st.builds(RequiresAny, st.tuples(inner, inner)) | st.builds(RequiresAll, st.tuples(inner, inner))
    ),
    max_leaves=4,
)
values = st.text("/ab", max_size=3).map("/".__add__)
matches = st.builds(
    PathMatch,
    st.sampled_from([PathKind.PREFIX, PathKind.EXACT, PathKind.SEPARATED_PREFIX]),
    values,
    st.booleans(),
) | st.sampled_from(["/a.*", ".*", "/[ab]+"]).map(lambda value: PathMatch(PathKind.REGEX, value))
rules = st.builds(RuleSettings, matches, st.none() | requirements)
per_route = st.sampled_from(
    [{}, {"jwt": PerRouteSettings(disabled=True)}, {"jwt": PerRouteSettings(is_skipped=True)},
     {"jwt": PerRouteSettings(requirement_name="named")}, {"jwt": PerRouteSettings()}]
)  # fmt: skip
routes = st.builds(
    RouteSettings,
    matches,
    st.sampled_from([ForwardAction("backend"), DirectResponseAction(200)]),
    filter_configs=per_route,
)


def survey(
    route_list: list[RouteSettings], jwt: JwtAuthnSettings
) -> tuple[ManagerSurvey, VirtualHostSettings]:
    host = VirtualHostSettings("all", ("*",), tuple(route_list))
    manager = HttpConnectionManagerSettings(
        "x", RouteConfigurationSettings("r", (host,)), (HttpFilterSettings("jwt", jwt),)
    )
    chain = FilterChainSettings(manager)
    return ManagerSurvey(ListenerSettings("l", "127.0.0.1", 0, (chain,)), chain, manager), host


def passes(jwt: JwtAuthnSettings, route: RouteSettings, path: str) -> bool:
    """What the real filter does with a request that has no token."""
    request = Request(b"GET", path.encode(), {})
    request.set_target(path.encode())
    request.filter_configs = route.filter_configs or None
    return JwtAuthnFilter(jwt, ask=lambda _: None).on_request(request) is None


@settings(max_examples=400)
@given(st.lists(routes, max_size=3), st.lists(rules, max_size=3), requirements, st.booleans(), values)
def test_access_is_what_the_data_plane_does(
    route_list: list[RouteSettings],
    rule_list: list[RuleSettings],
    named: RequirementSettings,
    is_off: bool,
    path: str,
) -> None:
    """Every warning about an open path rests on it."""
    jwt = JwtAuthnSettings(
        {"idp": PROVIDER}, tuple(rule_list), {"named": named}, name="jwt", is_off_by_default=is_off
    )
    manager, host = survey(route_list, jwt)

    route = next((one for one in route_list if build_path_matcher(one.match)(path.encode())), None)
    if route is None or not forwards(route):
        expected = Access.NO_ROUTE
    else:
        expected = Access.OPEN if passes(jwt, route, path) else Access.CLOSED
    assert manager.access(host, path) is expected


@settings(max_examples=200)
@given(requirements)
def test_needs_token_is_what_the_filter_does(requirement: RequirementSettings) -> None:
    """Whatever the combination of allow_missing and its like."""
    jwt = JwtAuthnSettings(
        {"idp": PROVIDER}, (RuleSettings(PathMatch(PathKind.PREFIX, "/"), requirement),), name="jwt"
    )
    route = RouteSettings(PathMatch(PathKind.PREFIX, "/"), ForwardAction("backend"))

    assert needs_token(requirement) is not passes(jwt, route, "/")
    assert {use.provider_name for use in accepted(requirement, jwt)} <= {"idp"}


def test_loopback() -> None:
    """By address and by name; a name that merely looks local is not."""
    assert all(
        map(
            is_loopback,
            ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "a.localhost", "/run/x", "@x"],
        )
    )
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "xlocalhost"]))


def test_list_of_many() -> None:
    """A message stays a line."""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
