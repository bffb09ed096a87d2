"""What `copier update` brings, years later, and what it leaves alone."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError

import pytest
from harness import (
    ANSWERS,
    ANSWERS_BESIDE,
    DRIVERS,
    SERVER_DRIVERS,
    SNAPSHOT,
    Project,
    Template,
    git,
    is_ours,
    pairwise,
)

NEXT = "v9999.1.0"
# A commit of this repository, taken for a release.
EARLIER = "1127ffd8b4b77294ba504c8eb837c99141dfcaaf"
LAYER = Path("template/{{ package_dir }}/db")


def _answers(row: dict[str, str]) -> dict[str, object]:
    extras = row["extras"].split() if row["driver"] in SERVER_DRIVERS else []
    scope: dict[str, object] = (
        {"package_dir": "libs/shop"} if row["scope"] == "layer" else {"starter": row["starter"]}
    )
    return {name: row[name] for name in ("driver", "web", "scope")} | scope | {"extras": extras}


def _name(answers: dict[str, object]) -> str:
    return "-".join(re.sub(r"\W+", "+", str(value)) for value in answers.values())


PAIRS = pairwise(
    driver=DRIVERS,
    scope=["service", "layer"],
    web=["none", "fastapi"],
    starter=["blog", "none"],
    extras=["", "replicas", "replicas probes"],
)
# A layer has no starter, and SQLite no extras: some rows are the same.
ALL_ANSWERS: list[dict[str, object]] = [
    {"driver": "aiosqlite", "key": "bigint", "web": "fastapi", "ci": "github"},
    {"driver": "asyncpg", "pool": "worker", "scope": "layer", "package_dir": "libs/shop"},
    *{_name(answers): answers for answers in map(_answers, PAIRS)}.values(),
]


@dataclass(frozen=True)
class Journey:
    """A project that its owners changed, and that was updated twice: what it held at each stage."""

    before: dict[str, str]
    after: dict[str, str]
    fresh: dict[str, str]
    conflicts: list[str]
    empty_folders: list[Path]
    changed_by_the_second_update: list[str]


@pytest.fixture(scope="module")
def releases(template: Template) -> Template:
    """This template and its next release: every file differs, `db` has one more, a pool grows."""

    def change(repository: Path) -> None:
        for file in (repository / "template").rglob("*"):
            computed = "answers_file" in file.name or "manifest" in file.name
            if file.is_file() and file.stat().st_size and not computed:
                text = file.read_text("utf-8")
                # At both ends: most conflicts are between two who add to the end.
                file.write_text(f"# First of all.\n{text}# Last of all.\n", "utf-8")
        (repository / LAYER / "outbox.py").write_text('"""A pattern that is new."""\n')
        web = "{{size: {}, max_overflow: 10, timeout: 5,"
        _replace(repository / "copier.yml", web.format(5), web.format(6))

    return template.release(NEXT, change)


@pytest.fixture(scope="module", params=ALL_ANSWERS, ids=_name)
def journey(releases: Template, request: pytest.FixtureRequest) -> Journey:
    project = releases.at(SNAPSHOT).render(**request.param)
    _work_on(project)
    before = project.contents()
    project.update()
    after, conflicts = project.contents(), project.conflicts
    folders = [path for path in project.root.rglob("*") if path.is_dir()]
    empty_folders = [path for path in folders if ".git" not in path.parts if not [*path.iterdir()]]
    project.commit()
    project.update()
    fresh = releases.render(**request.param).contents()
    return Journey(before, after, fresh, conflicts, empty_folders, project.changes)


@pytest.fixture
def start(releases: Template) -> Callable[..., Project]:
    """A project generated at the release before the newest, committed."""

    def start(**answers: str) -> Project:
        project = releases.at(SNAPSHOT).render(**answers)
        project.commit()
        return project

    return start


def test_an_update_of_a_project_that_was_worked_on_has_no_conflict(journey: Journey) -> None:
    assert journey.conflicts == []


def test_the_layer_becomes_what_a_fresh_copy_would_be(journey: Journey) -> None:
    assert _ours(journey.after) == _ours(journey.fresh) != _ours(journey.before)


def test_what_the_owners_changed_deleted_and_added_stays_as_it_is(journey: Journey) -> None:
    assert _theirs(journey.after) == _theirs(journey.before)


def test_a_folder_that_the_owners_deleted_does_not_come_back_empty(journey: Journey) -> None:
    assert journey.empty_folders == []


def test_a_second_update_changes_nothing(journey: Journey) -> None:
    assert journey.changed_by_the_second_update == []


def test_a_better_number_reaches_those_who_chose_a_pool_by_its_name(
    start: Callable[..., Project],
) -> None:
    project = start(driver="asyncpg", pool="web")
    assert project.answers["pool_values"]["size"] == 5
    project.update()
    assert project.answers["pool_values"]["size"] == 6


def test_an_update_keeps_the_answers_and_notes_the_version(start: Callable[..., Project]) -> None:
    project = start(driver="asyncpg", pool="custom", pool_size="5")
    before = project[ANSWERS]
    project.update()
    assert project[ANSWERS] == before.replace(SNAPSHOT, NEXT)
    assert project.answers["pool_values"]["size"] == 5


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"driver": "aiosqlite"}, {"driver": "asyncpg"}),
        ({"driver": "asyncpg", "web": "fastapi"}, {"driver": "asyncmy"}),
        ({"driver": "asyncpg"}, {"driver": "psycopg"}),
        ({"starter": "none"}, {"web": "fastapi"}),
    ],
    ids=str,
)
def test_an_update_says_what_it_leaves_to_the_owner(
    releases: Template,
    start: Callable[..., Project],
    before: dict[str, str],
    after: dict[str, str],
) -> None:
    project, fresh = start(**before), releases.render(**{**before, **after})
    old, new = project.answers, fresh.answers
    said = project.update(**after)

    missing = sorted(set(fresh.tree) - set(project.tree))
    assert ("which are missing here:" in said) == bool(missing)
    assert sorted(set(map(str.strip, said.splitlines())) & set(fresh.tree)) == missing
    moved = old["driver"] != new["driver"]
    assert (f"moved from {old['driver']} to {new['driver']}" in said) == moved
    for requirement in new["drivers"][new["driver"]]["requirements"] if moved else ():
        assert f'"{requirement}"' in said
        assert requirement in fresh["pyproject.toml"]
    assert ("delete its revisions" in said) == (old["database"] != new["database"])

    # As the update says it.
    assert "copier recopy --overwrite" in said or not missing
    said = project.recopy()
    assert set(project.tree) >= set(fresh.tree)
    assert sorted(set(map(str.strip, said.splitlines())) & set(fresh.tree)) == missing


def test_an_update_that_changes_no_answer_leaves_nothing_to_its_owner(
    start: Callable[..., Project],
) -> None:
    project = start(web="fastapi", starter="none")
    del project["README.md"]
    project.commit()
    said = project.update()
    assert "copier recopy" not in said
    assert "moved" not in said
    assert "README.md" not in said


def test_the_words_after_an_update_show_its_conflicts_and_its_new_files(
    start: Callable[..., Project],
) -> None:
    project = start()
    path = "src/shop/db/errors.py"
    project[path] = f"# Ours, where the release has a line too.\n{project[path]}"
    project.commit()
    said = project.update()
    commands = [line.partition("#")[0].split() for line in said.splitlines() if " git " in line]
    assert commands[:2] == [["git", "status"], ["git", "diff", "--check"]]
    assert "?? src/shop/db/outbox.py" in project.changes
    with pytest.raises(CalledProcessError) as refused:
        git(project.root, *commands[1][1:])
    assert f"{path}:1: leftover conflict marker" in refused.value.stdout
    assert project.conflicts == [path]


def test_a_recopy_takes_the_layer_back_and_names_the_files_that_it_makes(
    releases: Template, start: Callable[..., Project]
) -> None:
    project = start(web="fastapi")
    _work_on(project)
    project["src/shop/db/errors.py"] = "# Ours.\n"
    before = project.contents()
    said = project.recopy()
    after = project.contents()
    assert _ours(after) == _ours(releases.render(web="fastapi").contents())
    made = {path: text for path, text in _theirs(after).items() if path not in before}
    assert set(map(str.strip, said.splitlines())) & set(after) == made.keys() != set()
    assert {path: after[path] for path in _theirs(before)} == _theirs(before)
    assert "changes of yours in them are gone" in said


def test_a_project_of_before_the_first_release_is_told_to_start_anew(
    start: Callable[..., Project],
) -> None:
    project = start()
    # As the folder was before it had folders of its own.
    (project.root / "src/shop/db/engine/dialect.py").rename(project.root / "src/shop/db/dialect.py")
    project.commit()
    with pytest.raises(ValueError, match="was made before the first release"):
        project.update()
    assert project.changes == []


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({"driver": "asyncpg"}, {"pool": "worker", "pooler": "pgbouncer"}),
        ({"driver": "asyncpg"}, {"extras": ["replicas", "probes"]}),
        ({"driver": "asyncpg"}, {"driver": "psycopg"}),
        ({"driver": "aiosqlite"}, {"web": "fastapi"}),
        pytest.param({"driver": "asyncmy"}, {"driver": "aiomysql"}, marks=pytest.mark.more),
        ({"driver": "aiosqlite"}, {"driver": "asyncpg"}),
    ],
    ids=str,
)
def test_an_answer_may_be_changed_and_changed_back(
    releases: Template,
    start: Callable[..., Project],
    base: dict[str, object],
    change: dict[str, object],
) -> None:
    project = start(**base)
    _work_on(project)
    theirs = _theirs(project.contents())
    back = {name: project.answers[name] for name in change}
    for answers in (change, back):
        project.update(**answers)
        assert project.conflicts == []
        assert _ours(project.contents()) == _ours(releases.render(**{**base, **answers}).contents())
        assert _theirs(project.contents()) == theirs
        project.commit()


@pytest.mark.more
@pytest.mark.server
@pytest.mark.parametrize(
    "answers",
    [
        {"driver": "aiosqlite", "web": "fastapi"},
        {"driver": "asyncpg", "starter": "none", "extras": ["replicas"]},
        {"driver": "aiomysql"},
    ],
    ids=_name,
)
def test_a_service_that_was_worked_on_passes_its_tests_after_an_update(
    releases: Template, answers: dict[str, object]
) -> None:
    project = releases.at(SNAPSHOT).render(**answers)
    model = """

