"""Each cure for a trap of Copier's has a test, which fails once the cure is taken out."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import PROGRAMS, Template, git

LAYER = "template/{{ package_dir }}/db"


@dataclass(frozen=True)
class Cure:
    """A text that stands once in a file of the template, what is put there, the test to notice."""

    trap: str
    old: str
    new: str
    test: str
    file: str = "copier.yml"


CURES = [
    # Trust, versions, questions.
    Cure(
        "a task makes every copy ask for trust",
        "_subdirectory: template\n",
        "_subdirectory: template\n_tasks: [{command: ['true'], when: false}]\n",
        "test_templates.py::test_nothing_runs_when_a_project_is_made",
    ),
    Cure(
        "an older Copier ignores a block of exclusions",
        '_min_copier_version: "9.18"',
        '_min_copier_version: "9.17"',
        "test_templates.py::test_the_oldest_copier_is_the_one_that_is_installed_or_older",
    ),
    Cure(
        "a relative path of the template is stored",
        "not generated and not source | regex_search('^[/~]|:')",
        "generated and not source | regex_search('^[/~]|:')",
        "test_questions.py::test_a_template_that_is_named_by_a_relative_path_is_refused",
    ),
    Cure(
        "a misspelt name emits nothing",
        "  undefined: jinja2.StrictUndefined\n",
        "",
        "test_templates.py::test_a_misspelt_name_ends_the_rendering",
    ),
    Cure(
        "a question without a default breaks updates",
        "    and yours from then on.\n"
        "  choices:\n"
        '    "none: you have your own, or none yet": none\n'
        '    "github: GitHub Actions; a workflow that runs the checks and the tests": github\n'
        "  default: none\n",
        "    and yours from then on.\n"
        "  choices:\n"
        '    "none: you have your own, or none yet": none\n'
        '    "github: GitHub Actions; a workflow that runs the checks and the tests": github\n',
        "test_templates.py::test_every_question_has_a_default",
    ),
    Cure(
        "a choice that is gone falls back to the default",
        "    aiomysql:\n",
        "    aio_mysql:\n",
        "test_questions.py::test_every_choice_that_was_ever_offered_is_still_accepted[driver]",
    ),
    Cure(
        "an extra that is gone is refused",
        '    "probes: the layer\'s own tests, 600 and more; for unusual servers": probes\n',
        "",
        "test_questions.py::test_every_extra_that_was_ever_offered_is_still_accepted",
    ),
    Cure(
        "an extra that cannot work is taken",
        "        {% if not databases[database].server %}\n        replicas",
        "        {% if false %}\n        replicas",
        "test_questions.py::test_replicas_are_refused_where_there_is_no_server",
    ),
    Cure(
        "a value that is stored never becomes a better one",
        "pool_values:\n  type: yaml\n  when: false\n",
        "pool_values:\n  type: yaml\n",
        "test_update.py::test_a_better_number_reaches_those_who_chose_a_pool_by_its_name",
    ),
    Cure(
        "an answer to no question is ignored, and so is one that does not fit another",
        "{{ pooler if pooler in databases[database].poolers else 'none' }}",
        "{{ pooler }}",
        "test_questions.py::test_a_pooler_of_another_database_is_none_whatever_is_answered",
    ),
    Cure(
        "a question is cut at the end of the line",
        "  help: Which extras does the layer get?",
        "  help: Which of the extras, of which there are some, does the layer get in the end?",
        "test_terminal.py::test_no_question_and_no_choice_is_cut_in_80_columns",
    ),
    # Whose file is whose.
    Cure(
        "an update writes files of the owner's",
        "_copier_operation == 'update' or seed not in",
        "seed not in",
        "test_update.py::test_what_the_owners_changed_deleted_and_added_stays_as_it_is"
        "[aiosqlite-bigint-fastapi-github]",
    ),
    Cure(
        "a copy overwrites files of the owner's",
        "_copier_operation == 'update' or seed not in made | default([])",
        "_copier_operation == 'update'",
        "test_tree.py::test_a_copy_into_a_project_that_exists_leaves_its_files_as_they_are",
    ),
    Cure(
        "a folder whose files are left out comes back empty",
        "    {% if _copier_operation == 'update' or folder ~ '/' not in",
        "    {% if folder ~ '/' not in",
        "test_update.py::test_a_folder_that_the_owners_deleted_does_not_come_back_empty"
        "[aiosqlite-bigint-fastapi-github]",
    ),
    Cure(
        "an exclusion names what an older release does not know",
        "    {% if 'probes' not in extras | default([]) %}\n",
        "    {% if 'probes' not in extras %}\n",
        "test_templates.py::test_the_exclusions_name_nothing_that_an_older_release_does_not_know",
    ),
    Cure(
        "the answers of another template are taken for this one's",
        "{% elif generated and 'driver' not in before %}",
        "{% elif false %}",
        "test_questions.py::test_the_answers_of_another_template_are_not_taken_for_ours",
    ),
    Cure(
        "a project reformats the layer, and each update conflicts",
        "line-length",
        "# line-length",
        "test_code.py::test_a_project_that_is_formatted_otherwise_leaves_the_layer_as_it_is",
        f"{LAYER}/ruff.toml",
    ),
    # Updates.
    Cure(
        "a renamed service is updated by half",
        "{% elif scope == 'service' and generated and not (folder ~ '/*.py') | fileglob %}",
        "{% elif false %}",
        "test_update.py::test_a_layer_that_is_not_where_the_answers_say_is_not_updated[service]",
    ),
    Cure(
        "a moved layer is updated by half",
        "{% elif scope == 'layer' and generated and not (folder ~ '/*.py') | fileglob %}",
        "{% elif false %}",
        "test_update.py::test_a_layer_that_is_not_where_the_answers_say_is_not_updated[layer]",
    ),
    Cure(
        "an answer renames the package",
        "{% if generated and package != before.package %}",
        "{% if false %}",
        "test_update.py::test_a_refused_answer_leaves_the_project_as_it_is",
    ),
    Cure(
        "a project of before the regrouping is updated by half",
        "~ '/db/dialect.py') | fileglob %}",
        "~ '/db/no.py') | fileglob %}",
        "test_update.py::test_a_project_of_before_the_first_release_is_told_to_start_anew",
    ),
    Cure(
        "a conflict ends with 0",
        "      git diff --check     # names each conflict: Copier ends with 0 all the same\n",
        "",
        "test_update.py::test_the_words_after_an_update_show_its_conflicts_and_its_new_files",
    ),
    Cure(
        "a new file is not in `git diff`",
        "      git status           # `git diff` does not show new files\n",
        "",
        "test_update.py::test_the_words_after_an_update_show_its_conflicts_and_its_new_files",
    ),
    Cure(
        "an update makes no seeds of another answer",
        "  {% if made and (was != driver or",
        "  {% if false and (was != driver or",
        "test_update.py::test_an_update_says_what_it_leaves_to_the_owner",
    ),
    Cure(
        "an update of another driver leaves files to the owner",
        "  {% if was != driver %}\n",
        "  {% if false %}\n",
        "test_update.py::test_an_update_says_what_it_leaves_to_the_owner",
    ),
    Cure(
        "an update that changes no answer lists what its owners deleted",
        "{% if made and (was != driver or before.web | default(web) != web) %}",
        "{% if made %}",
        "test_update.py::test_an_update_that_changes_no_answer_leaves_nothing_to_its_owner",
    ),
    Cure(
        "a recopy brings deleted files back",
        "    {{ made | join('\\n    ') }}\n  {% endif %}\n  No other file",
        "  {% endif %}\n  No other file",
        "test_update.py::test_a_recopy_takes_the_layer_back_and_names_the_files_that_it_makes",
    ),
]
FIRST = CURES[-1]


def test_every_cure_can_be_taken_out(template: Template) -> None:
    for cure in CURES:
        assert (template.repository / cure.file).read_text("utf-8").count(cure.old) == 1, cure.trap
        file, _, name = cure.test.partition("::")
        tests = (template.repository / "tests" / file).read_text("utf-8")
        assert f"def {name.partition('[')[0]}(" in tests, cure.trap


@pytest.mark.parametrize(
    "cure",
    [
        pytest.param(cure, id=cure.trap, marks=() if cure is FIRST else pytest.mark.whole)
        for cure in CURES
    ],
)
def test_a_test_notices_that_a_cure_is_gone(template: Template, tmp_path: Path, cure: Cure) -> None:
    # The copy has no release: its tests take what lies there for the newest.
    git(tmp_path, "clone", "--quiet", "--no-tags", str(template.repository), "copy")
    file = tmp_path / "copy" / cure.file
    file.write_text(file.read_text("utf-8").replace(cure.old, cure.new), "utf-8")
    done = subprocess.run(
        [PROGRAMS / "pytest", "-q", "-x", "-m", "not more and not whole", f"tests/{cure.test}"],
        cwd=tmp_path / "copy",
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    assert f"FAILED tests/{cure.test}" in done.stdout, done.stdout
