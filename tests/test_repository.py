"""The repository's own promises: versions agree, links lead somewhere, the face matches the product."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import fastproxy
from tests.e2e.support.differences import all_differences

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = sorted({*ROOT.glob("*.md"), *DOCS, *(ROOT / "configs").glob("*.md"), *(ROOT / "bench").glob("*.md")})

_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

#: Text about how a machine happened to be set up, which no reader can use.
FORBIDDEN = {
    "a path of one machine": re.compile(r"/root/|/home/\w|/opt/(?:wheels|pypi)|/work/(?:main|shared)\b"),
    "an index of one machine": re.compile(r"--(?:extra-)?index-url|--find-links"),
}


def _names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def _anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as code hosts build them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in _HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=_names(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    """A dead link is the first thing a newcomer finds."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    dead = []
    for link in _LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in _anchors(path)):
            dead.append(link)

    assert dead == []


def test_every_page_of_the_documentation_is_in_the_index() -> None:
    """What the index does not name is not found."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {link.partition("#")[0] for link in _LINK.findall(index)}

    assert [page.name for page in DOCS if page.name != "index.md" and page.name not in linked] == []


def test_every_tested_difference_from_envoy_is_documented() -> None:
    """A user who comes from Envoy looks for surprises on one page, before they happen."""
    page = (ROOT / "docs" / "differences-from-envoy.md").read_text(encoding="utf-8")

    assert [known.id for known in all_differences() if f"`{known.id}`" not in page] == []


def test_changelog_knows_the_version() -> None:
    """Operators read the changelog of the version they are about to run."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)

    assert fastproxy.__version__ in versions


def test_security_comes_first_in_every_release() -> None:
    """It is why people upgrade in a hurry (Keep a Changelog, with this one order fixed)."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for release in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert "Security" not in kinds or kinds[0] == "Security"


def test_readme_tells_the_two_commands() -> None:
    """Seeing it work and testing it are one command each, and the README says which."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert "make demo" in readme
    assert "make test" in readme
    assert "docs/differences-from-envoy.md" in readme


def test_library_example_of_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the first thing that a reader pastes."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(ROOT)

    exec(compile(example, "README.md", "exec"), {})

    assert capsys.readouterr().out == "someone\n"


def test_licence_is_the_declared_one() -> None:
    """A package that says one licence and carries another cannot be used at all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_file_has_a_hash_for_every_package_and_no_index(name: str) -> None:
    """A pinned version without a hash pins nothing, and an index named there is reachable for few."""
    text = (ROOT / name).read_text(encoding="utf-8")
    pinned = re.findall(r"^[A-Za-z0-9._-]+==\S+ (.*)$", text, re.MULTILINE)

    assert pinned
    assert all(rest.startswith("\\") or "--hash=sha256:" in rest for rest in pinned)
    assert not re.search(r"^--|://", text, re.MULTILINE)


def test_both_lock_files_name_the_same_versions() -> None:
    """What is tested must be what is run."""

    def versions(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))

    runtime, dev = versions("requirements.lock"), versions("requirements-dev.lock")
    assert {name: dev.get(name) for name in runtime} == runtime


def test_lock_file_covers_every_declared_dependency() -> None:
    """A dependency that is declared and not locked is installed by nobody who uses the Makefile."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = {
        name.lower().replace("_", "-")
        for name in re.findall(
            r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE
        )
    }
    declared = {
        re.split(r"[<>=!; \[]", text)[0].lower().replace("_", "-") for text in project["dependencies"]
    }

    assert declared - locked == set()


def test_packaged_demo_configuration_is_the_one_in_configs() -> None:
    """An installed package has no `configs/`; what it shows must be what the repository shows."""
    packaged = ROOT / "fastproxy" / "demo" / "demo.yaml"

    assert packaged.read_bytes() == (ROOT / "configs" / "demo.yaml").read_bytes()


def test_nothing_in_the_repository_speaks_of_one_machine() -> None:
    """Paths and addresses of a developer's machine mislead everybody else."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path == Path(__file__).resolve() or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for what, pattern in FORBIDDEN.items():
            found += [f"{name}: {what}: {match}" for match in pattern.findall(text)]

    assert found == []