class Tea(PrimaryKey, Base):
    \"\"\"A model of the owner's.\"\"\"

    __tablename__ = "teas"

    name: Mapped[str] = mapped_column(sa.String(50))
"""
    project["src/shop/models.py"] += model
    project["tests/test_teas.py"] = """
from shop.db import Database, Repository
from shop.models import Tea


async def test_a_tea_is_stored(database: Database) -> None:
    async with database.transaction() as session:
        tea = await Repository[Tea](session).create(name="Assam")
    async with database.reader() as session:
        assert (await Repository[Tea](session).get_one(tea.id)).name == "Assam"
"""
    autogenerate = "alembic revision --autogenerate -m teas"
    project.run_on_a_database("alembic upgrade head", autogenerate)
    project.commit()
    project.update()
    assert project.conflicts == []
    project.run("pytest", "-q", "-p", "no:randomly")


@pytest.mark.more
@pytest.mark.parametrize("answers", ALL_ANSWERS, ids=_name)
def test_a_project_of_an_earlier_commit_is_updated(
    template: Template, answers: dict[str, object]
) -> None:
    releases = template.release("v9999.0.1", lambda repository: None)
    git(releases.repository, "tag", "v0.0.1", EARLIER)
    project = releases.at("v0.0.1").render(**answers)
    _work_on(project)
    before = project.contents()
    project.update()
    assert project.conflicts == []
    assert _theirs(project.contents()) == _theirs(before)
    fresh = releases.render(**answers)
    assert _ours(project.contents()) == _ours(fresh.contents())
    project.commit()
    project.update()
    assert project.changes == []


def test_a_refused_answer_leaves_the_project_as_it_is(start: Callable[..., Project]) -> None:
    project = start()
    with pytest.raises(ValueError, match="The package is not renamed by a command"):
        project.update(package="store")
    assert project.changes == []


@pytest.mark.parametrize("scope", ["service", "layer"])
def test_a_layer_that_is_not_where_the_answers_say_is_not_updated(
    start: Callable[..., Project], scope: str
) -> None:
    project = start(scope=scope, package="shop")
    # The package is renamed, and the answers are not.
    (project.root / "src/shop").rename(project.root / "src/store")
    project.commit()
    with pytest.raises(ValueError, match=r"src/shop/db is missing\. If the package was"):
        project.update()
    assert project.changes == []


def test_owners_may_rename_their_package(releases: Template, start: Callable[..., Project]) -> None:
    # A word that is nowhere else.
    project = start(package="zebra")
    (project.root / "src/zebra").rename(project.root / "src/store")
    for path in project.tree:
        project[path] = project[path].replace("zebra", "store")
    project.commit()
    project.update()
    assert project.conflicts == []
    assert _ours(project.contents()) == _ours(releases.render(package="store").contents())


def test_an_update_may_add_the_module_for_an_api(start: Callable[..., Project]) -> None:
    project = start()
    before = project.contents()
    project.update(web="fastapi")
    assert "src/shop/db/fastapi.py" in project.tree
    assert _theirs(project.contents()) == _theirs(before)


@pytest.mark.parametrize(("before", "after"), [("blog", "none"), ("none", "blog")])
def test_another_starter_changes_no_file_of_the_owners(
    start: Callable[..., Project], before: str, after: str
) -> None:
    project = start(starter=before, web="fastapi")
    _work_on(project)
    files = project.contents()
    project.update(starter=after)
    assert project.conflicts == []
    assert _theirs(project.contents()) == _theirs(files)


def test_a_layer_beside_another_template_keeps_answers_of_its_own(
    releases: Template, tmp_path: Path
) -> None:
    (tmp_path / ANSWERS).write_text("_src_path: gh:somebody/else\nproject_name: Theirs\n")
    project = releases.at(SNAPSHOT).render_beside(tmp_path, scope="layer")
    project.commit()
    project.update()
    assert project.conflicts == []
    assert f"_commit: {NEXT}" in project[ANSWERS_BESIDE]
    assert project[ANSWERS].endswith("Theirs\n")
    assert "src/shop/db/outbox.py" in project.tree


def test_a_module_that_is_renamed_without_a_cure_is_noticed(template: Template) -> None:
    def rename(repository: Path) -> None:
        (repository / LAYER / "tls.py").rename(repository / LAYER / "transport.py")

    # Of every release test_tree asserts that nothing is lost.
    lost = template.release(NEXT, rename).lost_paths()
    assert lost == {SNAPSHOT: {"src/shop/db/tls.py"}}


def test_a_module_that_is_retired_by_excluding_it_stays_with_its_owner(template: Template) -> None:
    def retire(repository: Path) -> None:
        (repository / LAYER / "tls.py").unlink()
        first = "    /_databases\n"
        retired = "    /{{ package_dir }}/db/tls.py\n"
        _replace(repository / "copier.yml", first, first + retired)

    project = template.release(NEXT, retire).at(SNAPSHOT).render()
    project.commit()
    project.update()
    assert "src/shop/db/tls.py" in project.tree


@pytest.mark.parametrize("answers", ALL_ANSWERS[:2], ids=_name)
def test_every_release_updates_to_what_lies_here(
    template: Template, answers: dict[str, object]
) -> None:
    for version in template.releases:
        project = template.at(version).render(**answers)
        _work_on(project)
        before = project.contents()
        project.update()
        assert project.conflicts == []
        after = project.contents()
        assert _theirs(after) == _theirs(before)
        assert _ours(after) == _ours(template.render(**answers).contents())


def _ours(contents: dict[str, str]) -> dict[str, str]:
    return {
        path: text for path, text in contents.items() if is_ours(path) and path[-6:] != "own.py"
    }


def _theirs(contents: dict[str, str]) -> dict[str, str]:
    return {path: contents[path] for path in contents.keys() - _ours(contents) - {ANSWERS}}


def _work_on(project: Project) -> None:
    """Do as owners do: leave a seed as it is, delete, move and change others, add files."""
    package, seeds = project.answers["package_dir"], sorted(_theirs(project.contents()))
    _, moved, *changed = seeds
    # The one gets a file of theirs, and the other is gone for good.
    for folder in ("migrations", "tests/api"):
        shutil.rmtree(project.root / folder, ignore_errors=True)
    for path in [moved, *changed]:
        if (project.root / path).exists():
            project[path] = f"# Ours.\n{project[path].replace('a', 'e')}# Ours too.\n"
    if (project.root / moved).exists():
        (project.root / "moved").mkdir()
        (project.root / moved).rename(project.root / "moved" / Path(moved).name)
    project["migrations/versions/0002_more.py"] = "# A revision that the template does not know.\n"
    for path in (f"{package}/views.py", f"{package}/db/own.py", "tests/test_views.py"):
        project[path] = "# A module that the template does not know.\n"
    project.commit()


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(old) == 1, f"{file.name} has not one {old!r} to replace"
    file.write_text(text.replace(old, new), "utf-8")
