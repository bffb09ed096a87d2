"""Why each probe and guard is there: the small change to emitted code that it must notice.

An entry is made when its test is: the file as a project called Shop has it, text that stands there
once, what is put in its place, and the test that must then fail, on the driver that shows it.
"""

from dataclasses import dataclass

from harness import FIRST_DRIVERS


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
    # A project without migrations.
    Mutation(
        "src/shop/db/doctor.py",
        'if current == newest == "none":',
        'if current == newest == "":',
        "tests/db/layer_tests/probes/test_migrations.py::test_doctor_says_how_to_write_the_first_revision",
    ),
    # The manifest.
    Mutation(
        "src/shop/db/errors.py",
        "class NotFound(",
        "# Ours.\nclass NotFound(",
        "tests/db/layer_tests/test_guards.py::test_the_layer_is_as_it_was_released",
    ),
    *(
        Mutation(
            "src/shop/db/doctor.py",
            old,
            new,
            "tests/db/layer_tests/probes/test_main.py::"
            "test_doctor_finds_the_files_that_are_not_as_they_were_released",
        )
        for old, new in (
            ('.replace(b"\\r\\n", b"\\n")', ""),
            ('.replace(b"/" + package, b"/")', ""),
            (" if file.parent.exists() else {}", ""),
            ("        if not file.exists():", "        if file.exists():"),
        )
    ),
    # What makes queries slow.
    *(
        Mutation(
            f"src/shop/db/{file}",
            old,
            new,
            f"tests/db/layer_tests/probes/test_main.py::test_analyze_says_{test}",
            driver,
        )
        for file, old, new, test, driver in (
            *(
                ("engine/dialect.py", old, new, "what_makes_queries_slow", "asyncpg")
                for old, new in (
                    ("idx_scan = 0 AND", "idx_scan = 1 AND"),
                    ("NOT indisunique AND", "true AND"),
                    ("HAVING count(*) > 1", "HAVING count(*) > 2"),
                    ("coalesce(pg_get_expr(indpred, indrelid), '')", "''"),
                    ("seq_scan > 100 AND", "seq_scan > 1000 AND"),
                    ("current_database() ORDER BY total", "'other' ORDER BY total"),
                )
            ),
            (
                "analysis.py",
                "{*columns} == {*x[: len(columns)]}",
                "{*columns} == {*x}",
                "what_makes_queries_slow",
                "aiosqlite",
            ),
            (
                "analysis.py",
                "with suppress(DBAPIError):",
                "with suppress():",
                "that_nothing_was_found",
                "psycopg",
            ),
            (
                "analysis.py",
                'if check.status == "failed":',
                "if False:",
                "that_nothing_was_found",
                "aiosqlite",
            ),
        )
    ),
    # Errors of connecting.
    Mutation(
        "src/shop/db/engine/engine.py",
        'reason = " ".join(str(error).split())',
        "reason = str(error)",
        "tests/db/layer_tests/probes/test_main.py::test_ping_says_what_is_wrong_and_what_to_try",
        "psycopg",
    ),
    # Lists over HTTP.
    Mutation(
        "src/shop/db/repository/repository.py",
        "        refuse_unjoined(self.statement(), found)\n",
        "",
        "tests/db/layer_tests/probes/test_filters.py::test_a_filter_by_a_table_that_is_not_joined_is_refused",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "if kind.__class__ is sa.Numeric:",
        "if kind is None:",
        "tests/db/layer_tests/probes/test_filters.py::test_rows_are_found_by_the_filters_of_their_columns",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "lambda x: members.get(x, x) if isinstance(x, str) else x",
        "lambda x: x",
        "tests/db/layer_tests/probes/test_filters.py::test_a_member_of_an_enum_may_have_a_number_as_its_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "AfterValidator(_aware if kind.timezone else _naive)",
        "AfterValidator(_naive)",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "    if moment.tzinfo is not None:\n",
        "    if moment is None:\n",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "                if name + suffix in found:\n",
        "                if name is None:\n",
        "tests/db/layer_tests/probes/test_filters.py::test_two_columns_with_one_filter_are_refused",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "if n > 1 and name in given",
        "if n < 1",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_parameter_that_the_list_has_not_is_refused_by_its_name",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "times.keys() - known if known else set[str]()",
        "times.keys() - known",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_route_that_openapi_does_not_have_takes_its_parameters",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "if not x.isidentifier() or iskeyword(x)",
        "if not x.isidentifier() and iskeyword(x)",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_filter_whose_name_is_no_identifier_is_refused",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "if isinstance(sort, str) or not",
        "if sort is None and not",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_defaults_that_no_request_could_have_are_refused",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "if not 1 <= size <= max_size:",
        "if size is None:",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_defaults_that_no_request_could_have_are_refused",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "            if cursor is None:\n                raise\n",
        "            raise\n",
        "tests/db/layer_tests/probes/test_pages.py::test_a_cursor_with_values_of_other_types_is_invalid",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        'getattr(scope.get("route"), "path_format", "")',
        'scope["path"]',
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_route_that_openapi_does_not_have_takes_its_parameters",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "unknown = times.keys() - known if known else set[str]()",
        "unknown = set[str]()",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_parameter_that_the_list_has_not_is_refused_by_its_name",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "Query(1, ge=1, le=10_000)",
        "Query(1)",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_parameter_that_the_list_has_not_is_refused_by_its_name",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "Query(size, ge=1, le=max_size)",
        "Query(size)",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_parameter_that_the_list_has_not_is_refused_by_its_name",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        ", max_length=most)",
        ")",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_parameter_that_the_list_has_not_is_refused_by_its_name",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "list[order]",
        "list[str]",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_openapi_has_the_type_of_each_parameter",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "each.type | None",
        "str | None",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_openapi_has_the_type_of_each_parameter",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "        if taken:\n",
        "        if taken is None:\n",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_filter_cannot_have_the_name_of_a_parameter_of_the_page",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "if value is not None}",
        "if value}",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_request_filters_sorts_and_pages",
    ),
    Mutation(
        "src/shop/db/fastapi_lists.py",
        "        if names:\n",
        "        if [*names, None]:\n",
        "tests/db/layer_tests/probes/test_fastapi_lists.py::test_a_list_without_orders_has_none",
    ),
    # Filters from outside.
    Mutation(
        "src/shop/db/repository/filters.py",
        "column.contains(text, autoescape=True)",
        "column.contains(text)",
        "tests/db/layer_tests/probes/test_filters.py::test_rows_are_found_by_the_filters_of_their_columns",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "column.startswith(text, autoescape=True)",
        "column.startswith(text)",
        "tests/db/layer_tests/probes/test_filters.py::test_rows_are_found_by_the_filters_of_their_columns",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        '            value = value.split(",")\n',
        "            pass\n",
        "tests/db/layer_tests/probes/test_filters.py::test_rows_are_found_by_the_filters_of_their_columns",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "if unknown := given.keys() - filters.keys():",
        "if unknown := set[str]():",
        "tests/db/layer_tests/probes/test_filters.py::test_a_filter_that_no_column_offers_is_refused",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "            raise invalid from None\n",
        "            raise invalid from error\n",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "            invalid.fields = (name,)\n",
        "",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "conlist(value, max_length=MOST_VALUES)",
        "conlist(value)",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "Field(max_length=kind.length or MOST_CHARACTERS, pattern",
        "Field(pattern",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        'Field(max_length=kind.length or MOST_CHARACTERS, pattern=r"^[^\\x00]*$")',
        "Field(max_length=kind.length or MOST_CHARACTERS)",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "Annotated[int, Field(ge=-most, lt=most)]",
        "int",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "Annotated[Decimal, Field(max_digits=MOST_DIGITS)]",
        "Decimal",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "Annotated[float, Field(allow_inf_nan=False)]",
        "float",
        "tests/db/layer_tests/probes/test_filters.py::test_a_value_that_does_not_fit_its_filter_is_an_invalid_value",
    ),
    Mutation(
        "src/shop/db/repository/filters.py",
        "return AwareDatetime, _ORDERED",
        "return NaiveDatetime, _ORDERED",
        "tests/db/layer_tests/probes/test_filters.py::test_rows_are_found_by_the_filters_of_their_columns",
    ),
    # The test kit.
    Mutation(
        "src/shop/db/testing/event_loop.py",
        'add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)',
        'add_marker(pytest.mark.asyncio(loop_scope="function"), append=False)',
        "tests/db/layer_tests/probes/test_testing.py::test_a_test_of_the_database_runs_in_the_loop_of_its_connections",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/testing/event_loop.py",
        'patch.setattr(made, "_loop_scope", "session", raising=False)',
        "pass",
        "tests/db/layer_tests/probes/test_testing.py::test_what_such_a_test_takes_is_made_in_that_loop",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        '"create_savepoint"',
        '"rollback_only"',
        "tests/db/layer_tests/probes/test_testing.py::test_code_under_test_may_roll_back_and_go_on",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        "        yield _JoinedDatabase(shared, connection)\n",
        "        yield _JoinedDatabase(shared, connection)\n        await connection.commit()\n",
        "tests/db/layer_tests/probes/test_testing.py::test_nothing_of_a_test_stays",
    ),
    Mutation(
        "src/shop/db/testing/query_log.py",
        "        if not _MANAGES_A_TRANSACTION.match(statement):\n",
        "        if statement:\n",
        "tests/db/layer_tests/probes/test_testing.py::test_statements_are_counted_but_not_those_that_manage_a_transaction",
    ),
    Mutation(
        "src/shop/db/testing/query_log.py",
        "len(sent) != number",
        "len(sent) > len(sent)",
        "tests/db/layer_tests/probes/test_testing.py::test_a_wrong_count_fails_and_shows_what_was_sent",
    ),
    Mutation(
        "tests/db/layer_tests/probes/models.py",
        "class ProbeBase(AsyncAttrs, DeclarativeBase):\n",
        "class ProbeBase(db.Base):\n    __abstract__ = True\n\n",
        "tests/db/layer_tests/probes/test_testing.py::test_the_probes_take_no_name_from_the_projects_models",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        '    event.listen(sa.Engine, "before_cursor_execute", log.note)\n',
        "",
        "tests/db/layer_tests/probes/test_testing.py::test_statements_of_a_fresh_database_are_counted",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        "            deliver=self._note_callbacks,\n",
        "",
        "tests/db/layer_tests/probes/test_testing.py::test_what_is_due_after_a_commit_is_noted_and_not_called",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        '"rollback_only" if reader else ',
        "",
        "tests/db/layer_tests/probes/test_testing.py::test_a_reader_undoes_nothing_that_was_committed_meanwhile",
    ),
    *(
        Mutation(
            "src/shop/db/testing/fixtures.py",
            "if connection.engine.url.database != settings.url.database:",
            "if False:",
            "tests/db/layer_tests/probes/test_migrations.py::test_no_database_but_that_of_the_tests_is_migrated_for_them",
            driver,
        )
        for driver in FIRST_DRIVERS
    ),
    Mutation(
        "src/shop/db/testing/event_loop.py",
        '{"anyio_backend", "database_server"} <=',
        '{"anyio_backend", "nothing"} <=',
        "tests/db/layer_tests/probes/test_testing.py::test_a_test_that_anyio_would_run_is_refused",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        "    if prepare:\n",
        "    if prepare and not prepare:\n",
        "tests/db/layer_tests/probes/test_migrations.py::test_an_empty_database_is_prepared_for_its_migrations",
    ),
    # The guards: mistakes in the project's own code. tests/test_guards.py has the words of each.
    Mutation(
        "src/shop/models.py",
        'relationship(back_populates="profile", lazy="raise")',
        'relationship(back_populates="profile")',
        "tests/db/layer_tests/test_guards.py::test_every_relationship_says_how_it_is_loaded",
    ),
    Mutation(
        "src/shop/db/models/base.py",
        "MutableDict.as_mutable(JSON.copy())",
        "JSON.copy()",
        "tests/db/layer_tests/test_guards.py::test_every_json_column_tracks_its_changes",
    ),
    Mutation(
        "src/shop/models.py",
        "    name: Mapped[str] = mapped_column(sa.String(50), unique=True)\n",
        "    name: Mapped[str] = mapped_column(sa.DateTime, unique=True)\n",
        "tests/db/layer_tests/test_guards.py::test_every_datetime_has_a_time_zone",
    ),
    Mutation(
        "src/shop/db/models/base.py",
        "sa.MetaData(naming_convention=NAMING_CONVENTION)",
        "sa.MetaData()",
        "tests/db/layer_tests/test_guards.py::test_every_constraint_and_index_has_a_name",
    ),
    Mutation(
        "src/shop/models.py",
        "primary_key=True, index=True\n",
        "primary_key=True\n",
        "tests/db/layer_tests/test_guards.py::test_every_foreign_key_has_an_index",
    ),
    Mutation(
        "src/shop/models.py",
        "    body: Mapped[str] = mapped_column(sa.Text)\n",
        "    awaitable_attrs: Mapped[str] = mapped_column(sa.Text)\n",
        "tests/db/layer_tests/test_guards.py::test_no_attribute_hides_one_of_the_base_class",
    ),
    Mutation(
        "src/shop/repositories.py",
        "\n\nclass UserRepository(",
        "from sqlalchemy import create_engine\n\nengine = create_engine('sqlite://')\n"
        "\n\nclass UserRepository(",
        "tests/db/layer_tests/test_guards.py::test_no_engine_is_made_at_import",
    ),
    Mutation(
        "src/shop/models.py",
        'relationship(back_populates="profile", lazy="raise")',
        'relationship(back_populates="profile", lazy="noload")',
        "tests/db/layer_tests/test_guards.py::test_every_relationship_says_how_it_is_loaded",
    ),
    Mutation(
        "src/shop/repositories.py",
        "\n\nclass UserRepository(",
        "from sqlalchemy import create_engine as make\n\ndef engine():\n    return make('sqlite://')\n\n"
        "kept = engine()\n\n\nclass UserRepository(",
        "tests/db/layer_tests/test_guards.py::test_no_engine_is_made_at_import",
    ),
    Mutation(
        "src/shop/repositories.py",
        "        return await self.find_one_or_none(User.email == email)\n",
        "        await self.session.commit()\n        return None\n",
        "tests/db/layer_tests/test_guards.py::test_no_repository_commits",
    ),
    Mutation(
        "src/shop/models.py",
        '    ARCHIVED = "archived"\n',
        '    ARCHIVED = "archived"\n    HIDDEN = "hidden"\n',
        "tests/db/layer_tests/test_guards.py::test_the_database_knows_every_value_of_an_enum",
    ),
    # The service of the seeds.
    Mutation(
        "src/shop/service.py",
        'upsert_many([{"name": name} for name in missing], on=("name",))',
        'insert_many([{"name": name} for name in missing])',
        "tests/test_service.py::test_two_who_need_the_same_new_tag_both_get_it",
        "asyncpg",
    ),
    # Requests.
    Mutation(
        "src/shop/db/fastapi.py",
        'Depends(_transaction, scope="function")',
        "Depends(_transaction)",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_commit_that_fails_is_never_a_success",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        'Depends(_transaction, scope="function")',
        "Depends(_transaction)",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_constraint_that_is_deferred_to_the_commit_is_a_conflict",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        'Depends(_transaction, scope="function")',
        "Depends(_transaction)",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_background_task_finds_what_its_request_committed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    async with database.transaction() as session:\n",
        "    async with database.session() as session:\n",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_request_commits_what_it_did",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    async with database.reader() as session:\n",
        "    async with database.transaction() as session:\n",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_request_that_only_reads_cannot_write",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    async with database or Database() as app.state.database:\n        yield\n",
        "    app.state.database = database\n    yield\n",
        "tests/db/layer_tests/probes/test_fastapi.py::test_the_application_opens_and_closes_its_database",
    ),
    Mutation(
        "src/shop/db/database.py",
        "        if self._engine is None:\n            self._engine = self._create_engine()",
        "        if True:\n            self._engine = self._create_engine()",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_database_that_was_open_before_stays_open",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    return _problem(status, detail, fields)\n",
        "    return _problem(status, str(error), fields)\n",
        "tests/db/layer_tests/probes/test_fastapi.py::test_an_error_is_answered_without_its_words",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "if status == 503 else",
        "if status == 500 else",
        "tests/db/layer_tests/probes/test_fastapi.py::test_an_exhausted_pool_is_answered",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "200 if state.ok else 503",
        "200",
        "tests/db/layer_tests/probes/test_fastapi.py::test_an_outage_is_told_and_survived",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "            await self._pieces.aclose()\n",
        "            pass\n",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_stream_gives_its_connection_back_when_the_client_goes_away",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "task = asyncio.create_task(self._send(send))",
        "return await self._send(send)\n        task = asyncio.Future[None]()",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_stream_that_is_broken_off_leaves_no_task_behind",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        '    **dict.fromkeys((errors.DataLayerError, errors.InvalidType), (500, "")),\n',
        "",
        "tests/db/layer_tests/probes/test_answers.py::test_a_mistake_in_code_is_a_500_and_reaches_the_server",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    errors.CheckViolation: (422,",
        '    errors.NotWritable: (422, "unknown field"),\n    errors.CheckViolation: (422,',
        "tests/db/layer_tests/probes/test_answers.py::test_a_mistake_in_code_is_a_500_and_reaches_the_server",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "    while cause and not isinstance(cause, TypeError | AttributeError):",
        "    while cause:",
        "tests/db/layer_tests/probes/test_errors.py::test_a_value_of_a_wrong_python_type_is_a_mistake_in_code",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    elif is_socket or isinstance(error, errors.UniqueViolation):",
        "    elif is_socket:",
        "tests/db/layer_tests/probes/test_answers.py::test_a_unique_violation_is_logged_in_one_line",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        '        logger.warning("answered %d: %s, code %s\\n%s", status, error, code, stack)',
        '        logger.warning("answered %d: %s", status, error, exc_info=error)',
        "tests/db/layer_tests/probes/test_answers.py::test_another_refusal_of_the_database_is_logged_with_its_stack_and_no_value",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "sorted(request_names(request).intersection(fields))",
        "sorted(fields)",
        "tests/db/layer_tests/probes/test_answers.py::test_a_body_names_only_fields_that_the_request_has",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    app.exception_handlers[RequestValidationError] = _refuse\n",
        "",
        "tests/db/layer_tests/probes/test_answers.py::test_a_body_that_no_column_can_hold_is_a_problem",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        'x.encode("utf-8", "backslashreplace").decode()',
        "x",
        "tests/db/layer_tests/probes/test_answers.py::test_an_answer_is_short_and_in_utf_8_whatever_the_names_of_a_body_are",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "error.errors()[:5]",
        "error.errors()",
        "tests/db/layer_tests/probes/test_answers.py::test_an_answer_is_short_and_in_utf_8_whatever_the_names_of_a_body_are",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "for status in (404, 409, 422, 500, 503)",
        "for status in (404, 409, 500, 503)",
        "tests/db/layer_tests/probes/test_answers.py::test_every_answer_is_described",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        '503: {"model": Health}',
        "",
        "tests/db/layer_tests/probes/test_answers.py::test_every_answer_is_described",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    if is_socket:\n        raise WebSocketException",
        "    if not status:\n        raise WebSocketException",
        "tests/db/layer_tests/probes/test_answers.py::test_an_error_closes_a_websocket_and_is_logged",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "async with asyncio.timeout(self._send_timeout):",
        "async with asyncio.timeout(None):",
        "tests/db/layer_tests/probes/test_answers.py::test_clients_that_do_not_read_hold_no_connection_and_are_given_up",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "            if isinstance(self.session.sync_session, Reader):\n",
        "            if not self.model:\n",
        "tests/db/layer_tests/probes/test_answers.py::test_clients_that_do_not_read_hold_no_connection_and_are_given_up",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/keyset.py",
        "if n > 1 or name.",
        "if name.",
        "tests/db/layer_tests/probes/test_answers.py::test_a_sort_costs_no_more_than_its_columns",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "app.exception_handlers.setdefault(",
        "app.add_exception_handler(",
        "tests/db/layer_tests/probes/test_answers.py::test_a_handler_that_the_application_has_stays",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        'raise ClientDisconnect(f"no piece was taken in {self._send_timeout} s") from None',
        "pass",
        "tests/db/layer_tests/probes/test_answers.py::test_clients_that_do_not_read_hold_no_connection_and_are_given_up",
    ),
    # Transactions.
    Mutation(
        "src/shop/db/session/ending.py",
        "        await _outlast(ending)\n",
        "        pass\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_commit_that_is_cancelled_comes_to_its_end",
    ),
    Mutation(
        "src/shop/db/session/ending.py",
        "        raise\n",
        "        return\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_timeout_during_commit_is_a_timeout_and_committed",
    ),
    *(
        Mutation(
            "src/shop/db/engine/dialect.py",
            old,
            new,
            "tests/db/layer_tests/probes/test_settings.py::"
            "test_a_variable_of_libpq_that_contradicts_the_settings_is_refused",
            driver,
        )
        for old, new, driver in (
            ("            if os.environ.get(name):\n", "            if not name:\n", "asyncpg"),
            ('os.environ.get("PGSSLMODE")', 'os.environ.get("")', "psycopg"),
        )
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "= not dialect.is_read_only(connection)",
        "= True",
        "tests/db/layer_tests/probes/test_readers.py::"
        "test_a_transaction_that_only_reads_has_no_unknown_outcome",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "if dialect.AUTOCOMMIT.items() <= options:",
        "if not connection:",
        "tests/db/layer_tests/probes/test_readers.py::"
        "test_a_reader_whose_connection_is_lost_after_a_batch_has_committed_nothing",
        "asyncmy",
    ),
    # Recipes.
    Mutation(
        "src/shop/db/RECIPES.md",
        '    "ALTER TABLE tenant_notes ENABLE ROW LEVEL SECURITY",\n',
        "",
        "tests/handbook/test_tenants.py::test_let_the_database_filter_by_tenant",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/RECIPES.md",
        'options = {"schema_translate_map": {"tenant": tenant}}',
        'options = {"schema_translate_map": {"tenant": "public"}}',
        "tests/handbook/test_tenants.py::test_give_each_tenant_a_schema",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/RECIPES.md",
        "        await session.delete(message)\n",
        "",
        "tests/handbook/test_jobs_and_messages.py::test_send_the_messages_of_the_outbox",
    ),
    Mutation(
        "src/shop/db/RECIPES.md",
        "CIPHER.encrypt(value.encode())",
        "value.encode()",
        "tests/handbook/test_columns.py::test_encrypt_a_column",
    ),
    Mutation(
        "src/shop/db/RECIPES.md",
        ", onupdate=ACTOR.get",
        "",
        "tests/handbook/test_columns.py::test_note_who_changed_a_row",
    ),
    # Operations.
    Mutation(
        "src/shop/db/database.py",
        'logger.info("database: %s"',
        'logger.debug("database: %s"',
        "tests/handbook/test_logs_and_metrics.py::test_see_what_the_layer_logs",
    ),
    Mutation(
        "src/shop/db/RECIPES.md",
        "status=Status(span.status.status_code)",
        "status=span.status",
        "tests/handbook/test_logs_and_metrics.py::test_trace_statements_without_their_values",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/RECIPES.md",
        ", skip_dep_check=True",
        "",
        "tests/handbook/test_logs_and_metrics.py::test_trace_statements_without_their_values",
    ),
    Mutation(
        "src/shop/db/engine/health.py",
        "in_use=pool.checkedout()",
        "in_use=0 * pool.checkedout()",
        "tests/handbook/test_logs_and_metrics.py::test_measure_the_pool_for_prometheus",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "_connect, insert=True)",
        "_connect)",
        "tests/db/layer_tests/probes/test_readers.py::"
        "test_a_reader_that_is_cancelled_at_any_step_keeps_no_connection_and_no_task",
    ),
    *(
        Mutation(
            "src/shop/db/engine/dialect.py",
            old,
            new,
            f"tests/db/layer_tests/probes/test_readers.py::{test}",
            driver,
        )
        for old, new, test, driver in (
            (
                "            connection.invalidate(error)\n",
                "",
                "test_a_reader_that_is_cancelled_at_any_step_keeps_no_connection_and_no_task",
                "asyncmy",
            ),
            (
                'raise errors.Unavailable("the connection to the database was lost") from error',
                "raise",
                "test_a_reader_whose_connection_is_lost_when_it_begins_keeps_none",
                "aiomysql",
            ),
            (
                ' or "isolation_level" in options',
                "",
                "test_a_connection_of_a_reader_serves_other_work_as_before",
                "asyncmy",
            ),
        )
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "(OSError, RuntimeError, TypeError, UnicodeError)",
        "(OSError, TypeError, UnicodeError)",
        "tests/db/layer_tests/probes/test_engine.py::"
        "test_a_server_that_hangs_up_while_a_driver_connects_is_unavailable",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/database.py",
        "await wait_until_finished({x for each in self._sessions.values() for x in each})",
        "pass",
        "tests/db/layer_tests/probes/test_endings.py::"
        "test_the_end_of_the_database_waits_for_the_callbacks_of_a_commit",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "    raw.stop = cache(raw.stop)\n",
        "",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_process_ends_while_a_unit_is_given_up",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "raise TransactionRolledBack from lost",
        "raise",
        "tests/db/layer_tests/probes/test_transactions.py::"
        "test_a_connection_whose_loss_was_swallowed_does_not_pass_for_a_commit",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "if error is None or isinstance(error, Exception):",
        "if True:",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_cancellation_is_not_lost_with_the_connection",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "await self.end(super().commit())",
        "await super().commit()",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_session_that_commits_itself_is_not_cut_short_either",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "        if sync_session.is_shared():\n            ending.close()\n",
        "        if False:\n            ending.close()\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_second_task_can_end_or_change_nothing",
    ),
    Mutation(
        "src/shop/db/session/on_commit.py",
        "setdefault(savepoint, []).append(callback)",
        "setdefault(savepoint, []).insert(0, callback)",
        "tests/db/layer_tests/probes/test_transactions.py::test_callbacks_are_awaited_in_order_after_the_commit",
    ),
    Mutation(
        "src/shop/db/session/sync_session.py",
        "session.pending.setdefault(outer, []).extend(callbacks)",
        "session.pending[outer] = callbacks",
        "tests/db/layer_tests/probes/test_transactions.py::test_callbacks_are_dropped_with_what_rolled_back",
    ),
    Mutation(
        "src/shop/db/session/sync_session.py",
        "        session.pending.pop(transaction if transaction.nested else None, None)\n",
        "        pass\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_session_awaits_them_at_each_of_its_commits",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "sync_session.autobegin = False",
        "pass",
        "tests/db/layer_tests/probes/test_transactions.py::test_nothing_is_lost_in_a_callback_without_a_word",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "sync_session.autobegin = True",
        "pass",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_callback_may_begin_anew",
    ),
    Mutation(
        "src/shop/db/session/on_commit.py",
        "if not sync_session.autobegin:",
        "if False:",
        "tests/db/layer_tests/probes/test_transactions.py::test_nothing_is_lost_in_a_callback_without_a_word",
    ),
    Mutation(
        "src/shop/db/session/on_commit.py",
        "if not callable(callback):",
        "if False:",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_callback_is_what_can_be_called",
    ),
    Mutation(
        "src/shop/db/session/reader.py",
        'event.listen(Reader, "before_flush", _refuse_flush)\n',
        "",
        "tests/db/layer_tests/probes/test_readers.py::test_what_was_added_and_forgotten_is_refused",
    ),
    Mutation(
        "src/shop/db/session/reader.py",
        'event.listen(Reader, "do_orm_execute", _refuse_writes)\n',
        "",
        "tests/db/layer_tests/probes/test_readers.py::test_what_autocommit_would_break_is_refused",
    ),
    Mutation(
        "src/shop/db/session/guard.py",
        "            raise ConcurrentSessionUse\n",
        "            pass\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_session_refuses_a_second_task",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/database.py",
        " and not isinstance(error, CommitOutcomeUnknown)",
        "",
        "tests/db/layer_tests/probes/test_transactions.py::test_run_never_replays_what_may_be_committed",
    ),
    Mutation(
        "src/shop/db/database.py",
        "Slots(self._limit or _UNPOOLED, ",
        "Slots(1000, ",
        "tests/db/layer_tests/probes/test_transactions.py::test_gather_uses_no_more_sessions_than_the_pool_gives",
    ),
    Mutation(
        "src/shop/db/database.py",
        "            self._slots = Slots(self._limit or _UNPOOLED, self.settings.pool_timeout)\n",
        "",
        "tests/db/layer_tests/probes/test_transactions.py::test_gather_takes_turns_in_each_event_loop_that_the_database_is_opened_in",
    ),
    Mutation(
        "src/shop/db/database.py",
        "self._limit or _UNPOOLED, self.settings.pool_timeout",
        "self._limit or _UNPOOLED",
        "tests/db/layer_tests/probes/test_transactions.py::test_gather_waits_for_other_calls_as_long_as_the_pool_does",
    ),
    Mutation(
        "src/shop/db/session/slots.py",
        "for _ in items[: slots._size]",
        "for _ in items",
        "tests/db/layer_tests/probes/test_transactions.py::test_the_works_of_one_gather_wait_for_each_other_without_a_limit",
    ),
    Mutation(
        "src/shop/db/session/slots.py",
        "                async with slots:\n",
        "                if slots:\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_gather_waits_for_other_calls_as_long_as_the_pool_does",
    ),
    Mutation(
        "src/shop/db/session/slots.py",
        "task.result().items()",
        "(() if task.cancelled() else task.result().items())",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_work_of_gather_that_is_cancelled_cancels_the_call",
    ),
    Mutation(
        "src/shop/db/session/slots.py",
        "first = errors.exceptions[0]",
        "first = errors",
        "tests/db/layer_tests/probes/test_transactions.py::test_the_first_error_of_gather_cancels_the_rest",
    ),
    Mutation(
        "src/shop/db/database.py",
        "setdefault(asyncio.current_task(), ",
        "setdefault(asyncio.get_running_loop(), ",
        "tests/db/layer_tests/probes/test_transactions.py::test_run_is_refused_inside_a_transaction",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/database.py",
        "session.in_transaction() for session in self._sessions_of_this_task()",
        "session.in_transaction() and session in self._sessions_of_this_task()"
        " for sessions in self._sessions.values() for session in sessions",
        "tests/db/layer_tests/probes/test_transactions.py::test_run_asks_only_the_sessions_of_its_own_task",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "if error and not self.nested and sync_session.is_shared():",
        "if False:",
        "tests/db/layer_tests/probes/test_transactions.py::test_an_error_is_not_hidden_by_a_task_that_still_uses_its_session",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "            await self.session.close()\n            return\n",
        "            return\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_an_error_is_not_hidden_by_a_task_that_still_uses_its_session",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        ", or a transaction of this task,",
        "",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_second_writer_in_one_task_is_told_that_it_waits_for_the_first",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "kind is None and not sync_session.is_active",
        "False",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_flush_whose_error_was_swallowed_is_told_of",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "return _Transaction(self, nested=True)",
        "return super().begin_nested()",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_flush_whose_error_was_swallowed_undoes_no_more_than_its_savepoint",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "await self.end(super().rollback())",
        "await super().rollback()",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_second_task_can_end_or_change_nothing",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '    event.listen(engine.sync_engine, "handle_error", _check_transaction)\n',
        "",
        "tests/db/layer_tests/probes/test_transactions.py::test_nothing_that_follows_an_error_which_undid_the_transaction_is_kept",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "not lost and driver.is_refusal(original)",
        "False",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_commit_that_a_busy_connection_refuses_is_not_unknown",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/session/slots.py",
        "            _own_slots.set(Slots(1))\n",
        "",
        "tests/db/layer_tests/probes/test_transactions.py::test_gather_within_gather_does_not_wait_for_itself",
    ),
    Mutation(
        "src/shop/db/session/guard.py",
        "        self._enter()\n        super().flush(objects)\n",
        "        super().flush(objects)\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_second_task_can_end_or_change_nothing",
    ),
    Mutation(
        "src/shop/db/session/guard.py",
        "        self._enter()\n        return super().merge(*args, **kwargs)\n",
        "        return super().merge(*args, **kwargs)\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_shared_session_spoils_no_connection",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "            sync_session.closing = True\n",
        "",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_session_that_is_closed_lets_one_call_end_and_no_other_begin",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "        while sync_session.is_shared():\n",
        "        while False:\n",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_session_that_is_closed_lets_one_call_end_and_no_other_begin",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "isinstance(order_by, sa.SQLColumnExpression | sa.OrderByList)",
        "isinstance(order_by, sa.SQLColumnExpression)",
        "tests/db/layer_tests/probes/test_repository.py::test_rows_are_sorted_by_all_that_the_functions_for_it_give",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        if isinstance(sort, str):\n",
        "        if not isinstance(sort, (str, tuple)):\n",
        "tests/db/layer_tests/probes/test_pages.py::test_one_string_is_no_list_of_names",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "set(arguments) - names",
        "names - names",
        "tests/db/layer_tests/probes/test_settings.py::test_a_misspelt_argument_is_refused_and_a_misspelt_variable_is_not",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "not 1 <= url.port <= 65535",
        "url.port < 0",
        "tests/db/layer_tests/probes/test_settings.py::test_a_url_that_is_refused_is_not_repeated",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'example = url.set(database="the_database")',
        'example = f"{url}/the_database"',
        "tests/db/layer_tests/probes/test_settings.py::test_a_url_without_a_database_is_completed_as_it_should_be",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "context.is_disconnect = lost or busy",
        "context.is_disconnect = lost",
        "tests/db/layer_tests/probes/test_transactions.py::test_a_connection_that_could_not_be_rolled_back_is_not_used_again",
        "asyncpg",
    ),
    *(
        Mutation(
            "src/shop/db/engine/dialect.py",
            f'**AUTOCOMMIT, "{option}": True',
            f'**AUTOCOMMIT, "{option}": False',
            "tests/db/layer_tests/probes/test_readers.py::test_what_gets_by_the_session_is_refused_by_the_database",
            driver,
        )
        for option, driver in (
            ("sqlite_query_only", "aiosqlite"),
            ("postgresql_read_only_default", "asyncpg"),
            ("postgresql_read_only_default", "psycopg"),
            ("mysql_read_only_default", "asyncmy"),
        )
    ),
    Mutation(
        "src/shop/db/database.py",
        "if key not in self._variants:",
        "if True:",
        "tests/db/layer_tests/probes/test_readers.py::test_all_readers_share_one_engine_until_it_is_disposed",
    ),
    Mutation(
        "src/shop/db/database.py",
        "            self._variants = {(): self._engine}\n",
        "",
        "tests/db/layer_tests/probes/test_readers.py::test_all_readers_share_one_engine_until_it_is_disposed",
        "asyncpg",
    ),
    # The databases and their drivers.
    Mutation(
        "src/shop/db/testing/databases.py",
        '    return create_engine(settings, isolation_level="AUTOCOMMIT").connect()\n',
        "    from sqlalchemy.ext.asyncio import create_async_engine\n\n"
        '    return create_async_engine(url, isolation_level="AUTOCOMMIT").connect()\n',
        "tests/db/layer_tests/probes/test_dialect.py::test_the_server_of_the_tests_is_reached_as_any_other",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "DATETIME(fsp=6)",
        "DATETIME()",
        "tests/db/layer_tests/probes/test_dialect.py::test_a_moment_comes_back_as_it_was_and_in_utc",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "CASE WHEN {where} THEN {last} END",
        "{last}",
        "tests/db/layer_tests/probes/test_dialect.py::test_a_partial_index_is_unique_among_its_rows_alone",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '["READ ONLY"] * read_only',
        '["READ WRITE"] * read_only',
        "tests/db/layer_tests/probes/test_dialect.py::test_a_transaction_for_reading_sees_one_moment_and_cannot_write",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"REPEATABLE READ" if read_only else None',
        "None",
        "tests/db/layer_tests/probes/test_dialect.py::test_a_transaction_for_reading_sees_one_moment_and_cannot_write",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "    if driver.error_code(error) in CHECK_VIOLATION:\n"
        "        # The detail shows the row, and its values may look like a list of columns.\n"
        "        return name, ()\n"
        '    # "Key (tenant_id, email)=(1, a@example.com) already exists", in any language.\n'
        '    key = re.match(r"[^(]*',
        '    key = re.search(r"',
        "tests/db/layer_tests/probes/test_errors.py::test_what_the_row_holds_is_no_field_of_a_check",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "return _restore, (type(self), self.args), self.__dict__",
        "return super().__reduce__()",
        "tests/db/layer_tests/probes/test_errors.py::test_an_error_reaches_another_process_as_it_is",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        'return verb == "DELETE"',
        "return False",
        "tests/db/layer_tests/probes/test_errors.py::test_which_of_two_rows_a_foreign_key_is_about",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "if not fields or not verb:",
        "if not verb:",
        "tests/db/layer_tests/probes/test_errors.py::test_which_of_two_rows_a_foreign_key_is_about",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "kinds = (ValueError, TypeError, AttributeError, ArithmeticError)",
        "kinds = ()",
        "tests/db/layer_tests/probes/test_errors.py::test_a_value_that_no_column_keeps_is_refused_and_not_repeated",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "(dialect.INVALID_VALUE, errors.InvalidValue, errors.InvalidValue.problem),",
        "",
        "tests/db/layer_tests/probes/test_errors.py::test_a_text_that_is_too_long_is_an_invalid_value",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "sent = context.execution_context is not None",
        "sent = True",
        "tests/db/layer_tests/probes/test_errors.py::test_a_value_that_never_left_undoes_nothing",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'key[1] == "PRIMARY"',
        'key[1] == ""',
        "tests/db/layer_tests/probes/test_dialect.py::test_an_error_names_the_constraint_and_its_fields_but_no_value",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        'source = getattr(error, "diag", None)',
        "source = None",
        "tests/db/layer_tests/probes/test_dialect.py::test_an_error_names_the_constraint_and_its_fields_but_no_value",
        "psycopg",
    ),
    # The smoke test.
    *(
        Mutation(
            f"src/shop/db/{file}", old, new, f"tests/db/layer_tests/test_smoke.py::test_{test}"
        )
        for file, old, new, test in (
            (
                "session/session.py",
                "expire_on_commit=False",
                "expire_on_commit=True",
                "a_transaction_commits_at_its_end",
            ),
            (
                "engine/dialect.py",
                'if begin := options.get("sqlite_begin", "BEGIN IMMEDIATE"):',
                'if begin := options.get("sqlite_begin"):',
                "an_exception_rolls_the_transaction_back",
            ),
            (
                "session/session.py",
                "_Transaction(self, nested=True)",
                "_Transaction(self)",
                "a_savepoint_rolls_back_its_own_part_alone",
            ),
            (
                "session/session.py",
                "await self.deliver(due)",
                "pass",
                "callbacks_run_after_the_commit",
            ),
            (
                "session/on_commit.py",
                "sync_session.pending.setdefault(savepoint, []).append(callback)",
                "callback()",
                "callbacks_of_a_rolled_back_transaction_never_run",
            ),
            (
                "database.py",
                "by_number = attempt < attempts",
                "by_number = attempt < 1",
                "run_repeats_the_unit_of_work_after_a_conflict",
            ),
            (
                "engine/driver.py",
                '"timeout": settings.lock_timeout',
                '"timeout": 30',
                "a_lock_is_waited_for_no_longer_than_its_timeout",
            ),
            (
                "engine/dialect.py",
                'tuple(name.rpartition(".")[2] for name in subject.split(", ") if name)',
                "()",
                "a_unique_violation_names_its_fields",
            ),
            (
                "models/soft_delete.py",
                "lambda model: model.deleted_at.is_(None),",
                "lambda model: model.deleted_at.is_(None) | model.deleted_at.is_not(None),",
                "a_deleted_row_is_hidden_until_it_is_restored",
            ),
            (
                "repository/keyset.py",
                "return self.column < self.literal(value)",
                "return self.column > self.literal(value)",
                "cursor_pages_show_every_row_once",
            ),
            (
                "repository/bulk.py",
                "        for chunk in lists(items, size):\n            yield chunk\n",
                "        yield list(items)[:size]\n",
                "rows_from_a_generator_are_inserted_in_chunks",
            ),
            (
                "doctor.py",
                "if current == newest:",
                "if current != newest:",
                "the_migrations_lead_to_the_newest_revision",
            ),
            (
                "versions.py",
                '"alembic>=1.18"',
                '"alembic>=999"',
                "the_packages_are_as_new_as_the_layer_needs",
            ),
        )
    ),
    # The doctor.
    *(
        Mutation(
            "src/shop/db/doctor.py",
            old,
            new,
            f"tests/db/layer_tests/probes/test_main.py::{test}",
            driver,
        )
        for old, new, test, driver in (
            (
                'if checks[-1].status == "failed":',
                "if not checks:",
                "test_doctor_checks_what_it_can_without_a_database",
                "asyncpg",
            ),
            (
                "limit is None or need <= limit",
                "limit is None or need",
                "test_doctor_counts_the_connections_that_all_processes_may_open",
                "asyncpg",
            ),
            *(
                (
                    old,
                    new,
                    "test_doctor_compares_each_package_with_its_oldest_and_its_newest_version",
                    "aiosqlite",
                )
                for old, new in (
                    ("_numbers(installed) < _numbers(oldest)", "not _numbers(installed)"),
                    ("_numbers(installed) > _numbers(tested)", "not _numbers(installed)"),
                    (
                        "continue\n        if _numbers(installed) < ",
                        "return Check(name, 'failed', '')\n        if _numbers(installed) < ",
                    ),
                )
            ),
        )
    ),
    *(
        Mutation(
            "src/shop/db/doctor.py",
            old,
            new,
            f"tests/db/layer_tests/probes/test_migrations.py::test_doctor_{test}",
        )
        for old, new, test in (
            (
                "if current == newest:",
                "if newest:",
                "compares_the_database_with_the_newest_revision",
            ),
            (
                "dont_mutate=True",
                "dont_mutate=False",
                "compares_the_database_with_the_newest_revision",
            ),
            (
                "            script.run_env()\n",
                "            read(None, MigrationContext.configure(connection))\n",
                "compares_the_database_with_the_newest_revision",
            ),
            (
                '        del config.attributes["connection"]\n',
                "        pass\n",
                "compares_the_database_with_the_newest_revision",
            ),
            (
                '{error}".partition("\\n")[0]',
                '{error}"',
                "says_in_a_line_why_env_fails",
            ),
        )
    ),
    Mutation(
        "src/shop/db/doctor.py",
        "error if isinstance(error, TimeoutError) else error.__cause__ or error",
        "error.__cause__ or error",
        "tests/db/layer_tests/probes/test_main.py::test_ping_says_what_to_try_where_the_server_is_silent",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/__main__.py",
        "return 0 if ok else 1",
        "return 0",
        "tests/db/layer_tests/probes/test_main.py::test_a_setting_that_is_wrong_is_named_without_its_value",
    ),
    # The way to the server.
    Mutation(
        "src/shop/db/engine/driver.py",
        'await connection.execute("SELECT")',
        'await connection.execute("")',
        "tests/db/layer_tests/probes/test_engine.py::test_the_password_is_asked_for_at_each_new_connection",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "            raise exc.InvalidatePoolError from error\n",
        "            logger.debug(error)\n",
        "tests/db/layer_tests/probes/test_engine.py::test_the_pool_replaces_connections_that_the_network_cut",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        '"command_timeout": settings.command_timeout or None',
        '"command_timeout": None',
        "tests/db/layer_tests/probes/test_engine.py::test_a_server_that_falls_silent_in_a_transaction_is_noticed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "call_later(self.answer_timeout, hang_up, self)",
        "call_later(600, hang_up, self)",
        "tests/db/layer_tests/probes/test_engine.py::test_a_server_that_falls_silent_in_a_transaction_is_noticed",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        '        "_writer": None,\n',
        "",
        "tests/db/layer_tests/probes/test_engine.py::test_a_parameter_of_the_url_that_nobody_knows_is_named",
        "aiomysql",
    ),
    *(
        Mutation(
            "src/shop/db/engine/driver.py",
            "async with asyncio.timeout(settings.connect_timeout):\n",
            "if True:\n",
            "tests/db/layer_tests/probes/test_engine.py::test_a_server_that_accepts_and_says_nothing_is_given_up",
            driver,
        )
        for driver in ("asyncmy", "aiomysql")
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "async with asyncio.timeout(self.answer_timeout or None):\n",
        "if True:\n",
        "tests/db/layer_tests/probes/test_engine.py::test_a_server_that_falls_silent_in_a_transaction_is_noticed",
        "aiomysql",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "async with asyncio.timeout(1):\n",
        "if True:\n",
        "tests/db/layer_tests/probes/test_engine.py::test_a_server_that_stops_reading_a_long_statement_is_noticed",
        "asyncmy",
    ),
    *(
        Mutation(
            "src/shop/db/engine/driver.py",
            'settings.application_name.encode()[:128].decode(errors="ignore")',
            "settings.application_name",
            "tests/db/layer_tests/probes/test_engine.py::test_a_service_with_a_long_name_connects",
            driver,
        )
        for driver in ("asyncmy", "aiomysql")
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "isinstance(value, bytes)",
        "isinstance(value, bytearray)",
        "tests/db/layer_tests/probes/test_bulk.py::test_values_arrive_as_they_are",
        "aiomysql",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "TypeError, UnicodeError)",
        "TypeError)",
        "tests/db/layer_tests/probes/test_engine.py::test_a_host_that_can_be_no_name_is_told_of",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/health.py",
        "except Exception as error:",
        "except OSError as error:",
        "tests/db/layer_tests/probes/test_engine.py::test_ping_tells_that_no_password_could_be_had",
        "asyncpg",
    ),
    *(
        Mutation(
            "src/shop/db/replicas.py",
            old,
            new,
            f"tests/db/layer_tests/probes/test_replicas.py::{test}",
            driver,
        )
        for old, new, test, driver in (
            (
                "while replica in self._down:",
                "for _ in range(1):",
                "test_a_replica_is_read_again_after_its_password_was_not_available",
                "asyncpg",
            ),
            (
                "            self._down[replica] = ",
                "            ",
                "test_a_silent_replica_costs_one_timeout_and_is_read_again_once_it_answers",
                "psycopg",
            ),
            (
                "                del self._down[replica]\n",
                "                return\n",
                "test_a_silent_replica_costs_one_timeout_and_is_read_again_once_it_answers",
                "asyncpg",
            ),
            (
                "                bind = await stack.enter_async_context(primary)\n",
                "                raise ConnectionError\n",
                "test_the_primary_is_read_while_no_replica_answers",
                "asyncpg",
            ),
            (
                "        self._replicas.rotate(-1)\n",
                "",
                "test_units_that_only_read_use_each_replica_in_turn",
                "asyncpg",
            ),
            (
                "connection.execution_options(**options)",
                "connection.execution_options()",
                "test_a_unit_on_a_replica_cannot_write",
                "psycopg",
            ),
            (
                "not read_only or options == _SERIALIZABLE",
                "not read_only",
                "test_all_other_units_use_the_primary",
                "asyncpg",
            ),
            (
                "not read_only or options == _SERIALIZABLE",
                "options == _SERIALIZABLE",
                "test_all_other_units_use_the_primary",
                "psycopg",
            ),
            (
                'options["pool_pre_ping"] = True',
                "pass",
                "test_no_unit_fails_because_a_replica_cut_its_connections_before",
                "asyncpg",
            ),
            (
                "                task.cancel()\n",
                "                pass\n",
                "test_closing_ends_the_connections_to_replicas_and_the_wait_for_those_that_are_down",
                "asyncpg",
            ),
            (
                "            await replica.dispose()\n",
                "            pass\n",
                "test_closing_ends_the_connections_to_replicas_and_the_wait_for_those_that_are_down",
                "psycopg",
            ),
            (
                '[*DatabaseSettings.ADDRESS, "replica_urls"]',
                "[*DatabaseSettings.ADDRESS]",
                "test_an_argument_url_does_not_take_replicas_from_the_environment",
                "asyncpg",
            ),
        )
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "issubclass(poolclass, QueuePool)",
        "poolclass",
        "tests/db/layer_tests/probes/test_engine.py::test_a_pool_of_ones_own_takes_the_place_of_the_layers",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "suppress(NotImplementedError)",
        "suppress()",
        "tests/db/layer_tests/probes/test_engine.py::test_a_first_use_that_is_cancelled_is_cancelled_and_no_more",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        " or not connection.in_transaction()",
        "",
        "tests/db/layer_tests/probes/test_engine.py::test_a_server_that_falls_silent_at_the_first_use_is_noticed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "if self._settings.slow_query_threshold:",
        "if True:",
        "tests/db/layer_tests/probes/test_engine.py::test_a_slow_statement_is_logged_without_its_parameters",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        'info.pop("started", math.inf)',
        'info.pop("started", 0)',
        "tests/db/layer_tests/probes/test_engine.py::test_a_statement_that_fails_is_logged_if_it_was_slow",
    ),
    Mutation(
        "src/shop/db/settings.py",
        'if "url" in arguments:',
        "if not arguments:",
        "tests/db/layer_tests/probes/test_settings.py::"
        "test_a_url_that_a_program_gives_takes_no_part_from_the_environment",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "    PlainSerializer(URL.render_as_string, return_type=str),\n",
        "",
        "tests/db/layer_tests/probes/test_settings.py::test_no_secret_is_shown",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "str(value).strip()",
        "str(value)",
        "tests/db/layer_tests/probes/test_settings.py::test_a_url_without_a_driver_or_with_an_old_name_is_understood",
    ),
    Mutation(
        "src/shop/db/settings.py",
        '"," in host or "%2f" in host.lower()',
        '"none" in host',
        "tests/db/layer_tests/probes/test_settings.py::test_a_host_in_libpqs_form_is_refused_in_words_of_its_own",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        '{"application_name": settings.application_name,',
        '{"application_name": "SQLAlchemy",',
        "tests/db/layer_tests/probes/test_engine.py::test_the_server_is_told_who_is_connected",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "(OSError, RuntimeError, TypeError, UnicodeError)",
        "(OSError, RuntimeError, UnicodeError)",
        "tests/db/layer_tests/probes/test_engine.py::test_a_parameter_of_the_url_that_nobody_knows_is_named",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/doctor.py",
        "missing := dialect.missing(settings.url):\n",
        "missing := None:\n",
        "tests/db/layer_tests/probes/test_main.py::test_a_file_that_is_not_there_is_not_made",
    ),
    Mutation(
        "src/shop/db/__main__.py",
        "missing := dialect.missing(settings.url):\n",
        "missing := None:\n",
        "tests/db/layer_tests/probes/test_main.py::test_a_file_that_is_not_there_is_not_waited_for",
    ),
    Mutation(
        "src/shop/db/models/keys.py",
        "loaded = [x for x in attributes if x.deferred and x.key not in unloaded]",
        "loaded = [x for x in attributes if x is None]",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_deferred_column_in_hand_follows",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "count = await change_keys(write, keys, statement.where(*where))",
        "count = await change_keys(write, keys, statement)",
        "tests/db/layer_tests/probes/test_soft_delete.py::test_it_is_deleted_once",
    ),
    Mutation(
        "src/shop/db/repository/columns.py",
        "isinstance(column := attribute.columns[0], sa.Column) and column.computed is None",
        "isinstance(column := attribute.columns[0], sa.Column)",
        "tests/db/layer_tests/probes/test_bulk.py::test_what_the_database_computes_is_left_to_it",
    ),
    *(
        Mutation(
            "src/shop/db/repository/repository.py",
            "            session.get_bind(self.model)\n",
            "",
            "tests/db/layer_tests/probes/test_streams.py::test_a_stream_refuses_a_second_task_as_any_call_does",
            driver,
        )
        for driver in ("asyncpg", "psycopg")
    ),
    *(
        Mutation(
            "src/shop/db/engine/driver.py",
            '"unbuffered_active", False',
            '"has_next", False',
            "tests/db/layer_tests/probes/test_streams.py::test_a_stream_loses_no_row_to_what_is_done_with_it",
            driver,
        )
        for driver in ("asyncmy", "aiomysql")
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "ENDS_TRANSACTION = SERIALIZATION_FAILURE | DEADLOCK",
        "ENDS_TRANSACTION = frozenset[str]()",
        "tests/db/layer_tests/probes/test_locks.py::test_a_deadlock_in_a_savepoint_is_told_as_one",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/tls.py",
        'return "verify-full" if mode == "require" and bound else mode',
        "return mode",
        "tests/db/layer_tests/probes/test_settings.py::test_the_words_of_a_providers_url_are_understood",
    ),
    Mutation(
        "src/shop/db/settings.py",
        'url.username not in (None, "", main.username)',
        "url.username",
        "tests/db/layer_tests/probes/test_settings.py::test_a_url_that_names_the_same_user_takes_the_password_too",
    ),
    Mutation(
        "src/shop/db/doctor.py",
        "database.engine.execution_options(**dialect.AUTOCOMMIT).connect()",
        "database.engine.connect()",
        "tests/db/layer_tests/probes/test_main.py::test_ping_does_not_wait_for_whoever_writes",
    ),
    *(
        Mutation(
            "src/shop/db/engine/health.py",
            "        query.cancel()\n",
            "        query.cancel()\n        await asyncio.wait([query])\n",
            f"tests/db/layer_tests/probes/{test}",
            driver,
        )
        for test, driver in (
            ("test_main.py::test_ping_is_over_in_time_while_the_whole_file_is_locked", "aiosqlite"),
            ("test_engine.py::test_ping_is_over_in_time_while_the_server_is_silent", "asyncpg"),
            ("test_engine.py::test_ping_is_over_in_time_while_the_server_is_silent", "psycopg"),
        )
    ),
    Mutation(
        "src/shop/db/doctor.py",
        "min(settings.lock_timeout, deadline)",
        "settings.lock_timeout",
        "tests/db/layer_tests/probes/test_main.py::test_ping_is_over_in_time_while_the_whole_file_is_locked",
    ),
    Mutation(
        "src/shop/db/engine/health.py",
        "missing := dialect.missing(engine.url)",
        "missing := None",
        "tests/db/layer_tests/probes/test_main.py::test_a_service_that_asks_for_its_health_makes_no_file",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '.removeprefix("file:")',
        "",
        "tests/db/layer_tests/probes/test_main.py::test_a_file_is_found_by_its_uri_too",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "    return str(Path(name)",
        "    Path(name).parent.mkdir(parents=True, exist_ok=True)\n    return str(Path(name)",
        "tests/db/layer_tests/probes/test_main.py::test_a_file_that_is_not_there_is_not_made",
    ),
    Mutation(
        "src/shop/db/engine/health.py",
        "engine.execution_options(**dialect.AUTOCOMMIT)",
        "engine.execution_options()",
        "tests/db/layer_tests/probes/test_main.py::test_ping_does_not_wait_for_whoever_writes",
    ),
    # Migrations.
    *(
        Mutation(
            f"src/shop/db/{file}",
            old,
            new,
            f"tests/db/layer_tests/probes/test_concurrent_index.py::test_{test}",
            "asyncpg",
        )
        for file, old, new, test in (
            (
                "concurrent_index.py",
                "with op.get_context().autocommit_block():",
                "if True:",
                "an_index_is_built_behind_a_reader",
            ),
            (
                "concurrent_index.py",
                "if valid is False:",
                "if False:",
                "an_invalid_index_is_reported_and_built_again",
            ),
            (
                "engine/dialect.py",
                "WHERE NOT indisvalid",
                "WHERE false",
                "an_invalid_index_is_reported_and_built_again",
            ),
            (
                "migrate.py",
                "if problem := dialect.invalid_indexes(migration.connection):",
                'if problem := "":',
                "an_invalid_index_is_reported_and_built_again",
            ),
            (
                "concurrent_index.py",
                "        if valid:\n",
                "        if False:\n",
                "an_index_that_is_built_already_is_left_alone",
            ),
            (
                "concurrent_index.py",
                "IN SHARE UPDATE EXCLUSIVE MODE",
                "IN ACCESS SHARE MODE",
                "the_build_of_another_session_is_waited_for",
            ),
        )
    ),
    *(
        Mutation(file, old, new, f"tests/db/layer_tests/{test}", driver)
        for file, old, new, test, driver in (
            *(
                (
                    "migrations/versions/0001_starter.py",
                    f"def {function}() -> None:\n",
                    f"def {function}() -> None:\n    pass\n\n\ndef never() -> None:\n",
                    f"test_revisions.py::test_every_revision_{test}",
                    "aiosqlite",
                )
                for function, test in (
                    ("upgrade", "changes_something"),
                    ("downgrade", "can_be_undone_or_says_why_not"),
                )
            ),
            (
                "migrations/versions/0001_starter.py",
                'sa.Column("bio", sa.Text(), nullable=False)',
                'sa.Column("bio", sa.Text(), nullable=True)',
                "test_revisions.py::test_the_migrations_make_what_the_models_say",
                "asyncmy",
            ),
            (
                "migrations/versions/0001_starter.py",
                '    op.drop_table("post_tags")\n',
                "",
                "test_revisions.py::test_new_revisions_go_up_down_and_up",
                "asyncpg",
            ),
            (
                "migrations/versions/0001_starter.py",
                '"post_tags", ["tag_id"])\n',
                '"post_tags", ["tag_id"])\n'
                '    op.execute("ALTER TABLE posts RENAME COLUMN title TO name")\n',
                "test_squawk.py::test_no_new_revision_keeps_the_service_waiting",
                "psycopg",
            ),
        )
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")',
        'await connection.exec_driver_sql("PRAGMA foreign_keys = ON")',
        "tests/db/layer_tests/probes/test_migrations.py::test_a_table_that_is_changed_keeps_the_rows_that_refer_to_it",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        '"transactional_ddl": dialect.TRANSACTIONAL_DDL',
        '"transactional_ddl": False',
        "tests/db/layer_tests/probes/test_migrations.py::test_a_revision_that_fails_leaves_nothing",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        "while not await side.scalar(take):",
        "while False:",
        "tests/db/layer_tests/probes/test_migrations.py::test_a_migration_waits_for_another_and_not_for_ever",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        'config.attributes.get("settings") or settings',
        'settings or config.attributes.get("settings")',
        "tests/db/layer_tests/probes/test_migrations.py::test_env_says_where_the_database_is_unless_a_program_does",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        "        **configure,\n",
        "",
        "tests/db/layer_tests/probes/test_migrations.py::test_env_gives_alembic_options_of_its_own",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        '"paramstyle": "named"',
        "",
        "tests/db/layer_tests/probes/test_migrations.py::test_a_script_says_what_a_migration_would_do",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        "elif connection is not None:",
        "elif False:",
        "tests/db/layer_tests/probes/test_migrations.py::test_a_program_hands_its_own_connection_in",
    ),
    *(
        Mutation(
            f"src/shop/db/{file}",
            old,
            new,
            f"tests/db/layer_tests/probes/test_migrations.py::test_{test}",
            driver,
        )
        for file, old, new, test, driver in (
            *(
                ("migrate.py", old, new, "a_revision_that_waits_for_a_lock_is_tried_again", driver)
                for old, new, driver in (
                    (
                        '"transaction_per_migration": dialect.MIGRATION_LOCK is not None',
                        '"transaction_per_migration": False',
                        "asyncpg",
                    ),
                    ("self._left or [*plan(*state)]", "[*plan(*state)]", "psycopg"),
                    (
                        "await self._connection.rollback()\n        if final",
                        "if final",
                        "asyncpg",
                    ),
                    (
                        "            self._connection.info.pop(dialect.COMMITTED, None)\n",
                        "",
                        "asyncmy",
                    ),
                )
            ),
            (
                "migrate.py",
                "time.monotonic() > self._began + self._timeout",
                "False",
                "a_revision_that_waits_too_long_says_who_holds_the_lock",
                "asyncpg",
            ),
            (
                "engine/dialect.py",
                "WHERE db = database()",
                "WHERE false",
                "a_revision_that_waits_too_long_says_who_holds_the_lock",
                "asyncmy",
            ),
            *(
                (
                    "engine/dialect.py",
                    old,
                    new,
                    "a_revision_that_has_only_read_is_tried_again",
                    "asyncmy",
                )
                for old, new in (
                    ('("SELECT", "SHOW", "DESCRIBE")', '"SELECT"'),
                    ("skip_user_error_events=False", "skip_user_error_events=True"),
                )
            ),
            *(
                (
                    "engine/dialect.py",
                    "sync.info[COMMITTED] = True",
                    "pass",
                    "a_revision_that_has_committed_something_is_not_tried_again",
                    driver,
                )
                for driver in ("asyncpg", "asyncmy")
            ),
            (
                "engine/dialect.py",
                "settings.migration_timeout if autocommit else settings.lock_timeout",
                "settings.lock_timeout",
                "an_autocommit_block_waits_as_long_as_the_migration",
                "psycopg",
            ),
            *(
                (
                    "migrate.py",
                    old,
                    new,
                    "a_lost_lock_ends_a_migration_before_its_next_revision",
                    driver,
                )
                for old, new, driver in (
                    ("self._check_lock()", "pass", "asyncpg"),
                    ("with suppress(Unavailable):", "with suppress():", "asyncmy"),
                )
            ),
            (
                "migrate.py",
                '        config.attributes["settings"] = settings\n',
                "        pass\n",
                "an_application_migrates_in_its_event_loop",
                "aiosqlite",
            ),
            (
                "migrate.py",
                "_in_a_sentence(LockTimeout, Unavailable, TimeoutError)",
                "_in_a_sentence(Unavailable)",
                "a_migration_that_another_process_delays_ends_in_two_lines",
                "asyncpg",
            ),
            (
                "migrate.py",
                "_in_a_sentence(LockTimeout, Unavailable, TimeoutError)",
                "_in_a_sentence(TimeoutError)",
                "a_migration_of_a_missing_database_ends_in_two_lines",
                "asyncmy",
            ),
            (
                "migrate.py",
                "_in_a_sentence(LockTimeout, Unavailable, TimeoutError)",
                "_in_a_sentence(LockTimeout, TimeoutError)",
                "a_migration_without_a_server_ends_in_two_lines",
                "psycopg",
            ),
            *(
                (
                    "migrate.py",
                    old,
                    new,
                    "a_migration_with_wrong_settings_ends_in_two_lines",
                    driver,
                )
                for old, new, driver in (
                    ("_in_a_sentence(ValueError)", "_in_a_sentence()", "asyncpg"),
                    ("_in_a_sentence(ArgumentError, ValueError)", "_in_a_sentence()", "aiosqlite"),
                )
            ),
            (
                "migrate.py",
                'context.imports.add(f"import {module}")',
                "pass",
                "a_new_revision_has_its_imports_and_drops_each_table_as_a_whole",
                "aiosqlite",
            ),
            *(
                (
                    "migrate.py",
                    old,
                    new,
                    "the_script_of_a_migration_changes_an_enum_on_postgresql_alone",
                    driver,
                )
                for old, new, driver in (
                    ("if not op.get_context().as_sql:", "if True:", "psycopg"),
                    ("elif not dialect.TRANSACTIONAL_DDL:", "elif False:", "aiomysql"),
                )
            ),
            (
                "migrate.py",
                "if not _drops_indexes(x, tables)",
                "if x",
                "a_new_revision_has_its_imports_and_drops_each_table_as_a_whole",
                "asyncmy",
            ),
            (
                "doctor.py",
                "except InterpolationError:",
                "except ImportError:",
                "doctor_names_a_folder_in_which_alembic_cannot_run",
                "aiosqlite",
            ),
            (
                "migrate.py",
                "elif _in_event_loop():",
                "elif False:",
                "a_command_in_an_event_loop_names_the_way",
                "aiosqlite",
            ),
            *(
                (
                    "engine/dialect.py",
                    old,
                    new,
                    "a_connection_with_foreign_keys_on_deletes_no_rows_that_refer_to_a_table",
                    "aiosqlite",
                )
                for old, new in (
                    ('event.listen(connection, "before_cursor_execute", _refuse_drop)', "pass"),
                    ("_REFERRING, (table, table)).first():", "_REFERRING, (table, table)):"),
                )
            ),
        )
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "if row not in self.session:",
        "if False:",
        "tests/db/layer_tests/probes/test_repository.py::test_a_row_of_another_session_is_refused",
    ),
    # Faults: what each of them is survived by.
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "if (lost or busy) and connection.info.get(_COMMITTING):",
        "if False:",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_reply_to_commit_lost",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/session/ending.py",
        "        await _outlast(ending)\n",
        "        pass\n",
        "tests/db/layer_tests/probes/faults/test_cancellations.py::test_cancellation_during_commit",
    ),
    Mutation(
        "src/shop/db/session/ending.py",
        "        await _outlast(ending)\n",
        "        pass\n",
        "tests/db/layer_tests/probes/faults/test_cancellations.py::test_timeout_round_a_transaction",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "suppress(sqlite3.ProgrammingError, ValueError)",
        "suppress(ValueError)",
        "tests/db/layer_tests/probes/test_endings.py::test_a_connection_may_close_while_it_is_abandoned",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "            if not task.cancelled():\n                task.result()\n",
        "        task.result()\n",
        "tests/db/layer_tests/probes/test_fastapi.py::test_an_error_at_the_end_of_a_stream_that_is_broken_off_is_raised",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "            await connection.interrupt()\n",
        "            pass\n",
        "tests/db/layer_tests/probes/faults/test_cancellations.py::test_cancellation_of_a_long_statement",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "if not context.connection or context.connection.invalidated:",
        "if not context.connection:",
        "tests/db/layer_tests/probes/faults/test_cancellations.py::test_cancellation_at_random_points",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '    event.listen(engine.sync_engine, "invalidate", _invalidate)\n',
        "",
        "tests/db/layer_tests/probes/faults/test_cancellations.py::test_cancellation_at_random_points",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        '            event.listen(engine, "checkout", self._ping)\n',
        "            pass\n",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_server_restarted_between_requests",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        '            event.listen(engine, "checkout", self._ping)\n',
        "            pass\n",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_connection_killed_while_idle",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "    SchemaChanged,\n    Unavailable,\n)",
        "    SchemaChanged,\n)",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_connection_killed_in_a_transaction",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "    connection.info[_COMMITTING] = not dialect.is_read_only(connection)\n",
        "",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_connection_killed_before_commit",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        '            event.listen(engine, "checkout", self._ping)\n',
        "            pass\n",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_connection_reset",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        '"command_timeout": settings.command_timeout or None,',
        '"command_timeout": None,',
        "tests/db/layer_tests/probes/faults/test_connections.py::test_packets_swallowed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        "            raise errors.Unavailable(\n",
        "            raise errors.DataLayerError(\n",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_server_out_of_connections",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        'if type(error).__name__ == "InvalidCachedStatementError":',
        "if not error:",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_table_changed_under_prepared_statements",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'driver.error_code(error) == "1412"',
        "False",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_table_changed_under_prepared_statements",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'driver.diagnostics(error).get("source_function") == "RevalidateCachedQuery"',
        "False",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_table_changed_under_prepared_statements",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "    Deadlock,\n    SchemaChanged,\n",
        "    SchemaChanged,\n",
        "tests/db/layer_tests/probes/faults/test_contention.py::test_deadlock",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "= (\n    SerializationFailure,\n",
        "= (\n",
        "tests/db/layer_tests/probes/faults/test_contention.py::test_serialization_failure",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        if for_update:\n",
        "        if False:\n",
        "tests/db/layer_tests/probes/faults/test_contention.py::test_lost_update_where_rows_are_locked",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/session/sync_session.py",
        "        except StaleDataError as error:\n",
        "        except ValueError as error:\n",
        "tests/db/layer_tests/probes/faults/test_contention.py::test_lost_update_where_versions_are_compared",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'options.get("sqlite_begin", "BEGIN IMMEDIATE")',
        'options.get("sqlite_begin", "BEGIN")',
        "tests/db/layer_tests/probes/faults/test_processes.py::test_lost_update_by_several_processes",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        '{"timeout": settings.lock_timeout}',
        '{"timeout": 0}',
        "tests/db/layer_tests/probes/faults/test_processes.py::test_first_use_by_several_processes",
    ),
    Mutation(
        "src/shop/db/database.py",
        "_inherited.append(vars(self).copy())",
        "await self._engine.dispose(close=False)",
        "tests/db/layer_tests/probes/faults/test_processes.py::test_fork",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "ENGINE_OPTIONS: dict[str, object] = {}",
        'ENGINE_OPTIONS: dict[str, object] = {"isolation_level": "AUTOCOMMIT"}',
        "tests/db/layer_tests/probes/faults/test_processes.py::test_process_killed_in_a_bulk_load",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"SQLITE_FULL", "SQLITE_IOERR"',
        '"SQLITE_IOERR"',
        "tests/db/layer_tests/probes/faults/test_files.py::test_disk_full",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"SQLITE_FULL", "SQLITE_IOERR"),',
        '"SQLITE_FULL"),',
        "tests/db/layer_tests/probes/faults/test_files.py::test_disk_error",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"SQLITE_READONLY", ',
        "",
        "tests/db/layer_tests/probes/faults/test_files.py::test_file_read_only",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"SQLITE_NOTADB", "SQLITE_PROTOCOL"',
        '"SQLITE_PROTOCOL",',
        "tests/db/layer_tests/probes/faults/test_files.py::test_file_corrupt",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        '"poolclass": Pool,',
        '"poolclass": AsyncAdaptedQueuePool,',
        "tests/db/layer_tests/probes/faults/test_sessions.py::test_pool_exhausted",
    ),
    Mutation(
        "src/shop/db/database.py",
        "            self._opened(bind) as session,\n            session.begin(),\n",
        "            nullcontext(self._opened(bind)) as session,\n",
        "tests/db/layer_tests/probes/faults/test_sessions.py::test_session_never_closed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "close_resets_only=False",
        "close_resets_only=True",
        "tests/db/layer_tests/probes/faults/test_sessions.py::test_session_used_after_its_end",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/session/guard.py",
        "            raise ConcurrentSessionUse\n",
        "            pass\n",
        "tests/db/layer_tests/probes/faults/test_sessions.py::test_session_shared_by_tasks",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/database.py",
        "if any(session.in_transaction() for session in self._sessions_of_this_task()):",
        "if False:",
        "tests/db/layer_tests/probes/faults/test_sessions.py::test_retry_inside_a_transaction",
    ),
    Mutation(
        "src/shop/db/database.py",
        "if _running_loop() not in (None, self._loop):",
        "if False:",
        "tests/db/layer_tests/probes/faults/test_sessions.py::test_second_event_loop",
        "psycopg",
    ),
    # Rows, one and many.
    Mutation(
        "src/shop/db/repository/bulk.py",
        "        renewed[column.key] = made.arg if made.is_clause_element else value\n",
        "        pass\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_what_python_makes_for_a_change_is_made_in_bulk_too",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "[new] if dialect.takes_many(statement) else new",
        "[new]",
        "tests/db/layer_tests/probes/test_bulk.py::test_what_python_makes_for_a_change_is_made_in_bulk_too",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "            return await self.session.get(self.model, key)\n",
        "            pass\n",
        "tests/db/layer_tests/probes/test_repository.py::test_a_row_that_the_session_holds_is_not_asked_for",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "if not (options or for_update",
        "if not (for_update",
        "tests/db/layer_tests/probes/test_repository.py::test_what_options_ask_of_a_row_in_hand_is_loaded",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        " or self._is_filtered)",
        ")",
        "tests/db/layer_tests/probes/test_repository.py::test_one_override_filters_every_read",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "if not (options or for_update or self._include_deleted or",
        "if not (options or for_update or",
        "tests/db/layer_tests/probes/test_soft_delete.py::test_a_row_in_hand_is_not_found_by_its_key",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "        for chunk in lists(items, size):\n            yield chunk\n",
        "        yield list(iter(items))[:size]\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_rows_come_from_any_iterable",
    ),
    *(
        Mutation(
            "src/shop/db/repository/bulk.py",
            f"    {loop}:\n        chunk.append(item)\n",
            f"    {loop}:\n        chunk.append(item)\n        end = monotonic() + 1\n",
            "tests/db/layer_tests/probes/test_bulk.py::"
            f"test_rows_that_come_slowly_leave_no_transaction_idle[{method}-{source}]",
            "asyncpg",
        )
        for loop, source in (("for item in items", "sync"), ("async for item in items", "async"))
        for method in ("insert_many", "upsert_many")
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "    except BaseException as error:\n",
        "    except Exception as error:\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_mistake_of_what_gives_the_rows_is_not_taken_for_a_value",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "lists(source, bulk.CHUNK_SIZE, COPY_SECONDS)",
        "lists(source, bulk.CHUNK_SIZE, 9)",
        "tests/db/layer_tests/probes/test_bulk.py::test_rows_that_become_slow_are_no_slow_statement",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "size = min(4 * count, int(count * COPY_SECONDS / took))",
        "size = CHUNK_SIZE + 0 * int(took)",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_a_server_that_checks_for_long_gets_fewer_rows",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "        errors.append(error)\n",
        "        raise\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_mistake_of_what_gives_the_rows_is_not_taken_for_a_value",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/models/mixins.py",
        "(7 << 76)",
        "(4 << 76)",
        "tests/db/layer_tests/probes/test_bulk.py::test_keys_that_are_made_for_many_rows_rise",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/models/mixins.py",
        "first + (n << 32) + random",
        "first + random",
        "tests/db/layer_tests/probes/test_bulk.py::test_keys_that_are_made_for_many_rows_rise",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "    if stale:\n",
        "    if stale < 0:\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_row_that_changed_since_it_was_read_is_stale",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        ".ext(distinct_on(*same))",
        "",
        "tests/db/layer_tests/probes/test_bulk.py::test_the_last_of_several_rows_with_the_same_unique_values_wins",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/keyset.py",
        "descending = columns[-1][1] if columns else False",
        "descending = False",
        "tests/db/layer_tests/probes/test_pages.py::test_a_walk_meets_each_row_once_and_in_order",
    ),
    Mutation(
        "src/shop/db/repository/keyset.py",
        "return [part] if first.descending else [part, Part(first.column.is_(None), others)]",
        "return [part]",
        "tests/db/layer_tests/probes/test_pages.py::test_a_walk_meets_each_row_once_and_in_order",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/keyset.py",
        "    while isinstance(kind, sa.TypeDecorator):\n",
        "    while isinstance(kind, int):\n",
        "tests/db/layer_tests/probes/test_selects.py::test_a_place_is_what_the_database_holds",
    ),
    Mutation(
        "src/shop/db/repository/keyset.py",
        "    nullable = True\n",
        "    nullable = False\n",
        "tests/db/layer_tests/probes/test_selects.py::test_a_walk_over_a_select_meets_each_row_once",
    ),
    Mutation(
        "src/shop/db/repository/keyset.py",
        "        column = getattr(entity, attribute.key)\n",
        "",
        "tests/db/layer_tests/probes/test_selects.py::test_a_walk_over_a_select_meets_each_row_once",
    ),
    Mutation(
        "src/shop/db/repository/pages.py",
        "    if _picks_rows(statement):\n",
        "    if not described:\n",
        "tests/db/layer_tests/probes/test_selects.py::test_a_walk_over_a_select_meets_each_row_once",
    ),
    Mutation(
        "src/shop/db/repository/pages.py",
        "    await selection.refuse_repeated(session, items)\n",
        "",
        "tests/db/layer_tests/probes/test_selects.py::test_a_join_that_finds_a_row_several_times_is_refused",
    ),
    Mutation(
        "src/shop/db/repository/pages.py",
        '        or described[0]["expr"] is not entity\n',
        "",
        "tests/db/layer_tests/probes/test_selects.py::test_a_select_of_more_or_less_than_the_model_is_refused",
    ),
    Mutation(
        "src/shop/db/repository/pages.py",
        ".get_final_froms()) > number:",
        ".get_final_froms()) < number:",
        "tests/db/layer_tests/probes/test_selects.py::test_a_sort_by_what_a_subquery_hides_is_refused",
    ),
    Mutation(
        "src/shop/db/repository/cursor.py",
        "if digest != _digest(text, model, sort)",
        "if False",
        "tests/db/layer_tests/probes/test_pages.py::test_a_cursor_of_anything_else_is_refused",
    ),
    Mutation(
        "src/shop/db/models/soft_delete.py",
        "        option._extra_criteria += (relationship.mapper.class_.deleted_at.is_(None),)\n",
        "        pass\n",
        "tests/db/layer_tests/probes/test_soft_delete.py::test_collections_leave_it_out",
    ),
    *(
        Mutation(
            "src/shop/db/models/soft_delete.py",
            old,
            new,
            f"tests/db/layer_tests/probes/test_soft_delete.py::{test}",
        )
        for old, new, test in (
            (
                "        option = option._clone()\n",
                "",
                "test_an_option_of_joinedload_is_not_changed_by_its_use",
            ),
            (
                "    _traverse_internals = []\n",
                "",
                "test_a_statement_is_compiled_once_with_the_criterion_and_once_without",
            ),
            (
                "if directions[-1:] != [MANYTOONE]:",
                "if True:",
                "test_a_many_to_one_shows_it",
            ),
            (
                '("include_deleted", False) is False',
                '("include_deleted", False) is False and not state.is_column_load',
                "test_a_row_that_is_refreshed_with_its_collection_leaves_it_out",
            ),
        )
    ),
    # COPY, where it is not as INSERT.
    Mutation(
        "src/shop/db/repository/copy.py",
        "or write.columns.kind or",
        "or",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        " or not write.columns.is_one_table:",
        ":",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "if any(x.type.bind_expression(sa.bindparam(None, type_=x.type)) is not None for",
        "if any(x is None for",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "relkind IN ('r', 'p') AND ",
        "",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "AND NOT relhasrules ",
        "",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        " AND NOT row_security_active(pg_class.oid)",
        "",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal)",
        "false",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "AND atttypid = to_regtype(type) ",
        "",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        " AND attidentity <> 'a'",
        "",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        " AND attgenerated = ''",
        "",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "if {*types} <= driver.COPIED else",
        "if all(types) else",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "if {*types} <= driver.COPIED else",
        "if all(types) else",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_tables_that_do_more_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "        elif column.default is not None:\n            return ()\n",
        "",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_defaults_that_ask_for_sql_or_the_row_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "(made.is_callable and _needs_no_row(made.arg))",
        "made.is_callable",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_defaults_that_ask_for_sql_or_the_row_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "if names_sent(columns, names) == [*sent] and",
        "if",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_rows_that_are_copied_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "    elif kind.should_evaluate_none:\n",
        "    elif name is None:\n",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_rows_that_are_copied_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "groups: Iterable[Group] = new_groups(columns, ready)",
        "groups: Iterable[Group] = by_names(ready)",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_rows_that_are_copied_are_as_inserted",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "yield from new_groups(write.columns, chunk)",
        "yield from by_names(chunk)",
        "tests/db/layer_tests/probes/test_bulk.py::test_none_stands_for_the_default_in_each_of_many_rows",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "block if all(map(driver.copies, sent.values(), block)) else None",
        "block",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_values_of_other_types_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        '    if kind in ("time", "timestamp", "timestamptz"):\n',
        "    if kind is None:\n",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_values_of_other_types_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        '{"int2": 2**15, "int4": 2**31}',
        '{"int2": 0, "int4": 2**31}',
        "tests/db/layer_tests/probes/test_copy_properties.py::test_values_of_other_types_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        '{"int2": 2**15, "int4": 2**31}',
        '{"int2": 2**15, "int4": 0}',
        "tests/db/layer_tests/probes/test_copy_properties.py::test_values_of_other_types_are_as_inserted",
        "psycopg",
    ),
    # Types, mappings, and what sessions keep of SQLAlchemy's contracts.
    *(
        Mutation(f"src/shop/db/{file}", old, new, f"tests/db/layer_tests/probes/{test}", driver)
        for file, old, new, test, driver in (
            (
                "models/types.py",
                "        return Number()\n",
                "        return self\n",
                "test_types.py::test_arithmetic_with_decimals_is_that_of_python",
                "asyncpg",
            ),
            (
                "models/types.py",
                "expression.type = Number(scale)",
                "expression.type = self.expr.type",
                "test_types.py::test_arithmetic_with_decimals_is_that_of_python",
                "aiosqlite",
            ),
            (
                "models/types.py",
                "if op is floordiv:",
                "if False:",
                "test_types.py::test_arithmetic_with_decimals_is_that_of_python",
                "asyncmy",
            ),
            (
                "engine/dialect.py",
                "return expression if scale is None else",
                "return expression if True else",
                "test_types.py::test_arithmetic_with_decimals_is_that_of_python",
                "aiosqlite",
            ),
            (
                "engine/dialect.py",
                'sa.literal_column("1.0")',
                'sa.literal_column("1")',
                "test_types.py::test_arithmetic_with_decimals_is_that_of_python",
                "aiosqlite",
            ),
            (
                "engine/dialect.py",
                'f"1e{scale or 6}"',
                '"1e0"',
                "test_types.py::test_arithmetic_with_decimals_is_that_of_python",
                "aiosqlite",
            ),
            (
                "models/types.py",
                "return Interval() if isinstance(value, timedelta) else self",
                "return self",
                "test_types.py::test_arithmetic_with_times_is_that_of_python",
                "asyncpg",
            ),
            (
                "engine/dialect.py",
                "sa.func.substr(moment, 21, 6)",
                "sa.func.substr(moment, 21, 3)",
                "test_types.py::test_arithmetic_with_times_is_that_of_python",
                "aiosqlite",
            ),
            (
                "models/types.py",
                "expression.type = Interval() if is_interval else UTCDateTime()",
                "pass",
                "test_types.py::test_arithmetic_with_times_is_that_of_python",
                "asyncmy",
            ),
            (
                "models/types.py",
                "expression.type = NullType()",
                "pass",
                "test_types.py::test_a_time_in_a_zone_has_none",
                "asyncpg",
            ),
            (
                "models/types.py",
                "else [InvalidOperation, Inexact]",
                "else [InvalidOperation]",
                "test_types.py::test_a_decimal_that_does_not_fit_is_refused",
                "aiosqlite",
            ),
            (
                "models/types.py",
                "        if isinstance(value, float):\n",
                "        if False:\n",
                "test_types.py::test_a_decimal_that_does_not_fit_is_refused",
                "aiosqlite",
            ),
            (
                "models/types.py",
                "kind.fit_attribute, retval=True)",
                "kind.fit_attribute, retval=False)",
                "test_types.py::test_a_column_rounds_where_it_says_so",
                "aiosqlite",
            ),
            (
                "models/types.py",
                "precision <= (most := dialect.DECIMAL_DIGITS):",
                "precision <= (most := dialect.DECIMAL_DIGITS) + 1:",
                "test_types.py::test_a_decimal_has_all_digits_of_the_database",
                "psycopg",
            ),
            (
                "models/base.py",
                "MutableDict.as_mutable(JSON.copy())",
                "JSON.copy()",
                "test_types.py::test_a_change_at_the_top_of_a_document_is_noticed",
                "aiosqlite",
            ),
            (
                "models/types.py",
                "return sa.BigInteger() if type(value) is int else self",
                "return self",
                "test_types.py::test_an_enum_of_numbers_sorts_and_compares_as_them",
                "aiosqlite",
            ),
            (
                "models/base.py",
                "return IntegerEnum(kind) if",
                "return None if",
                "test_types.py::test_the_base_class_takes_an_enum_of_numbers_for_one",
                "aiosqlite",
            ),
            (
                "repository/copy.py",
                "return [process(value) for value in values] if process else values",
                "return [None if x is None or not process else process(x) for x in values]",
                "test_writes.py::test_a_value_is_written_as_session_add_writes_it",
                "asyncpg",
            ),
            (
                "models/types.py",
                "kind.fit_attribute, retval=True)",
                "kind.fit_attribute, retval=False)",
                "test_writes.py::test_a_row_in_memory_has_what_the_database_has",
                "aiosqlite",
            ),
            (
                "models/mixins.py",
                "mapper.eager_defaults = True if",
                "mapper.eager_defaults = None if",
                "test_mappings.py::test_mapper_arguments_are_as_sqlalchemy_has_them",
                "aiosqlite",
            ),
            (
                "models/mixins.py",
                "if column is None or column.table not in mapper.tables:",
                "if column is None:",
                "test_mappings.py::test_rows_are_written_and_read_in_every_mapping",
                "aiosqlite",
            ),
            (
                "models/soft_delete.py",
                'if relationship.lazy in ("joined", False) and',
                "if False and",
                "test_soft_delete.py::test_relationships_that_are_mapped_as_joined_leave_it_out",
                "aiosqlite",
            ),
            (
                "models/soft_delete.py",
                "if session and row not in session.deleted:",
                "if not session:",
                "test_soft_delete.py::test_a_row_that_leaves_its_collection_is_not_removed",
                "aiosqlite",
            ),
            (
                "models/soft_delete.py",
                "if session and row not in session.deleted:",
                "if session:",
                "test_soft_delete.py::test_a_row_that_is_removed_on_purpose_is_removed",
                "aiosqlite",
            ),
            (
                "models/soft_delete.py",
                "if hides and isinstance(state.statement, sa.ClauseElement):",
                "if hides:",
                "test_readers.py::test_a_sequence_gives_its_next_value",
                "asyncpg",
            ),
            (
                "session/sync_session.py",
                "self._merging = True",
                "self._merging = not self",
                "test_soft_delete.py::test_it_is_merged",
                "aiosqlite",
            ),
            (
                "session/sync_session.py",
                "query_cls=_Query, ",
                "",
                "test_soft_delete.py::test_a_legacy_query_leaves_it_out",
                "aiosqlite",
            ),
            (
                "session/sync_session.py",
                'hidden and not options.get("include_deleted")',
                "hidden",
                "test_soft_delete.py::test_a_key_finds_it_for_those_who_ask",
                "aiosqlite",
            ),
            (
                "session/reader.py",
                r'r"(?>(?:\s|',
                r'r"(?:(?:\s|',
                "test_readers.py::test_text_that_writes_is_refused_behind_any_comment",
                "aiosqlite",
            ),
            (
                "session/reader.py",
                "(?!M?!)",
                "",
                "test_readers.py::test_text_that_writes_is_refused_behind_any_comment",
                "asyncmy",
            ),
            (
                "session/reader.py",
                "(?s:.*?)",
                "(?s:x*?)",
                "test_readers.py::test_text_that_reads_may_begin_with_comments",
                "aiosqlite",
            ),
            (
                "migrate.py",
                'existing_nullable=existing["nullable"],',
                "",
                "test_migrations.py::test_an_enum_gets_a_member_and_loses_one",
                "asyncmy",
            ),
            (
                "migrate.py",
                'batch.drop_constraint(op.f(check), "check")',
                "pass",
                "test_migrations.py::test_an_enum_gets_a_member_and_loses_one",
                "asyncpg",
            ),
        )
    ),
    # Many rows at once.
    *(
        Mutation(
            f"src/shop/db/repository/{file}",
            old,
            new,
            "tests/db/layer_tests/probes/test_bulk.py::test_a_row_may_refer_to_an_earlier_one",
            driver,
        )
        for driver, file, old, new in (
            ("asyncmy", "bulk.py", "    if columns.refers_to_itself:\n", "    if not columns:\n"),
            ("aiosqlite", "bulk.py", "rows = chunk if columns.refers_to_itself else", "rows ="),
            ("asyncpg", "copy.py", " and not (others and columns.refers_to_itself)", ""),
        )
    ),
    *(
        Mutation(
            f"src/shop/db/repository/{file}",
            old,
            new,
            "tests/db/layer_tests/probes/test_bulk.py::test_each_row_of_an_upsert_gives_what_it_is_found_by",
            driver,
        )
        for driver, file, old, new in (
            (
                "psycopg",
                "repository.py",
                "write.required = write.columns.without_default(on)",
                "pass",
            ),
            ("aiosqlite", "columns.py", " and not has_default(self.by_name[x])]", "]"),
        )
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "number if None in values else str(values)",
        "str(values)",
        "tests/db/layer_tests/probes/test_bulk.py::test_of_rows_with_a_null_none_is_the_same",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/columns.py",
        "        if not self.mapper.single or self.mapper.polymorphic_on is None:\n",
        "        if self.mapper:\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_rows_of_another_class_in_the_table_are_left_alone",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        if not self._is_filtered:\n            return ()\n",
        "        if self._is_filtered or True:\n            return ()\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_rows_that_a_repository_does_not_see_are_left_alone",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "    if criteria:\n",
        "    if not values:\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_rows_that_a_repository_does_not_see_are_left_alone",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "if str(statement) != str(",
        "if not str(",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_repository_whose_statement_is_no_mere_where_changes_no_rows_by_it",
    ),
    Mutation(
        "src/shop/db/models/keys.py",
        "        session.expire(row, attributes.keys())\n",
        "        pass\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_row_in_hand_holds_what_the_database_does",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "self.session.expunge(held[key])",
        "pass",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_row_in_hand_goes_when_it_is_deleted_and_not_before",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "if len({*keys}) < len(keys) and",
        "if len({*keys}) > len(keys) and",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_row_is_not_given_twice_with_its_version",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "if any(x.type.bind_expression(sa.bindparam(None, type_=x.type)) is not None for",
        "if any(x is None for",
        "tests/db/layer_tests/probes/test_bulk.py::test_columns_may_have_names_and_expressions_of_their_own",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "            if block.is_active:\n                raise\n",
        "            raise\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_what_gives_the_rows_may_not_end_their_transaction",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "        if not block.is_active:\n",
        "        if block is None:\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_what_gives_the_rows_may_not_end_their_transaction",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "if not issubclass(kind, Mapping):",
        "if kind is None:",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_row_that_is_no_mapping_is_refused_without_its_values",
    ),
    Mutation(
        "src/shop/db/models/keys.py",
        "if not issubclass(kind, allowed):",
        "if kind is None:",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_key_of_another_type_is_refused",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "    check_key_types(write.columns.model, keys)\n    if len",
        "    if len",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_key_of_another_type_is_refused",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/columns.py",
        "self.key = [attribute.key for attribute in key_attributes(self.mapper)]",
        "self.key = sorted(attribute.key for attribute in key_attributes(self.mapper))",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_row_in_hand_is_known_by_a_key_in_any_order",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "        refuse_names(self.columns.model, frozenset[str]().union(*rows), self.writable)\n",
        "",
        "tests/db/layer_tests/probes/test_bulk.py::test_rows_of_their_own_values_take_what_may_be_written",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "if number < least:",
        "if number < -1:",
        "tests/db/layer_tests/probes/test_pages.py::test_a_page_that_cannot_be_is_refused",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        at_least(1, size=size)\n        statement = self._select(",
        "        statement = self._select(",
        "tests/db/layer_tests/probes/test_streams.py::test_a_batch_that_cannot_be_is_refused",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "if unknown := set(relationships).difference(known):",
        "if unknown := set(relationships).difference(known, relationships):",
        "tests/db/layer_tests/probes/test_repository.py::test_what_is_no_relationship_is_not_loaded",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "row.deleted_at = deleted_at or datetime.now(UTC)",
        "row.deleted_at = datetime.now(UTC)",
        "tests/db/layer_tests/probes/test_soft_delete.py::test_it_is_deleted_once",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "deleted_at = await self.session.run_sync(lambda _: row.deleted_at)",
        "deleted_at = row.deleted_at",
        "tests/db/layer_tests/probes/test_soft_delete.py::test_it_is_deleted_once",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "map(repr, self.fields)",
        "self.fields",
        "tests/db/layer_tests/probes/test_pages.py::test_only_what_is_listed_can_be_sorted_by",
    ),
    Mutation(
        "src/shop/db/models/keys.py",
        "else 1000",
        "else 15_000",
        "tests/db/layer_tests/probes/test_bulk.py::test_keys_of_several_columns_come_in_any_number",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "return driver.Keys(process(value))",
        "return driver.Keys(value)",
        "tests/db/layer_tests/probes/test_bulk.py::test_keys_of_a_type_of_their_own_come_in_any_number",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/keyset.py",
        "return sa.type_coerce(self.column, sa.String())",
        "return self.column",
        "tests/db/layer_tests/probes/test_pages.py::test_rows_are_walked_by_a_key_that_is_an_enum",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        refuse_unkept(orders)\n",
        "",
        "tests/db/layer_tests/probes/test_pages.py::test_what_a_cursor_cannot_keep_is_refused_on_the_first_page",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        refuse_other_keys(self.model, rows.keys() - set(keys))\n",
        "",
        "tests/db/layer_tests/probes/test_repository.py::test_a_key_of_another_shape_is_no_row_that_is_missing",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        'raise DataError("COPY", None, error, hide_parameters=True) from error',
        "raise",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_refused_value_among_other_rows_is_an_invalid_value",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "kinds = (ValueError, TypeError, AttributeError, ArithmeticError)",
        "kinds = (ValueError, ArithmeticError)",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_value_that_does_not_fit_is_told_as_a_flush_tells_it",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "                of=sa.inspect(self.model).tables,\n",
        "",
        "tests/db/layer_tests/probes/test_repository.py::test_a_row_is_locked_without_what_is_joined_to_it",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        if not on:\n",
        "        if on is None:\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_an_upsert_names_what_is_unique",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "[new] if dialect.takes_many(statement) else new",
        "[new]",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_percent_sign_of_a_statement_is_one",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "{bytes, psycopg.Binary}",
        "{bytes}",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_rows_that_are_copied_are_as_inserted",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "except _REFUSALS as error:",
        "except psycopg.DataError as error:",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_refused_value_among_other_rows_is_an_invalid_value",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "await connection.exec_driver_sql(str(statement.compile(dialect=connection.dialect)))",
        "await connection.execute(statement)",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_other_connections_keep_their_prepared_statements",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "            write.count += len(chunk)\n",
        "            write.count += len(chunk)\n            write.progress(write.count)\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_slow_code_of_the_caller_is_no_slow_statement",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "if monotonic() > end:",
        "if not end:",
        "tests/db/layer_tests/probes/test_copy_properties.py::test_slow_defaults_are_no_slow_statement",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        '    name = f"bulk_{crc32(str(empty.compile(dialect=connection.dialect)).encode()):x}"\n',
        "    name = f\"bulk_{crc32(b'one'):x}\"\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_columns_of_the_same_name_may_be_of_other_types",
        "asyncpg",
    ),
    *(
        Mutation(
            "src/shop/db/repository/columns.py",
            "for x in self.table.columns if x.key not in given)",
            "for x in self.table.columns)",
            "tests/db/layer_tests/probes/test_bulk.py::test_what_a_change_gives_is_not_made",
            driver,
        )
        for driver in FIRST_DRIVERS
    ),
    *(
        Mutation(
            "src/shop/db/repository/columns.py",
            'return f"{max(column.table.c.keys(), key=len)}_{column.key}"',
            'return f"at_{column.key}"',
            "tests/db/layer_tests/probes/test_bulk.py::test_a_key_is_not_taken_for_a_value",
            driver,
        )
        for driver in ("aiosqlite", "asyncmy")
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        "sorted(values.items(), key=lambda x: x[0] in asked)",
        "sorted(values.items(), key=lambda x: x[0] not in asked)",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_change_may_take_a_row_out_of_a_repository",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        await self.session.flush()\n        self.session.expire(row, relationships)\n",
        "        self.session.expire(row, relationships)\n",
        "tests/db/layer_tests/probes/test_repository.py::test_what_was_not_written_yet_is_loaded_too",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "if not any(found is row for found in rows.unique()):",
        "if row in rows.unique() and row is None:",
        "tests/db/layer_tests/probes/test_repository.py::test_nothing_is_loaded_for_a_row_that_is_not_seen",
    ),
    *(
        Mutation(
            f"src/shop/db/{file}",
            old,
            new,
            "tests/db/layer_tests/probes/test_pages.py::test_a_cursor_that_was_not_made_here_is_refused",
        )
        for file, old, new in (
            ("repository/repository.py", ".fit([x.nullable for x in orders])", ""),
            (
                "repository/cursor.py",
                "except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)",
                "except RecursionError",
            ),
        )
    ),
    Mutation(
        "src/shop/schemas.py",
        "TagNames = Annotated[list[TagName], Field(max_length=20)]",
        "TagNames = list[TagName]",
        "tests/api/test_posts.py::test_the_tags_of_a_post_are_replaced",
        "asyncpg",
    ),
    *(
        Mutation(
            "src/shop/db/repository/keyset.py",
            "return sa.cast(self.column, sa.Double)\n",
            "return self.column\n",
            "tests/db/layer_tests/probes/test_pages.py::test_rows_are_walked_by_a_short_float",
            driver,
        )
        for driver in ("psycopg", "asyncmy")
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "            yield [row[0] for row in rows]\n",
        "            yield [row[0] for row in rows]\n"
        "            if len(rows) < size:\n                return\n",
        "tests/db/layer_tests/probes/test_pages.py::test_rows_that_a_join_finds_twice_come_once",
    ),
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "(OverflowError, UnicodeEncodeError, TypeError)",
        "(OverflowError, UnicodeEncodeError)",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_value_that_does_not_fit_is_told_as_a_flush_tells_it",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/columns.py",
        "if isinstance(column.type, sa.Integer) and self.next_version(1) == 2:",
        "if column is not None:",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_version_that_is_no_count_is_not_counted",
    ),
    Mutation(
        "src/shop/db/repository/bulk.py",
        "    assert write.columns.table is not None\n",
        "",
        "tests/db/layer_tests/probes/test_bulk.py::test_a_model_in_several_tables_says_what_to_call_instead",
    ),
    Mutation(
        "src/shop/db/repository/columns.py",
        "kept = {self.version, self.kind, *self.key,",
        "kept = {self.version, *self.key,",
        "tests/db/layer_tests/probes/test_bulk.py::test_what_may_be_written_is_what_nobody_else_makes",
    ),
    Mutation(
        "src/shop/db/repository/columns.py",
        "self.changeable | ({*self.key} - defaulted)",
        "self.changeable",
        "tests/db/layer_tests/probes/test_bulk.py::test_what_may_be_written_is_what_nobody_else_makes",
    ),
    Mutation(
        "src/shop/db/repository/columns.py",
        "if known := unknown.intersection(",
        "if known := unknown.difference(",
        "tests/db/layer_tests/probes/test_bulk.py::test_what_may_be_written_is_what_nobody_else_makes",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "        if isinstance(on, str):\n",
        "        if isinstance(on, int):\n",
        "tests/db/layer_tests/probes/test_bulk.py::test_the_names_of_a_constraint_are_no_text",
    ),
    # Rows that can be read after a write.
    Mutation(
        "src/shop/db/repository/repository.py",
        "        if names := computed_columns(row):\n",
        "        if names := list[str]():\n",
        "tests/db/layer_tests/probes/test_computed.py::test_each_column_of_a_row_can_be_read",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "                if any(computed_columns(row) for row in some):\n",
        "                if not some:\n",
        "tests/db/layer_tests/probes/test_computed.py::test_many_rows_can_be_read",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "            await self._flush(row)\n        else:",
        "            await self.session.flush()\n        else:",
        "tests/db/layer_tests/probes/test_computed.py::test_a_row_that_is_deleted_softly_and_restored_can_be_read",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/repository/columns.py",
        "    return [name for name in names if not columns[name].deferred]",
        "    return [*names, *(x.key for x in columns if x.deferred)]",
        "tests/db/layer_tests/probes/test_computed.py::test_one_statement_reads_what_was_computed",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "async with self.session.begin_nested():\n                return await self.create",
        "if True:\n                return await self.create",
        "tests/db/layer_tests/probes/test_get_or_create.py::test_requests_at_the_same_time_get_one_row",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        ".with_for_update(read=read, of=sa.inspect(self.model).tables)",
        "",
        "tests/db/layer_tests/probes/test_get_or_create.py::test_requests_at_the_same_time_get_one_row",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "read=read",
        "read=True",
        "tests/db/layer_tests/probes/test_get_or_create.py::test_updates_at_the_same_time_all_take_effect",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        '            row = await self.get_one(key_of(row), for_update="wait")\n',
        "",
        "tests/db/layer_tests/probes/test_get_or_create.py::test_updates_at_the_same_time_all_take_effect",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "            await self._refuse_invisible(unique, violation)\n",
        "",
        "tests/db/layer_tests/probes/test_get_or_create.py::test_a_row_that_the_snapshot_lacks_asks_for_a_replay",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        '        options = {"include_deleted": True}\n        if not',
        "        options = {}\n        if not",
        "tests/db/layer_tests/probes/test_get_or_create.py::test_a_soft_deleted_row_keeps_its_value",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "async def update(self, row: M, /,",
        "async def update(self, row: M,",
        "tests/db/layer_tests/probes/test_names.py::test_every_method_takes_a_column_of_any_name",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        "                of=sa.inspect(self.model).tables,",
        "                of=self.model,",
        "tests/db/layer_tests/probes/test_computed.py::test_a_row_beside_joined_subclasses_is_locked",
        "asyncpg",
    ),
    # Cancellations.
    Mutation(
        "src/shop/db/session/ending.py",
        "return caller in (None, self) and super().cancel(msg)",
        "return super().cancel(msg)",
        "tests/db/layer_tests/probes/test_endings.py::test_rows_and_callbacks_agree_when_all_tasks_are_cancelled",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/session/ending.py",
        "            return False\n",
        "            caller = None\n",
        "tests/db/layer_tests/probes/test_endings.py::test_rows_and_callbacks_agree_when_all_tasks_are_cancelled",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/session/ending.py",
        "return caller in (None, self) and super().cancel(msg)",
        "return False",
        "tests/db/layer_tests/probes/test_endings.py::test_a_timeout_in_a_callback_has_its_effect",
    ),
    Mutation(
        "src/shop/db/session/ending.py",
        "        return True\n",
        "        return super().cancel(msg)\n",
        "tests/db/layer_tests/probes/test_endings.py::test_repeated_cancellations_cost_nothing",
    ),
    Mutation(
        "src/shop/db/session/ending.py",
        "CancelScope(shield=True)",
        "CancelScope()",
        "tests/db/layer_tests/probes/test_fastapi.py::test_a_cancelled_scope_waits_for_a_commit_without_spinning",
    ),
    Mutation(
        "src/shop/db/session/on_commit.py",
        "            exits.append(error)\n",
        "            raise\n",
        "tests/db/layer_tests/probes/test_endings.py::test_an_exit_in_a_callback_lets_the_others_run",
    ),
    Mutation(
        "src/shop/db/session/sync_session.py",
        "        session.is_committed = True\n",
        "",
        "tests/db/layer_tests/probes/test_transactions.py::test_run_repeats_no_work_that_committed_by_itself",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        "            self._turn(),\n",
        "",
        "tests/db/layer_tests/probes/test_testing.py::test_units_of_different_tasks_take_turns",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        "        if self._unit_task is task:\n",
        "        if self._unit_task:\n",
        "tests/db/layer_tests/probes/test_testing.py::test_units_of_different_tasks_take_turns",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        "        except TimeoutError as error:\n",
        "        except KeyError as error:\n",
        "tests/db/layer_tests/probes/test_testing.py::test_a_unit_that_waits_for_its_own_parent_is_refused",
    ),
    Mutation(
        "src/shop/db/testing/fixtures.py",
        "def engine(self) -> AsyncEngine:",
        "def own_engine(self) -> AsyncEngine:",
        "tests/db/layer_tests/probes/test_testing.py::test_the_engine_is_outside_of_a_test",
    ),
    Mutation(
        "src/shop/db/tls.py",
        'for name in ("hostaddr", "host", "service")',
        'for name in ("host",)',
        "tests/db/layer_tests/probes/test_settings.py::test_the_words_of_a_providers_url_are_understood",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "    if repeated:\n",
        "    if not url:\n",
        "tests/db/layer_tests/probes/test_settings.py::test_a_parameter_that_is_there_twice_is_refused",
    ),
    # Twelve ways to map a class.
    Mutation(
        "src/shop/db/repository/bulk.py",
        ".with_for_update(of=write.columns.mapper.tables)",
        ".with_for_update()",
        "tests/db/layer_tests/probes/test_shapes.py::test_a_method_takes_a_shape",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/models/keys.py",
        "found.update(map(key_of, read.unique()))",
        "found.update(map(key_of, set(read.unique())))",
        "tests/db/layer_tests/probes/test_shapes.py::test_a_method_takes_a_shape",
    ),
    Mutation(
        "src/shop/db/repository/repository.py",
        '        if "self" not in values:\n',
        "        if values:\n",
        "tests/db/layer_tests/probes/test_names.py::test_a_column_may_be_called_self",
    ),
    Mutation(
        "src/shop/db/session/session.py",
        "        try:\n            await ending\n        finally:\n            # A listener",
        "        await ending\n        if True:\n            # A listener",
        "tests/db/layer_tests/probes/test_endings.py::test_callbacks_run_where_a_listener_fails_after_the_commit",
    ),
    Mutation(
        "src/shop/db/repository/pages.py",
        "        or not sa.inspect(entity).mapper.isa(mapper)\n",
        "",
        "tests/db/layer_tests/probes/test_selects.py::test_a_select_of_more_or_less_than_the_model_is_refused",
    ),
    Mutation(
        "src/shop/db/engine/engine.py",
        'if name == "host"}',
        "}",
        "tests/db/layer_tests/probes/test_engine.py::test_a_failure_to_connect_names_the_settings_and_no_password",
        "asyncpg",
    ),
    # A server that only reads.
    Mutation(
        "src/shop/db/engine/driver_errors.py",
        "lost or busy or demoted",
        "lost or busy",
        "tests/db/layer_tests/probes/test_demotion.py::test_a_write_is_unavailable_and_its_connection_is_dropped",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'return "on" in (driver',
        'return "" not in (driver',
        "tests/db/layer_tests/probes/test_demotion.py::test_a_unit_that_asked_for_reading_is_refused_and_keeps_its_connection",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'if info.get("read_only_default") or ',
        "if ",
        "tests/db/layer_tests/probes/test_demotion.py::test_a_reader_is_refused_too",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'info.get("read_only_default") or is_read_only(connection)',
        'info.get("read_only_default")',
        "tests/db/layer_tests/probes/test_demotion.py::test_behind_a_pooler_each_transaction_asks",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '= read_only == "on"',
        "= False",
        "tests/db/layer_tests/probes/test_demotion.py::test_behind_a_pooler_each_transaction_asks",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"on" if read_only else "DEFAULT"',
        '"on" if read_only else "off"',
        "tests/db/layer_tests/probes/test_demotion.py::test_a_unit_after_a_reader_has_the_default_of_the_server",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/repository/copy.py",
        "        if isinstance(translated, Unavailable):\n",
        "        if not translated:\n",
        "tests/db/layer_tests/probes/test_demotion.py::test_a_copy_is_unavailable_and_its_connection_is_dropped",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/health.py",
        "ONLY_READS if only_reads and not read_only else None",
        "None",
        "tests/db/layer_tests/probes/test_demotion.py::test_ping_tells_unless_a_standby_will_do",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/doctor.py",
        "    if only_reads:\n",
        "    if not place:\n",
        "tests/db/layer_tests/probes/test_demotion.py::test_doctor_names_a_server_that_only_reads",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '(*READ_ONLY, "0A000")',
        "READ_ONLY",
        "tests/db/layer_tests/probes/faults/test_failovers.py::test_old_primary_back_as_a_standby",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"in_hot_standby", ',
        "",
        "tests/db/layer_tests/probes/faults/test_failovers.py::test_old_primary_back_as_a_standby",
        "psycopg",
    ),
    # Retries for some seconds.
    Mutation(
        "src/shop/db/database.py",
        "by_time = attempts > 1 and in_time",
        "by_time = attempts > attempts and in_time",
        "tests/db/layer_tests/probes/faults/test_failovers.py::test_standby_promoted_2_s_after_the_primary_died",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "    SchemaChanged,\n    Unavailable,\n)",
        "    SchemaChanged,\n)",
        "tests/db/layer_tests/probes/faults/test_failovers.py::test_standby_promoted_5_s_after_the_primary_died",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"in_hot_standby", "default_transaction_read_only"',
        '"in_hot_standby",',
        "tests/db/layer_tests/probes/faults/test_failovers.py::test_switch_over_without_dropped_connections",
        "asyncpg",
    ),
    *(
        Mutation(
            "src/shop/db/database.py",
            old,
            new,
            "tests/db/layer_tests/probes/test_transactions.py"
            "::test_the_last_attempt_begins_at_the_end_of_the_time_for_retries",
        )
        for old, new in (
            ("left = end - time.monotonic()", "left = end - time.monotonic() - wait"),
            ("min(wait, left) if in_time else wait", "wait"),
        )
    ),
    Mutation(
        "src/shop/db/database.py",
        "self.settings.retry_for if retry_for is None else retry_for",
        "self.settings.retry_for",
        "tests/db/layer_tests/probes/test_transactions.py::test_run_outlasts_an_outage",
    ),
    Mutation(
        "src/shop/db/database.py",
        "by_time = attempts > 1 and ",
        "by_time = ",
        "tests/db/layer_tests/probes/test_transactions.py::test_run_outlasts_an_outage",
    ),
    Mutation(
        "src/shop/db/database.py",
        "(in_time or retry_for is None)",
        "attempt",
        "tests/db/layer_tests/probes/test_transactions.py::test_no_attempt_begins_after_the_time_for_retries",
    ),
    Mutation(
        "src/shop/db/database.py",
        "min(attempt, 6)",
        "min(attempt, 9)",
        "tests/db/layer_tests/probes/test_transactions.py::test_waits_between_attempts_grow_to_about_a_second",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'driver.error_code(error) not in ("1290", "1836")',
        'driver.error_code(error) != "1836"',
        "tests/db/layer_tests/probes/faults/test_connections.py::test_server_made_read_only",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "value or None",
        "value",
        "tests/db/layer_tests/probes/faults/test_connections.py::test_server_made_read_only",
        "psycopg",
    ),
    *(
        Mutation(
            "src/shop/db/engine/dialect.py",
            f', "{code}"',
            "",
            "tests/db/layer_tests/probes/test_transactions.py::test_a_commit_whose_outcome_the_server_does_not_know_is_not_done_again",
            driver,
        )
        for code, driver in (("08007", "asyncpg"), ("40003", "psycopg"))
    ),
    # Several hosts.
    *(
        Mutation(
            "src/shop/db/engine/hosts.py",
            old,
            new,
            f"tests/db/layer_tests/probes/test_hosts.py::test_{test}",
            "asyncpg",
        )
        for old, new, test in (
            ("match[2] or match[4]", '""', "a_list_of_hosts_may_have_ports"),
            (
                "self._places.sort(key=lambda x: x != place)",
                "pass",
                "the_server_that_was_what_it_must_be_is_tried_first",
            ),
            ('if attribute != "any":', "if attribute:", "hosts_are_tried_in_the_order_of_the_url"),
            ('("standby", "any")', '("any",)', "a_standby_is_preferred_in_two_passes"),
            (
                "self._silent.get(x[0], before) > before",
                "0",
                "a_silent_host_is_tried_after_all_others",
            ),
            (
                "except BaseException as error:",
                "except Exception as error:",
                "a_caller_that_does_not_wait_so_long_finds_the_next_host_later",
            ),
            ("if self._balanced:", "if not self:", "balanced_hosts_are_tried_in_any_order"),
            (
                "if attribute not in _ATTRIBUTES:",
                "if not attribute:",
                "an_unknown_attribute_is_refused_in_a_sentence",
            ),
        )
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "partial(Hosts(settings.url).connect, _asyncpg.connect)",
        "_asyncpg.connect",
        "tests/db/layer_tests/probes/faults/test_failovers.py::test_first_host_silent",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "partial(Hosts(settings.url).connect, connect)",
        "connect",
        "tests/db/layer_tests/probes/faults/test_failovers.py::test_first_host_silent",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/tls.py",
        'host = re.sub(r"^',
        'host = re.sub(r"^x',
        "tests/db/layer_tests/probes/test_settings.py::test_several_hosts_are_this_machine_only_if_all_are",
    ),
    Mutation(
        "src/shop/db/settings.py",
        'or (parts.get("port") and has_ports)',
        "",
        "tests/db/layer_tests/probes/test_settings.py::test_hosts_in_two_places_are_refused",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"connect", _refuse_cockroachdb, insert=True',
        '"close", _refuse_cockroachdb',
        "tests/db/layer_tests/probes/test_hosts.py::test_cockroachdb_is_refused_in_a_sentence",
        "psycopg",
    ),
    # Galera. tests/test_galera.py has the nodes.
    Mutation(
        "src/shop/db/engine/dialect.py",
        '"1045", "1047", "1049"',
        '"1045", "1049"',
        "tests/db/layer_tests/probes/test_errors.py::test_a_node_outside_of_its_cluster_is_unavailable",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        '{"1047", "1053"',
        '{"1053"',
        "tests/db/layer_tests/probes/test_errors.py::test_a_node_outside_of_its_cluster_is_unavailable",
        "aiomysql",
    ),
    *(
        Mutation(
            "src/shop/db/engine/dialect.py",
            '("commit", _COMMIT_TIMEOUT)',
            '("commit", 4)',
            "tests/db/layer_tests/probes/test_errors.py::test_a_commit_may_take_longer_than_a_statement",
            driver,
        )
        for driver in ("asyncmy", "aiomysql")
    ),
    Mutation(
        "src/shop/db/engine/driver.py",
        "asyncio.timeout(self.answer_timeout or None)",
        "asyncio.timeout(60)",
        "tests/db/layer_tests/probes/test_errors.py::test_a_commit_may_take_longer_than_a_statement",
        "aiomysql",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'or variable[1] != "ON"',
        'or variable[1] == "ON"',
        "tests/db/layer_tests/probes/test_migrations.py::test_a_server_that_is_no_cluster_keeps_other_processes_from_migrating",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine/dialect.py",
        'driver.error_code(error.orig) != "1235"',
        'driver.error_code(error.orig) != "1236"',
        "tests/db/layer_tests/probes/test_migrations.py::test_a_server_that_refuses_the_lock_is_not_migrated",
        "aiomysql",
    ),
]
