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
        "src/shop/db/querylog.py",
        "        if not _MANAGES_A_TRANSACTION.match(statement):\n",
        "        if statement:\n",
        "tests/db/test_testing.py::test_statements_are_counted_but_not_those_that_manage_a_transaction",
    ),
    Mutation(
        "src/shop/db/querylog.py",
        "len(sent) != number",
        "len(sent) > len(sent)",
        "tests/db/test_testing.py::test_a_wrong_count_fails_and_shows_what_was_sent",
    ),
    Mutation(
        "src/shop/db/testing.py",
        '    event.listen(sa.Engine, "before_cursor_execute", log.note)\n',
        "",
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
    Mutation(
        "src/shop/db/testing.py",
        "            deliver=self._note_callbacks,\n",
        "",
        "tests/db/test_testing.py::test_what_is_due_after_a_commit_is_noted_and_not_called",
    ),
    Mutation(
        "src/shop/db/testing.py",
        '"rollback_only" if reader else ',
        "",
        "tests/db/test_testing.py::test_a_reader_undoes_nothing_that_was_committed_meanwhile",
    ),
    Mutation(
        "src/shop/db/testing.py",
        "        self._slots = asyncio.Semaphore(1)\n",
        "",
        "tests/db/test_testing.py::test_works_of_gather_take_turns",
        "asyncpg",
    ),
    *(
        Mutation(
            "src/shop/db/testing.py",
            "if connection.engine.url.database != settings.url.database:",
            "if False:",
            "tests/db/test_migrations.py::test_no_database_but_that_of_the_tests_is_migrated_for_them",
            driver,
        )
        for driver in ("aiosqlite", "asyncpg", "asyncmy")
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
    Mutation(
        "src/shop/models.py",
        '    ARCHIVED = "archived"\n',
        '    ARCHIVED = "archived"\n    HIDDEN = "hidden"\n',
        "tests/db/test_guards.py::test_the_database_knows_every_value_of_an_enum",
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
        "tests/db/test_fastapi.py::test_a_commit_that_fails_is_never_a_success",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        'Depends(_transaction, scope="function")',
        "Depends(_transaction)",
        "tests/db/test_fastapi.py::test_a_constraint_that_is_deferred_to_the_commit_is_a_conflict",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        'Depends(_transaction, scope="function")',
        "Depends(_transaction)",
        "tests/db/test_fastapi.py::test_a_background_task_finds_what_its_request_committed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    async with database.transaction() as session:\n",
        "    async with database.session() as session:\n",
        "tests/db/test_fastapi.py::test_a_request_commits_what_it_did",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    async with database.reader() as session:\n",
        "    async with database.transaction() as session:\n",
        "tests/db/test_fastapi.py::test_a_request_that_only_reads_cannot_write",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "    async with database or Database() as app.state.database:\n        yield\n",
        "    app.state.database = database\n    yield\n",
        "tests/db/test_fastapi.py::test_the_application_opens_and_closes_its_database",
    ),
    Mutation(
        "src/shop/db/database.py",
        "        if self._engine is None:\n            self._engine = create_engine(",
        "        if True:\n            self._engine = create_engine(",
        "tests/db/test_fastapi.py::test_a_database_that_was_open_before_stays_open",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "detail=detail",
        "detail=str(error)",
        "tests/db/test_fastapi.py::test_an_error_is_answered_without_its_words",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "if status == 503 else",
        "if status == 500 else",
        "tests/db/test_fastapi.py::test_an_exhausted_pool_is_answered",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "200 if found.ok else 503",
        "200",
        "tests/db/test_fastapi.py::test_an_outage_is_told_and_survived",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "            await self._pieces.aclose()\n",
        "            pass\n",
        "tests/db/test_fastapi.py::test_a_stream_gives_its_connection_back_when_the_client_goes_away",
    ),
    Mutation(
        "src/shop/db/fastapi.py",
        "task = asyncio.create_task(self._send(send))",
        "return await self._send(send)\n        task = asyncio.Future[None]()",
        "tests/db/test_fastapi.py::test_a_stream_that_is_broken_off_leaves_no_task_behind",
    ),
    # Transactions.
    Mutation(
        "src/shop/db/sessions.py",
        "kind is None and not sync_session.is_active",
        "False",
        "tests/db/test_transactions.py::test_a_flush_whose_error_was_swallowed_is_told_of",
    ),
    Mutation(
        "src/shop/db/sessions.py",
        "return _Transaction(self, nested=True)",
        "return super().begin_nested()",
        "tests/db/test_transactions.py::test_a_flush_whose_error_was_swallowed_undoes_no_more_than_its_savepoint",
    ),
    Mutation(
        "src/shop/db/sessions.py",
        "await self.end(super().rollback())",
        "await super().rollback()",
        "tests/db/test_transactions.py::test_a_second_task_can_end_or_change_nothing",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/translation.py",
        "not lost and driver.is_refusal(original)",
        "False",
        "tests/db/test_transactions.py::test_a_commit_that_a_busy_connection_refuses_is_not_unknown",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/database.py",
        "                _own_slot.set(asyncio.Semaphore(1))\n",
        "",
        "tests/db/test_transactions.py::test_gather_within_gather_does_not_wait_for_itself",
    ),
    Mutation(
        "src/shop/db/guard.py",
        "        self._enter()\n        super().flush(objects)\n",
        "        super().flush(objects)\n",
        "tests/db/test_transactions.py::test_a_second_task_can_end_or_change_nothing",
    ),
    Mutation(
        "src/shop/db/guard.py",
        "            self._closing = True\n",
        "",
        "tests/db/test_transactions.py::test_a_session_that_is_closed_lets_one_call_end_and_no_other_begin",
    ),
    Mutation(
        "src/shop/db/guard.py",
        "            while self.is_shared():\n",
        "            while False:\n",
        "tests/db/test_transactions.py::test_a_session_that_is_closed_lets_one_call_end_and_no_other_begin",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/pagination.py",
        "    if isinstance(names, str):\n",
        "    if not isinstance(names, (str, tuple)):\n",
        "tests/db/test_pages.py::test_one_string_is_no_list_of_names",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "(unknown := set(given) - names)",
        "(unknown := names - names)",
        "tests/db/test_settings.py::test_a_misspelt_argument_is_refused_and_a_misspelt_variable_is_not",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "not 1 <= url.port <= 65535",
        "url.port < 0",
        "tests/db/test_settings.py::test_a_url_that_is_refused_is_not_repeated",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        'wanted = url.set(database="the_database")',
        'wanted = f"{url}/the_database"',
        "tests/db/test_settings.py::test_a_url_without_a_database_is_completed_as_it_should_be",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/translation.py",
        "context.is_disconnect = lost or busy",
        "context.is_disconnect = lost",
        "tests/db/test_transactions.py::test_a_connection_that_could_not_be_rolled_back_is_not_used_again",
        "asyncpg",
    ),
    *(
        Mutation(
            "src/shop/db/dialect.py",
            f'**AUTOCOMMIT, "{option}": True',
            f'**AUTOCOMMIT, "{option}": False',
            "tests/db/test_readers.py::test_what_gets_by_the_session_is_refused_by_the_database",
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
        "if options and name not in self._variants:",
        "if options:",
        "tests/db/test_readers.py::test_all_readers_share_one_engine_until_it_is_disposed",
    ),
    Mutation(
        "src/shop/db/database.py",
        "            self._variants.clear()\n",
        "",
        "tests/db/test_readers.py::test_all_readers_share_one_engine_until_it_is_disposed",
        "asyncpg",
    ),
    # The databases and their drivers.
    Mutation(
        "src/shop/db/dialect.py",
        "DATETIME(fsp=6)",
        "DATETIME()",
        "tests/db/test_dialect.py::test_a_moment_comes_back_as_it_was_and_in_utc",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        "CASE WHEN {where} THEN {last} END",
        "{last}",
        "tests/db/test_dialect.py::test_a_partial_index_is_unique_among_its_rows_alone",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        '["READ ONLY"] * read_only',
        '["READ WRITE"] * read_only',
        "tests/db/test_dialect.py::test_a_transaction_for_reading_sees_one_moment_and_cannot_write",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        '"REPEATABLE READ" if read_only else None',
        "None",
        "tests/db/test_dialect.py::test_a_transaction_for_reading_sees_one_moment_and_cannot_write",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        "    if driver.error_code(error) in CHECK_VIOLATION:\n"
        "        # The detail is the row, with whatever people wrote into it.\n"
        "        return name, ()\n"
        '    # "Key (tenant_id, email)=(1, a@example.com) already exists", in whichever language.\n'
        '    key = re.match(r"[^(]*',
        '    key = re.search(r"',
        "tests/db/test_errors.py::test_what_the_row_holds_is_no_field_of_a_check",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/translation.py",
        "            kind = StillReferenced\n",
        "            pass\n",
        "tests/db/test_errors.py::test_which_of_two_rows_a_foreign_key_is_about",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/translation.py",
        'verb == "DELETE" or',
        "table is None or",
        "tests/db/test_errors.py::test_which_of_two_rows_a_foreign_key_is_about",
    ),
    Mutation(
        "src/shop/db/translation.py",
        "(ValueError, ArithmeticError)",
        "()",
        "tests/db/test_errors.py::test_a_value_that_no_column_keeps_is_refused_and_not_repeated",
    ),
    Mutation(
        "src/shop/db/translation.py",
        "(dialect.INVALID_VALUE, InvalidValue, _INVALID),",
        "",
        "tests/db/test_errors.py::test_a_text_that_is_too_long_is_an_invalid_value",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/translation.py",
        "sent = context.execution_context is not None",
        "sent = True",
        "tests/db/test_errors.py::test_a_value_that_never_left_undoes_nothing",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        'key[1] == "PRIMARY"',
        'key[1] == ""',
        "tests/db/test_dialect.py::test_an_error_names_the_constraint_and_its_fields_but_no_value",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/driver.py",
        'source = getattr(error, "diag", None)',
        "source = None",
        "tests/db/test_dialect.py::test_an_error_names_the_constraint_and_its_fields_but_no_value",
        "psycopg",
    ),
    Mutation(
        "pyproject.toml",
        '"alembic>=1.18"',
        '"alembic>=1.13"',
        "tests/db/test_requirements.py::test_what_the_project_asks_for_is_new_enough",
    ),
    # The way to the server.
    Mutation(
        "src/shop/db/driver.py",
        'await connection.execute("SELECT")',
        'await connection.execute("")',
        "tests/db/test_engine.py::test_the_password_is_asked_for_at_each_new_connection",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine.py",
        "            raise exc.InvalidatePoolError from error\n",
        "            logger.debug(error)\n",
        "tests/db/test_engine.py::test_the_pool_replaces_connections_that_the_network_cut",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/driver.py",
        '"command_timeout": settings.command_timeout or None',
        '"command_timeout": None',
        "tests/db/test_engine.py::test_a_server_that_falls_silent_in_a_transaction_is_noticed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/driver.py",
        "call_later(self.patience, hang_up, self)",
        "call_later(600, hang_up, self)",
        "tests/db/test_engine.py::test_a_server_that_falls_silent_in_a_transaction_is_noticed",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/engine.py",
        "(self._settings.slow_query_threshold or math.inf)",
        "0",
        "tests/db/test_engine.py::test_a_slow_statement_is_logged_without_its_parameters",
    ),
    Mutation(
        "src/shop/db/settings.py",
        'if "url" in given:',
        "if not given:",
        "tests/db/test_settings.py::"
        "test_a_url_that_a_program_gives_takes_no_part_from_the_environment",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "    PlainSerializer(URL.render_as_string, return_type=str),\n",
        "",
        "tests/db/test_settings.py::test_no_secret_is_shown",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "str(value).strip()",
        "str(value)",
        "tests/db/test_settings.py::test_a_url_without_a_driver_or_with_an_old_name_is_understood",
    ),
    Mutation(
        "src/shop/db/settings.py",
        '",|%2F"',
        '"none"',
        "tests/db/test_settings.py::test_a_host_in_libpqs_form_is_refused_in_words_of_its_own",
    ),
    Mutation(
        "src/shop/db/driver.py",
        '{"application_name": settings.application_name,',
        '{"application_name": "SQLAlchemy",',
        "tests/db/test_engine.py::test_the_server_is_told_who_is_connected",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine.py",
        "(OSError, TypeError, ",
        "(OSError, ",
        "tests/db/test_engine.py::test_a_parameter_of_the_url_that_nobody_knows_is_named",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/__main__.py",
        "missing := dialect.missing(settings.url):\n        return report",
        "missing := None:\n        return report",
        "tests/db/test_main.py::test_a_file_that_is_not_there_is_not_made",
    ),
    Mutation(
        "src/shop/db/__main__.py",
        "missing := dialect.missing(settings.url):\n        # Who",
        "missing := None:\n        # Who",
        "tests/db/test_main.py::test_a_file_that_is_not_there_is_not_waited_for",
    ),
    Mutation(
        "src/shop/db/bulk.py",
        "and x.computed is None for",
        "for",
        "tests/db/test_bulk.py::test_what_the_database_computes_is_left_to_it",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        '"unbuffered_active", False',
        '"has_next", False',
        "tests/db/test_streams.py::test_a_stream_loses_no_row_to_what_is_done_with_it",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/tls.py",
        'return "verify-full" if mode == "require" and bound else mode',
        "return mode",
        "tests/db/test_settings.py::test_the_words_of_a_providers_url_are_understood",
    ),
    Mutation(
        "src/shop/db/__main__.py",
        "database.engine.execution_options(**dialect.AUTOCOMMIT).connect()",
        "database.engine.connect()",
        "tests/db/test_main.py::test_ping_does_not_wait_for_whoever_writes",
    ),
    Mutation(
        "src/shop/db/health.py",
        "engine.execution_options(**dialect.AUTOCOMMIT)",
        "engine.execution_options()",
        "tests/db/test_main.py::test_ping_does_not_wait_for_whoever_writes",
    ),
    # Migrations.
    Mutation(
        "src/shop/db/dialect.py",
        'await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")',
        'await connection.exec_driver_sql("PRAGMA foreign_keys = ON")',
        "tests/db/test_migrations.py::test_a_table_that_is_changed_keeps_the_rows_that_refer_to_it",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        "transactional_ddl=dialect.TRANSACTIONAL_DDL",
        "transactional_ddl=False",
        "tests/db/test_migrations.py::test_a_migration_that_fails_leaves_nothing",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        "while not await side.scalar(take):",
        "while False:",
        "tests/db/test_migrations.py::test_a_migration_waits_for_another_and_not_for_ever",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/migrate.py",
        "elif connection is not None:",
        "elif False:",
        "tests/db/test_migrations.py::test_a_program_hands_its_own_connection_in",
    ),
    Mutation(
        "src/shop/db/repository.py",
        "if row not in self.session:",
        "if False:",
        "tests/db/test_repository.py::test_a_row_of_another_session_is_refused",
    ),
    # Faults: what each of them is survived by.
    Mutation(
        "src/shop/db/translation.py",
        "if context.is_disconnect and connection.info.get(_COMMITTING):",
        "if False:",
        "tests/db/faults/test_connections.py::test_reply_to_commit_lost",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/sessions.py",
        "        while not task.done():\n",
        "        await task\n        while False:\n",
        "tests/db/faults/test_cancellations.py::test_cancellation_during_commit",
    ),
    Mutation(
        "src/shop/db/sessions.py",
        "        while not task.done():\n",
        "        await task\n        while False:\n",
        "tests/db/faults/test_cancellations.py::test_timeout_round_a_transaction",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine.py",
        "if not context.connection or context.connection.invalidated:",
        "if not context.connection:",
        "tests/db/faults/test_cancellations.py::test_cancellation_at_random_points",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        '    event.listen(engine.sync_engine, "invalidate", _invalidate)\n',
        "",
        "tests/db/faults/test_cancellations.py::test_cancellation_at_random_points",
    ),
    Mutation(
        "src/shop/db/engine.py",
        '            event.listen(engine, "checkout", self._ping)\n',
        "            pass\n",
        "tests/db/faults/test_connections.py::test_server_restarted_between_requests",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/engine.py",
        '            event.listen(engine, "checkout", self._ping)\n',
        "            pass\n",
        "tests/db/faults/test_connections.py::test_connection_killed_while_idle",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "    SchemaChanged,\n    Unavailable,\n)",
        "    SchemaChanged,\n)",
        "tests/db/faults/test_connections.py::test_connection_killed_in_a_transaction",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/translation.py",
        "    connection.info[_COMMITTING] = True\n",
        "",
        "tests/db/faults/test_connections.py::test_connection_killed_before_commit",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine.py",
        '            event.listen(engine, "checkout", self._ping)\n',
        "            pass\n",
        "tests/db/faults/test_connections.py::test_connection_reset",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/driver.py",
        '"command_timeout": settings.command_timeout or None,',
        '"command_timeout": None,',
        "tests/db/faults/test_connections.py::test_packets_swallowed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/engine.py",
        "            raise errors.Unavailable(\n",
        "            raise errors.DatabaseError(\n",
        "tests/db/faults/test_connections.py::test_server_out_of_connections",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        'driver.error_code(error) == "1412"',
        "False",
        "tests/db/faults/test_connections.py::test_table_changed_under_prepared_statements",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        'driver.diagnostics(error).get("source_function") == "RevalidateCachedQuery"',
        "False",
        "tests/db/faults/test_connections.py::test_table_changed_under_prepared_statements",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "    Deadlock,\n    SchemaChanged,\n",
        "    SchemaChanged,\n",
        "tests/db/faults/test_contention.py::test_deadlock",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/errors.py",
        "= (\n    SerializationFailure,\n",
        "= (\n",
        "tests/db/faults/test_contention.py::test_serialization_failure",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/reading.py",
        "        if for_update:\n",
        "        if False:\n",
        "tests/db/faults/test_contention.py::test_lost_update_where_rows_are_locked",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/sessions.py",
        "        except StaleDataError as error:\n",
        "        except ValueError as error:\n",
        "tests/db/faults/test_contention.py::test_lost_update_where_versions_are_compared",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        'options.get("sqlite_begin", "BEGIN IMMEDIATE")',
        'options.get("sqlite_begin", "BEGIN")',
        "tests/db/faults/test_processes.py::test_lost_update_by_several_processes",
    ),
    Mutation(
        "src/shop/db/driver.py",
        '{"timeout": settings.lock_timeout}',
        '{"timeout": 0}',
        "tests/db/faults/test_processes.py::test_first_use_by_several_processes",
    ),
    Mutation(
        "src/shop/db/database.py",
        "self._engine.dispose(close=ours)",
        "self._engine.dispose(close=True)",
        "tests/db/faults/test_processes.py::test_fork",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        "ENGINE_OPTIONS: dict[str, object] = {}",
        'ENGINE_OPTIONS: dict[str, object] = {"isolation_level": "AUTOCOMMIT"}',
        "tests/db/faults/test_processes.py::test_process_killed_in_a_bulk_load",
        "psycopg",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        '"SQLITE_FULL", ',
        "",
        "tests/db/faults/test_files.py::test_disk_full",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        '"SQLITE_READONLY", ',
        "",
        "tests/db/faults/test_files.py::test_file_read_only",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        '"SQLITE_NOTADB", ',
        "",
        "tests/db/faults/test_files.py::test_file_corrupt",
    ),
    Mutation(
        "src/shop/db/engine.py",
        '"poolclass": Pool,',
        '"poolclass": AsyncAdaptedQueuePool,',
        "tests/db/faults/test_sessions.py::test_pool_exhausted",
    ),
    Mutation(
        "src/shop/db/database.py",
        "            self._opened(bind) as session,\n            session.begin(),\n",
        "            nullcontext(self._opened(bind)) as session,\n",
        "tests/db/faults/test_sessions.py::test_session_never_closed",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/sessions.py",
        "close_resets_only=False",
        "close_resets_only=True",
        "tests/db/faults/test_sessions.py::test_session_used_after_its_end",
        "asyncmy",
    ),
    Mutation(
        "src/shop/db/settings.py",
        "guard: bool = True",
        "guard: bool = False",
        "tests/db/faults/test_sessions.py::test_session_shared_by_tasks",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/database.py",
        'x.info["task"] is current and x.in_transaction()',
        "not x",
        "tests/db/faults/test_sessions.py::test_retry_inside_a_transaction",
    ),
    Mutation(
        "src/shop/db/database.py",
        "if _running_loop() not in (None, self._loop):",
        "if False:",
        "tests/db/faults/test_sessions.py::test_second_event_loop",
        "psycopg",
    ),
    # Rows, one and many.
    Mutation(
        "src/shop/db/reading.py",
        "            return await self.session.get(self.model, key)\n",
        "            pass\n",
        "tests/db/test_repository.py::test_a_row_that_the_session_holds_is_not_asked_for",
    ),
    Mutation(
        "src/shop/db/reading.py",
        "if not (options or for_update",
        "if not (for_update",
        "tests/db/test_repository.py::test_what_options_ask_of_a_row_in_hand_is_loaded",
    ),
    Mutation(
        "src/shop/db/reading.py",
        " or self._is_filtered)",
        ")",
        "tests/db/test_repository.py::test_one_override_filters_every_read",
    ),
    Mutation(
        "src/shop/db/reading.py",
        "if not (options or for_update or self._include_deleted or",
        "if not (options or for_update or",
        "tests/db/test_soft_delete.py::test_a_row_in_hand_is_not_found_by_its_key",
    ),
    Mutation(
        "src/shop/db/rows.py",
        "islice(chain([first], iterator), RUN_SIZE)",
        "islice(iterator, RUN_SIZE)",
        "tests/db/test_bulk.py::test_rows_come_from_any_iterable",
    ),
    Mutation(
        "src/shop/db/mixins.py",
        "(7 << 76)",
        "(4 << 76)",
        "tests/db/test_bulk.py::test_keys_that_are_made_for_many_rows_rise",
    ),
    Mutation(
        "src/shop/db/mixins.py",
        "first + (n << 32) + random",
        "first + random",
        "tests/db/test_bulk.py::test_keys_that_are_made_for_many_rows_rise",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/bulk.py",
        "if compared and changed < count",
        "if False",
        "tests/db/test_bulk.py::test_a_row_that_changed_since_it_was_read_is_stale",
    ),
    Mutation(
        "src/shop/db/dialect.py",
        ".ext(distinct_on(*same))",
        "",
        "tests/db/test_bulk.py::test_of_two_that_are_the_same_the_later_one_counts",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/pagination.py",
        "down = orders[-1].down if orders else False",
        "down = False",
        "tests/db/test_pages.py::test_a_walk_meets_each_row_once_and_in_order",
    ),
    Mutation(
        "src/shop/db/pagination.py",
        "return [part] if first.down else [part, first.column.is_(None)]",
        "return [part]",
        "tests/db/test_pages.py::test_a_walk_meets_each_row_once_and_in_order",
        "asyncpg",
    ),
    Mutation(
        "src/shop/db/cursors.py",
        "if digest != _digest(text, model, sort)",
        "if False",
        "tests/db/test_pages.py::test_a_cursor_of_anything_else_is_refused",
    ),
    Mutation(
        "src/shop/db/mixins.py",
        "        loading._extra_criteria += (followed.mapper.class_.deleted_at.is_(None),)\n",
        "        pass\n",
        "tests/db/test_soft_delete.py::test_collections_leave_it_out",
    ),
]
