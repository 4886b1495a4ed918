from __future__ import annotations

import re
from pathlib import Path

import pytest

import upres
from upres.evaluation import page
from upres.networks import NETWORKS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_card_that_states_its_stored_scores(name):
    text = (DOCS / "models" / f"{name}.md").read_text(encoding="utf-8")
    evaluations = page.gather([DOCS / "results"]).evaluations
    scored = {e.scale for e in evaluations if e.model == name}
    own = [e for e in evaluations if e.model in ("bicubic", name) and e.scale in scored]
    if any(record.name == name for record in upres.models()):
        assert page.summary(own) in text, "python tools/model_cards.py"


@pytest.mark.parametrize("document", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_links_within_the_docs_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target
