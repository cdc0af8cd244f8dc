"""Requirements that let more pass than a glance tells."""

from collections.abc import Iterator

from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    RequiresAny,
    RequiresNothing,
)
from fastproxy.lint.requirements import all_parts, parts
from fastproxy.lint.rule import Finding, Rule, Severity
from fastproxy.lint.survey import Survey


def _check_missing_in_any(survey: Survey) -> Iterator[Finding]:
    for _, jwt in survey.filters():
        seen = set()
        for path, part in all_parts(jwt):
            if not isinstance(part, RequiresAny):
                continue
            for inner, child in parts(part, path):
                if isinstance(child, AllowsMissing) and inner not in seen:
                    seen.add(inner)
                    yield Finding(
                        inner, "allow_missing inside requires_any makes every other choice optional"
                    )


def _check_missing_or_failed(survey: Survey) -> Iterator[Finding]:
    for _, jwt in survey.filters():
        for path, part in all_parts(jwt):
            if isinstance(part, AllowsMissingOrFailed):
                yield Finding(
                    path, "allow_missing_or_failed lets every request through, with any token or none"
                )


def _check_empty(survey: Survey) -> Iterator[Finding]:
    for _, jwt in survey.filters():
        for path, part in all_parts(jwt):
            if isinstance(part, RequiresNothing):
                yield Finding(path, "the requirement is empty, and every request satisfies it")


RULES = (
    Rule(
        name="allow-missing-in-any",
        severity=Severity.MEDIUM,
        summary="allow_missing among the choices of requires_any",
        why="A request without a token satisfies the whole requirement, so the upstream must tell"
        " the two apart itself",
        fix="Remove allow_missing, or silence this where anonymous requests are meant",
        details="The list reads as if one of its providers had to vouch for the request. Optional"
        " tokens are a legitimate use: then the upstream has to look at the identity headers,"
        " which are absent for anonymous requests, and a comment should say so. CVE-2021-21378"
        " was this very combination, judged wrongly.",
        example="requires:\n"
        "  requires_any:\n"
        "    requirements:\n"
        "    - provider_name: idp\n"
        "    - allow_missing: {}",
        check=_check_missing_in_any,
    ),
    Rule(
        name="allow-missing-or-failed",
        severity=Severity.HIGH,
        summary="allow_missing_or_failed",
        why="A forged or expired token reaches the upstream as it was sent, and the upstream may believe it",
        fix="Use allow_missing, which refuses bad tokens, or require a provider",
        details="A token that failed is not removed from the request. An upstream that decodes tokens"
        ' without verifying them, because "the proxy does", then trusts what anybody wrote.',
        example="requires:\n  allow_missing_or_failed: {}",
        check=_check_missing_or_failed,
    ),
    Rule(
        name="empty-requirement",
        severity=Severity.HIGH,
        summary="a requirement that asks for nothing",
        why="It looks like protection and lets every request through",
        fix="Name a provider, or remove `requires` to say that the path is open",
        details="Envoy takes `requires: {}` and an empty entry of `requires_any` as satisfied. It is"
        " what is left when a template fills in no provider.",
        example="rules:\n- match: {prefix: /}\n  requires: {}",
        check=_check_empty,
    ),
)
