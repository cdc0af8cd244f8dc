"""All rules, in the order of their families: paths that are open, rules that are dead, tokens, keys, exposure."""

from typing import Final

from fastproxy.lint.rule import Rule
from fastproxy.lint.rules.cors import RULES as _CORS
from fastproxy.lint.rules.coverage import RULES as _COVERAGE
from fastproxy.lint.rules.dead import RULES as _DEAD
from fastproxy.lint.rules.exposure import RULES as _EXPOSURE
from fastproxy.lint.rules.keys import RULES as _KEYS
from fastproxy.lint.rules.optional import RULES as _OPTIONAL
from fastproxy.lint.rules.spelling import RULES as _SPELLING
from fastproxy.lint.rules.tokens import RULES as _TOKENS
from fastproxy.lint.rules.transport import RULES as _TRANSPORT

ALL_RULES: Final[tuple[Rule, ...]] = (
    *_COVERAGE, *_SPELLING, *_OPTIONAL, *_DEAD, *_TOKENS, *_KEYS, *_TRANSPORT, *_EXPOSURE, *_CORS,
)  # fmt: skip
