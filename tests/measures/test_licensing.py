"""Licensing of whole checkpoints: which conflicts, which duties, and where each comes from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from checkpoints import make_checkpoint
from weighbridge import canonical
from weighbridge.checkpoint import open_checkpoint
from weighbridge.errors import InputError
from weighbridge.evidence import Evidence, from_bytes, to_json
from weighbridge.measures.licensing import Licensing, load_table, parse_lineage

APACHE = load_table().text_of("apache-2.0")
MIT = """MIT License

Copyright (c) 2025 Someone

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


class Case:
    """A checkpoint under examination."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def examine(
        self,
        card: str | None = None,
        lineage: str | None = None,
        config: dict[str, Any] | None = None,
        name: str = "model",
        **files: str,
    ) -> Evidence:
        root = make_checkpoint(self.folder / name, card, config, **files)
        if lineage is not None:
            root.with_name(f"{name}.lineage.yaml").write_text(lineage)
        return Licensing(open_checkpoint(root)).examine(made="2026-01-01T00:00:00Z")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def codes(evidence: Evidence, metric: str = "conflicts") -> set[str]:
    return {finding.code for finding in evidence.findings if finding.metric == metric}


def decided(evidence: Evidence) -> set[str]:
    """The conflicts, of evidence that is decided."""
    assert evidence.undecided == {}, evidence.undecided
    return codes(evidence)


def stated(file: str, text: str, license: str) -> str:
    return f"{{file: {file}, sha256: {hashlib.sha256(text.encode()).hexdigest()}, license: {license}}}"


def test_an_apache_model_with_its_text_owes_nothing(case: Case) -> None:
    evidence = case.examine("license: apache-2.0", LICENSE=APACHE)
    assert decided(evidence) == set()
    assert codes(evidence, "duties") == set()
    assert evidence.facts["license"] == "apache-2.0"
    assert evidence.facts["met"] == [{"duty": "licence-text", "license": "apache-2.0", "from": "LICENSE"}]


def test_a_missing_apache_text_is_a_duty_that_the_release_carries_out(case: Case) -> None:
    evidence = case.examine("license: apache-2.0")
    assert decided(evidence) == set()
    (finding,) = evidence.findings
    assert (finding.metric, finding.code, finding.where) == ("duties", "include-licence-text", "README.md at license")


def test_a_missing_text_that_we_cannot_add_is_a_conflict(case: Case) -> None:
    evidence = case.examine("license: mit")
    assert decided(evidence) == {"licence-text-missing"}
    assert "opensource.org" in evidence.findings[0].message


def test_mit_with_its_text(case: Case) -> None:
    assert decided(case.examine("license: mit", LICENSE=MIT)) == set()


def test_no_licence_is_undecided_not_free(case: Case) -> None:
    evidence = case.examine()
    assert set(evidence.undecided) == {"conflicts", "duties"}
    assert "no licence is declared" in evidence.undecided["conflicts"]


@pytest.mark.parametrize("license", ["openrail", "bsd-3-clause", "proprietary", "Apache-2.0 OR MIT", "llama2"])
def test_a_licence_outside_the_table_is_undecided(case: Case, license: str) -> None:
    evidence = case.examine(f"license: {license}", LICENSE=APACHE)
    assert "not in the table" in evidence.undecided["conflicts"]


def test_other_with_a_name_that_the_table_knows(case: Case) -> None:
    evidence = case.examine("license: other\nlicense_name: Gemma")
    assert evidence.facts["license"] == "gemma"


def test_the_text_alone_declares_the_licence(case: Case) -> None:
    evidence = case.examine(COPYING=APACHE)
    assert decided(evidence) == set()
    assert evidence.facts["license"] == "apache-2.0"


def test_the_name_of_the_file_does_not_matter_but_its_words_do(case: Case) -> None:
    evidence = case.examine("license: apache-2.0", terms_of_the_model__txt=APACHE)
    assert codes(evidence, "duties") == set()


@pytest.mark.parametrize(
    "text",
    [
        APACHE.replace("perpetual", "one-year"),
        APACHE + "\n\nThe weights must not be used for military purposes.\n",
        APACHE + "\nCommons Clause License Condition v1.0\n",
        APACHE + "\n" + "A further condition of ours follows here. " * 60,
        "All rights reserved.",
    ],
)
def test_a_licence_file_that_is_not_the_published_text_is_undecided(case: Case, text: str) -> None:
    evidence = case.examine("license: apache-2.0", LICENSE=text)
    assert "LICENSE" in evidence.undecided["conflicts"]


def test_a_binary_licence_file_is_undecided(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path / "model", "license: apache-2.0")
    (root / "LICENSE.pdf").write_bytes(b"%PDF\x00\xff\xfe")
    evidence = Licensing(open_checkpoint(root)).examine(made="2026-01-01T00:00:00Z")
    assert "cannot be read as text" in evidence.undecided["conflicts"]


def test_a_person_may_state_what_an_unknown_text_is(case: Case) -> None:
    text = "The Llama 3.1 Community License Agreement, as set by our legal department in another layout."
    card = "license: llama3.1\nmodel_name: Llama-3.1-Acme"
    assert "reads like" in case.examine(card, LICENSE=text).undecided["conflicts"]
    evidence = case.examine(card, f"version: 1\ntexts: [{stated('LICENSE', text, 'llama3.1')}]", LICENSE=text)
    assert decided(evidence) == set()
    assert evidence.facts["texts"] == [{"file": "LICENSE", "licenses": ["llama3.1"], "stated": True}]


def test_a_statement_about_a_text_that_changed_since_is_undecided(case: Case) -> None:
    statement = f"version: 1\ntexts: [{stated('LICENSE', 'an older text', 'llama3.1')}]"
    evidence = case.examine("license: llama3.1", statement, LICENSE="a newer text")
    assert "is not the file that was read" in evidence.undecided["conflicts"]


def test_metadata_and_text_disagree(case: Case) -> None:
    evidence = case.examine("license: mit", LICENSE=APACHE, COPYING=MIT)
    assert decided(evidence) == {"text-disagrees"}
    assert evidence.findings[0].where == "LICENSE"


def test_metadata_disagrees_with_itself(case: Case) -> None:
    evidence = case.examine("license: apache-2.0", config={"license": "cc-by-nc-4.0"}, LICENSE=APACHE)
    assert "metadata-disagrees" in codes(evidence)
    assert "config.json at license" in {finding.where for finding in evidence.findings}


def test_a_text_of_the_parents_licence_is_no_contradiction(case: Case) -> None:
    card = "license: apache-2.0\nbase_model: microsoft/phi-2"
    assert decided(case.examine(card, LICENSE=APACHE, LICENSE__parent=MIT)) == set()


def test_the_parents_text_must_go_along(case: Case) -> None:
    evidence = case.examine("license: apache-2.0\nbase_model: microsoft/phi-2", LICENSE=APACHE)
    assert decided(evidence) == {"licence-text-missing"}
    assert evidence.findings[0].where == "README.md at base_model"


def test_an_unknown_parent_is_undecided_until_somebody_states_its_licence(case: Case) -> None:
    card = "license: apache-2.0\nbase_model: acme/base-7b"
    assert "acme/base-7b is not known here" in case.examine(card, LICENSE=APACHE).undecided["conflicts"]
    statement = "version: 1\nparents: [{model: acme/base-7b, relation: finetune, license: apache-2.0}]"
    evidence = case.examine(card, statement, LICENSE=APACHE)
    assert decided(evidence) == set()
    assert codes(evidence, "duties") == {"state-changes", "carry-notice"}


def test_a_statement_may_not_contradict_what_is_known(case: Case) -> None:
    statement = "version: 1\nparents: [{model: google/gemma-2-2b, relation: finetune, license: apache-2.0}]"
    assert "lineage-disagrees" in codes(case.examine("license: apache-2.0", statement, LICENSE=APACHE))


def test_a_statement_may_not_leave_out_a_declared_parent(case: Case) -> None:
    card = "license: apache-2.0\nbase_model: Qwen/Qwen3-8B"
    assert "lineage-disagrees" in codes(case.examine(card, "version: 1\nparents: []", LICENSE=APACHE))


@pytest.mark.parametrize("parent", ["meta-llama/Llama-3.1-8B", "google/gemma-3-4b-it", "CohereLabs/c4ai-command-r-v01"])
def test_a_permissive_licence_over_a_stricter_parent(case: Case, parent: str) -> None:
    evidence = case.examine(f"license: apache-2.0\nbase_model: {parent}", LICENSE=APACHE)
    assert codes(evidence) & {"parent-terms-dropped", "non-commercial-dropped"}


def test_non_commercial_in_the_lineage_has_a_code_of_its_own(case: Case) -> None:
    statement = "version: 1\nparents: [{model: acme/base, relation: merge, license: cc-by-nc-4.0}]"
    evidence = case.examine("license: mit", statement, LICENSE=MIT)
    assert decided(evidence) == {"non-commercial-dropped"}
    kept = case.examine("license: cc-by-nc-4.0", statement, name="kept")
    assert decided(kept) == set()
    assert "pass-on-non-commercial" in codes(kept, "duties")


def test_share_alike_must_stay(case: Case) -> None:
    statement = "version: 1\nparents: [{model: acme/base, relation: finetune, license: cc-by-sa-4.0}]"
    assert decided(case.examine("license: cc-by-4.0", statement)) == {"parent-terms-dropped"}
    assert decided(case.examine("license: cc-by-sa-4.0", statement, name="kept")) == set()


def test_gemma_4_is_apache_and_gemma_3_is_not(case: Case) -> None:
    four = case.examine("license: apache-2.0\nbase_model: google/gemma-4-27b", LICENSE=APACHE)
    assert decided(four) == set()
    three = case.examine("license: apache-2.0\nbase_model: google/gemma-3-27b-it", name="three", LICENSE=APACHE)
    assert "parent-terms-dropped" in codes(three)


LLAMA = "The text of the Llama 3.1 Community License Agreement as published"


def llama(statement: str = "") -> str:
    return f"version: 1\ntexts: [{stated('LICENSE', LLAMA, 'llama3.1')}]\n{statement}"


def test_llama_duties_of_a_derivative(case: Case) -> None:
    card = "license: llama3.1\nmodel_name: acme/Llama-3.1-Acme\nbase_model: meta-llama/Llama-3.1-8B"
    evidence = case.examine(card, llama(), LICENSE=LLAMA)
    assert decided(evidence) == set()
    assert codes(evidence, "duties") == {
        "include-notice",
        "pass-on-use-restrictions",
        "pass-on-user-threshold",
        "show-phrase",
    }
    phrases = {duty["detail"] for duty in evidence.facts["duties"] if duty["code"] == "show-phrase"}  # type: ignore
    assert phrases == {"Built with Llama"}


def test_llama_notice_in_the_files(case: Case) -> None:
    notice = (
        "Llama 3.1 is licensed under the Llama 3.1 Community License, "
        "Copyright \N{COPYRIGHT SIGN} Meta Platforms, Inc. All Rights Reserved."
    )
    evidence = case.examine("license: llama3.1\nmodel_name: Llama-X", llama(), LICENSE=LLAMA, NOTICE__txt=notice)
    assert "include-notice" not in codes(evidence, "duties")


def test_llama_name_prefix(case: Case) -> None:
    evidence = case.examine("license: llama3.1\nmodel_name: acme-8b", llama(), LICENSE=LLAMA)
    assert decided(evidence) == {"name-prefix-missing"}
    assert evidence.findings[0].where == "README.md at model_name"


def test_the_name_of_the_folder_counts_where_nothing_else_names_the_model(case: Case) -> None:
    evidence = case.examine("license: llama3.1", name="acme-8b", LICENSE=APACHE)
    assert "acme-8b" in next(one.message for one in evidence.findings if one.code == "name-prefix-missing")


def test_the_name_prefix_reaches_through_outputs_and_the_rest_does_not(case: Case) -> None:
    parent = "{model: meta-llama/Llama-3.1-405B-Instruct, relation: outputs}"
    statement = f"version: 1\nname: %s\nparents: [{parent}]"
    wrong = case.examine("license: apache-2.0", statement % "Acme-1B", LICENSE=APACHE)
    assert decided(wrong) == {"name-prefix-missing"}
    assert "outputs" in wrong.findings[0].message
    right = case.examine("license: apache-2.0", statement % "Llama-Acme-1B", name="right", LICENSE=APACHE)
    assert decided(right) == set()


def test_gemma_terms_reach_through_outputs(case: Case) -> None:
    statement = "version: 1\nparents: [{model: google/gemma-2-27b-it, relation: outputs}]"
    evidence = case.examine("license: apache-2.0", statement, LICENSE=APACHE)
    assert decided(evidence) == {"parent-terms-dropped", "licence-text-missing"}


def test_llama_3_outputs_may_only_improve_llama_3(case: Case) -> None:
    statement = "version: 1\nparents: [{model: meta-llama/Meta-Llama-3-70B, relation: outputs}]"
    assert decided(case.examine("license: apache-2.0", statement, LICENSE=APACHE)) == {"outputs-forbidden"}


def test_llama_3_outputs_into_llama_3(case: Case) -> None:
    text = f"{{file: LICENSE, sha256: {hashlib.sha256(LLAMA.encode()).hexdigest()}, license: llama3}}"
    parents = (
        "[{model: meta-llama/Meta-Llama-3-70B, relation: outputs}, "
        "{model: meta-llama/Meta-Llama-3-8B, relation: finetune}]"
    )
    statement = f"version: 1\nname: Llama-3-Acme\ntexts: [{text}]\nparents: {parents}"
    assert decided(case.examine("license: llama3", statement, LICENSE=LLAMA)) == set()


@pytest.mark.parametrize("name", ["meta-llama/Meta-Llama-3.1-8B", "llama-3.1-nemotron", "Llama Acme"])
def test_names_that_llama_allows(case: Case, name: str) -> None:
    assert decided(case.examine(f"license: llama3.1\nmodel_name: {name}", llama(), LICENSE=LLAMA)) == set()


def test_user_threshold(case: Case) -> None:
    said = "publisher: {monthly_users_over_700m: true}"
    card = "license: llama3.1\nmodel_name: Llama-X"
    assert decided(case.examine(card, llama(said), LICENSE=LLAMA)) == {"user-threshold-exceeded"}


@pytest.mark.parametrize(("in_eu", "expected"), [("true", {"no-grant-in-eu"}), ("false", set()), (None, None)])
def test_llama_4_and_the_european_union(case: Case, in_eu: str | None, expected: set[str] | None) -> None:
    publisher = "" if in_eu is None else f"publisher: {{in_eu: {in_eu}}}"
    statement = f"version: 1\nname: Llama-4-Acme\ntexts: [{stated('LICENSE', LLAMA, 'llama4')}]\n{publisher}"
    evidence = case.examine("license: llama4", statement, LICENSE=LLAMA)
    if expected is None:
        assert "publisher.in_eu" in evidence.undecided["conflicts"]
    else:
        assert decided(evidence) == expected
        assert "pass-on-eu-exclusion" in codes(evidence, "duties")


def test_llama_3_2_text_models_have_no_exclusion(case: Case) -> None:
    statement = f"version: 1\nname: Llama-3.2-Acme\ntexts: [{stated('LICENSE', LLAMA, 'llama3.2')}]"
    assert decided(case.examine("license: llama3.2", statement, LICENSE=LLAMA)) == set()
    vision = case.examine("license: llama3.2", statement, {"vision_config": {}}, LICENSE=LLAMA)
    assert "publisher.in_eu" in vision.undecided["conflicts"]


def test_a_tell_tale_architecture_asks_for_the_lineage(case: Case) -> None:
    config = {"model_type": "gemma2"}
    evidence = case.examine("license: apache-2.0", config=config, LICENSE=APACHE)
    assert "suggests Gemma" in evidence.undecided["conflicts"]
    assert decided(case.examine("license: apache-2.0", "version: 1\nparents: []", config, LICENSE=APACHE)) == set()


def test_a_tell_tale_name_or_path_asks_for_the_lineage(case: Case) -> None:
    config = {"_name_or_path": "meta-llama/Llama-3.1-8B"}
    evidence = case.examine("license: apache-2.0", config=config, LICENSE=APACHE)
    assert "config.json at _name_or_path" in evidence.undecided["conflicts"]


def test_conflicts_are_told_even_where_something_is_undecided(case: Case) -> None:
    evidence = case.examine("license: mit\nbase_model: acme/base")
    assert codes(evidence) == {"licence-text-missing"}
    assert evidence.undecided["conflicts"].startswith("1 conflicts at least")


def test_adapters_name_their_parent(case: Case) -> None:
    adapter = json.dumps({"base_model_name_or_path": "google/gemma-2-2b"})
    evidence = case.examine("license: apache-2.0", LICENSE=APACHE, adapter_config__json=adapter)
    assert "parent-terms-dropped" in codes(evidence)


def test_the_question_changes_with_everything_that_the_answer_depends_on(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path / "model", "license: apache-2.0")

    def question() -> str:
        return Licensing(open_checkpoint(root)).question.digest

    seen = [question()]
    (root / "README.md").write_text("---\nlicense: mit\n---\n")
    seen.append(question())
    root.with_name("model.lineage.yaml").write_text("version: 1\nparents: []")
    seen.append(question())
    (root / "LICENSE").write_text(MIT)
    seen.append(question())
    assert len(set(seen)) == 4
    assert question() == seen[-1]


def test_evidence_survives_its_canonical_form(case: Case) -> None:
    evidence = case.examine("license: llama3.1\nbase_model: [a/b, google/gemma-2-2b]", LICENSE=APACHE)
    assert from_bytes(canonical.dumps(to_json(evidence)), where="evidence") == evidence


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("version: 2", "$.version"),
        ("version: 1\nparent: []", "$"),
        ("version: 1\nparents: {}", "$.parents"),
        ("version: 1\nparents: [{model: a/b}]", "$.parents[0]"),
        ("version: 1\nparents: [{model: a/b, relation: child}]", "$.parents[0].relation"),
        ("version: 1\ntexts: [{file: LICENSE, sha256: abc, license: mit}]", "$.texts[0].sha256"),
        ("version: 1\npublisher: {in_eu: perhaps}", "$.publisher.in_eu"),
        ("version: 1\npublisher: {in_europe: true}", "$.publisher"),
        ("version: 1\nversion: 1", "model.lineage.yaml"),
        ("- 1", "$"),
    ],
)
def test_a_malformed_statement_is_refused_with_its_place(case: Case, statement: str, place: str) -> None:
    with pytest.raises(InputError) as caught:
        case.examine("license: mit", statement)
    assert "model.lineage.yaml" in str(caught.value.where)
    assert place in str(caught.value.where)


DOCS = (Path(__file__).parents[2] / "docs" / "licensing.md").read_text()


def test_the_statement_in_the_docs_is_one() -> None:
    example = DOCS.split("```yaml\n")[1].split("```")[0]
    assert len(parse_lineage(example.encode(), where="docs").parents or ()) == 1


def test_the_docs_name_every_code() -> None:
    import re

    package = Path(__file__).parents[2] / "src" / "weighbridge" / "measures" / "licensing"
    source = "".join((package / name).read_text() for name in ("rules.py", "identify.py"))
    conflicts = re.findall(r'(?:self\.conflict\(|CONFLICT, |code = |else )"([a-z-]+)"', source)
    duties = re.findall(r'self\.owe\("([a-z-]+)"|: \("([a-z-]+)",|^ +"(pass-on-[a-z-]+)",$', source, re.MULTILINE)
    codes = {*conflicts, *(code for row in duties for code in row if code)}
    assert len(codes) > 18, codes
    assert {code for code in codes - {"derivative"} if f"`{code}`" not in DOCS} == set()
