"""Why each probe and guard is there: the small change to emitted code that it must notice.

An entry is made when its test is: the file as a project called Shop has it, text that stands there
once, what is put in its place, and the test that must then fail, on the driver that shows it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    file: str
    old: str
    new: str
    test: str
    driver: str = "aiosqlite"

    def __str__(self) -> str:
        return f"{self.test.rpartition('::')[2]}-{self.file.rpartition('/')[2]}-{self.driver}"


MUTATIONS = [
    # The test kit.
    Mutation(
        "src/shop/db/testing.py",
        'add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)',
        'add_marker(pytest.mark.asyncio(loop_scope="function"), append=False)',
        "tests/db/test_testing.py::test_a_test_of_the_database_runs_in_the_loop_of_its_connections",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/testing.py",
        '"create_savepoint"',
        '"rollback_only"',
        "tests/db/test_testing.py::test_code_under_test_may_roll_back_and_go_on",
    ),
    Mutation(
        "src/shop/db/testing.py",
        "        await transaction.rollback()\n",
        "        await transaction.commit()\n",
        "tests/db/test_testing.py::test_nothing_of_a_test_stays",
    ),
    Mutation(
        "src/shop/db/testing.py",
        "        if not _MANAGES_A_TRANSACTION.match(statement):\n",
        "        if statement:\n",
        "tests/db/test_testing.py::test_statements_are_counted_but_not_those_that_manage_a_transaction",
    ),
    Mutation(
        "src/shop/db/testing.py",
        "len(sent) != number",
        "len(sent) > len(sent)",
        "tests/db/test_testing.py::test_a_wrong_count_fails_and_shows_what_was_sent",
    ),
    Mutation(
        "src/shop/db/testing.py",
        'for name in ("database", "fresh_database")',
        'for name in ("database",)',
        "tests/db/test_testing.py::test_statements_of_a_fresh_database_are_counted",
    ),
    Mutation(
        "src/shop/db/factory.py",
        "        return attribute.local_columns\n",
        "        return ()\n",
        "tests/db/test_testing.py::test_a_row_is_made_for_another",
    ),
    Mutation(
        "src/shop/db/factory.py",
        "        for key in column.foreign_keys:\n",
        "        for key in ():\n",
        "tests/db/test_testing.py::test_a_row_is_made_with_all_that_it_takes",
    ),
    # The guards: mistakes in the project's own code. tests/test_guards.py has the words of each.
    Mutation(
        "src/shop/models.py",
        'relationship(back_populates="profile", lazy="raise")',
        'relationship(back_populates="profile")',
        "tests/db/test_guards.py::test_every_relationship_says_how_it_is_loaded",
    ),
    Mutation(
        "src/shop/models.py",
        "    name: Mapped[str] = mapped_column(sa.String(50), unique=True)\n",
        "    name: Mapped[str] = mapped_column(sa.DateTime, unique=True)\n",
        "tests/db/test_guards.py::test_every_datetime_has_a_time_zone",
    ),
    Mutation(
        "src/shop/db/base.py",
        "sa.MetaData(naming_convention=NAMING_CONVENTION)",
        "sa.MetaData()",
        "tests/db/test_guards.py::test_every_constraint_and_index_has_a_name",
    ),
    Mutation(
        "src/shop/models.py",
        "primary_key=True, index=True\n",
        "primary_key=True\n",
        "tests/db/test_guards.py::test_every_foreign_key_has_an_index",
    ),
    Mutation(
        "src/shop/models.py",
        "    body: Mapped[str] = mapped_column(sa.Text)\n",
        "    awaitable_attrs: Mapped[str] = mapped_column(sa.Text)\n",
        "tests/db/test_guards.py::test_no_attribute_hides_one_of_the_base_class",
    ),
    Mutation(
        "src/shop/repositories.py",
        "\n\nclass UserRepository(",
        "from sqlalchemy import create_engine\n\nengine = create_engine('sqlite://')\n"
        "\n\nclass UserRepository(",
        "tests/db/test_guards.py::test_no_engine_is_made_at_import",
    ),
    Mutation(
        "src/shop/repositories.py",
        "        return await self.find_one(User.email == email)\n",
        "        await self.session.commit()\n        return None\n",
        "tests/db/test_guards.py::test_no_repository_commits",
    ),
]
