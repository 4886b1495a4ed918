from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import upres
from upres.errors import DataError
from upres.evaluation import compare, page, provenance, published, report, tables
from upres.evaluation.others import find
from upres.evaluation.protocol import Score
from upres.evaluation.report import Evaluation
from upres.evaluation.testsets import COUNTS, canonical

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "docs" / "results"


def evaluation(model, psnr, *, dataset="Set5", scale=2, parameters=None, speed=None, protocol="paper"):
    count = COUNTS[canonical(dataset)]
    images = tuple(
        Score(f"img_{i}", psnr + (i - (count - 1) / 2) / 10, 0.9 + (i - (count - 1) / 2) / 100) for i in range(count)
    )
    return Evaluation(model, "f32", dataset, scale, protocol, images, parameters, speed)


EVALUATIONS = [
    evaluation("OpenCV FSRCNN", 34.83, parameters=8504, speed=50.0),
    evaluation("fsrcnn", 37.02, parameters=12_809, speed=20.0),
    evaluation("bicubic", 33.66, speed=900.0),
    evaluation("fsrcnn", 32.66, dataset="set14", parameters=12_809, speed=20.0),
    evaluation("fsrcnn", 33.19, scale=3, parameters=12_809, speed=20.0),
]


def test_the_readme_and_the_docs_are_what_the_stored_scores_make_of_them():
    evaluations = page.gather([RESULTS]).evaluations
    for document in (REPOSITORY / "README.md", REPOSITORY / "docs" / "results.md"):
        text = document.read_text(encoding="utf-8")
        assert page.updated(text, evaluations) == text, (
            f"{document.name} has drifted: upres report docs/results --update {document.relative_to(REPOSITORY)}"
        )


@pytest.mark.parametrize("record", [pytest.param(r, id=f"{r.name}-x{r.scale}") for r in upres.models()])
def test_every_shipped_network_has_its_stored_scores(record):
    stored = {
        e.dataset: e
        for e in page.gather([RESULTS]).evaluations
        if (e.model, e.scale, e.protocol) == (record.name, record.scale, "paper")
    }
    assert set(stored) >= set(record.results), (
        f"upres evaluate {record.name} -s 2,3,4 --data … --verify --json docs/results/{record.name}.json"
    )
    for dataset, (psnr, ssim) in record.results.items():
        assert stored[dataset].psnr == pytest.approx(psnr, abs=0.001)
        assert stored[dataset].ssim == pytest.approx(ssim, abs=0.0001)
        assert stored[dataset].parameters == record.parameters


def test_stored_scores_come_from_a_commit():
    for made in page.gather([RESULTS]).made:
        assert re.fullmatch(r"[0-9a-f]{40}", made.commit)


def test_the_summary_sets_ours_beside_the_paper():
    lines = page.summary(EVALUATIONS).splitlines()
    assert lines[0] == "| | parameters | Set5 | paper | Set14 | paper |"
    assert lines[2] == "| bicubic ×2 | – | 33.66 / 0.9000 | 33.66 / 0.9299 |  | 30.24 / 0.8688 |"
    assert lines[3] == ("| fsrcnn ×2 | 12,809 | 37.02 / 0.9000 | 37.00 / 0.9558 | 32.66 / 0.9000 | 32.63 / 0.9088 |")
    assert [line.split(" |")[0] for line in lines[3:]] == ["| fsrcnn ×2", "| fsrcnn ×3", "| OpenCV FSRCNN ×2"]
    assert "37.00 / 0.9558" in lines[5]  # a label ending in a network's name has that network's paper
    assert [line.split(" |")[0] for line in page.summary(EVALUATIONS, ours=True).splitlines()[2:]] == [
        "| fsrcnn ×2",
        "| fsrcnn ×3",
    ]


def test_groups_rank_bicubic_first_and_say_who_is_better():
    group = tables.groups(EVALUATIONS)[0]
    assert group.title == "Set5 ×2, protocol paper"
    assert [e.model for e in group.evaluations] == ["bicubic", "OpenCV FSRCNN", "fsrcnn"]
    said = list(tables.comparisons(group))
    assert said[0] == "fsrcnn is better than OpenCV FSRCNN: +2.19 dB [+2.19, +2.19], above it on 5 of 5 pictures"
    text = tables.markdown([group])
    assert "| fsrcnn | 12,809 | 20 | 37.02 | 0.9000 | 37.00 / 0.9558 | +0.02 |" in text
    assert "consistency" not in text  # nobody asked for it
    uneven = replace(EVALUATIONS[0], images=tuple(Score(f"img_{i}", 37.02 + (-1) ** i, None) for i in range(5)))
    equal = list(tables.comparisons(tables.groups([uneven, EVALUATIONS[1]])[0]))
    assert "is not shown to differ from" in equal[0]
    others = replace(EVALUATIONS[0], images=EVALUATIONS[0].images[1:])
    assert "different pictures" in next(tables.comparisons(tables.groups([others, EVALUATIONS[1]])[0]))
    perfect = replace(EVALUATIONS[0], images=tuple(Score(f"img_{i}", math.inf, 1.0) for i in range(5)))
    assert "too few pictures, or equal ones" in next(tables.comparisons(tables.groups([perfect, EVALUATIONS[1]])[0]))


def test_papers_numbers_are_for_the_papers_protocol_alone():
    assert tables.paper(evaluation("fsrcnn", 37)) == published.find("fsrcnn", "set5", 2)
    assert tables.row(evaluation("fsrcnn", 36.998))[-1] == "0.00"  # the paper has 37.00
    assert tables.paper(evaluation("fsrcnn", 37, protocol="rgb")) is None
    assert tables.paper(evaluation("mine", 37)) is None
    whole = evaluation("fsrcnn", 37)
    assert tables.paper(replace(whole, images=whole.images[:4])) is None  # a part of the set is not what papers scored


def test_an_interval_beside_zero_shows_on_which_side_it_lies():
    base = evaluation("b", 30)
    for by, said in (
        (0.0021, "a is better than b: +0.002 dB [+0.00"),
        (0.00012, "a is better than b: +0.0001 dB [+0.0"),
    ):
        images = tuple(replace(s, psnr=s.psnr + by * (0.9 + i / 20)) for i, s in enumerate(base.images))
        sentence = next(tables.comparisons(tables.groups([base, replace(base, model="a", images=images)])[0]))
        assert sentence.startswith(said)
        assert "+0.000," not in sentence
        assert "+0.00," not in sentence


def test_gathering_takes_the_newest_and_finds_runs_and_notes(tmp_path):
    def stored(name, date, evaluations):
        made = replace(provenance.here(), date=date)
        (tmp_path / name).write_text(report.to_json(evaluations, made), encoding="utf-8")

    stored("b.json", "2026-01-01", [evaluation("bicubic", 30), evaluation("espcn", 31)])
    stored("a.json", "2026-02-01", [evaluation("bicubic", 33)])
    (tmp_path / "a.md").write_text("# A note\n")
    (tmp_path / "other.json").write_text("{}")
    run = tmp_path / "runs" / "espcn-x2"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text("step,steps,loss,psnr\n10,20,0.1,\n20,20,0.1,30.5\n")
    gathered = page.gather([tmp_path])
    assert [(e.model, round(e.psnr)) for e in gathered.evaluations] == [("bicubic", 33), ("espcn", 31)]
    assert gathered.notes == ("# A note\n",)
    assert gathered.runs == (page.Run("espcn-x2", (20,), (30.5,)),)
    for path in (tmp_path / "absent", tmp_path / "other.json"):
        with pytest.raises(DataError, match="give a file of `upres evaluate --json`"):
            page.gather([path])
    (tmp_path / "of others").mkdir()
    (tmp_path / "of others" / "metrics.csv").write_text("epoch,loss\n1,0.1\n")
    (tmp_path / "of others" / "binary.json").write_bytes(b"\xff\xfe\x00" * 100)
    (tmp_path / "of others" / "folder.json").mkdir()
    assert page.gather([tmp_path]) == gathered
    with (run / "metrics.csv").open("a") as lines:
        lines.write("30,30,0.1,3")  # of 31.2, when the disk was full
    assert page.gather([tmp_path]) == gathered
    for damaged in (
        "step,steps,loss,psnr\n10,20,0.1,3x\n",
        "psnr,step\n30.5\n",
        "step,psnr\n1," + 200_000 * "1" + "\n",
    ):
        (run / "metrics.csv").write_text(damaged)
        with pytest.raises(DataError, match=r"metrics\.csv: damaged"):
            page.gather([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no scores and no runs there"):
        page.gather([tmp_path / "empty"])


def test_scores_on_altered_pictures_say_so_and_give_way(tmp_path):
    genuine, altered = (
        evaluation("fsrcnn", 36),
        replace(evaluation("fsrcnn", 40), warnings=("a.png is not the papers'.",)),
    )
    for name, e, date in (("a", altered, "2026-02-01"), ("b", genuine, "2026-01-01"), ("c", altered, "2026-03-01")):
        (tmp_path / f"{name}.json").write_text(report.to_json([e], replace(provenance.here(), date=date)))
    gathered = page.gather([tmp_path])
    assert [e.psnr for e in gathered.evaluations] == [genuine.psnr]
    assert [line.split(": ")[1].split(" has")[0] for line in gathered.left_out] == [
        str(tmp_path / "a.json"),
        str(tmp_path / "c.json"),
    ]
    alone = page.gather([tmp_path / "a.json"])
    assert alone.evaluations == (altered,)
    assert "Warning: a.png is not the papers'." in tables.markdown(tables.groups(alone.evaluations))
    assert (tables.paper(genuine) is None, tables.paper(altered) is None) == (False, True)


def test_documents_without_a_part_are_refused():
    text = "a\n<!-- upres report: ours -->\nold\n<!-- upres report: end -->\nb\n"
    assert page.updated(text, EVALUATIONS).splitlines()[2] == "| | parameters | Set5 | paper | Set14 | paper |"
    assert page.updated(text, EVALUATIONS).endswith("<!-- upres report: end -->\nb\n")
    for wrong in ("nothing", text.replace("ours", "mine")):
        with pytest.raises(DataError, match="it needs some of ours, all, details"):
            page.updated(wrong, EVALUATIONS)


def test_the_page_stands_alone_and_shows_everything(photo):
    gathered = page.Gathered(
        tuple(EVALUATIONS),
        (replace(provenance.here(), processor="<chip>"),),
        ("## What was found\n\n<script>no</script>",),
        (page.Run("espcn-x2", (1, 2), (30.0, 31.0)),),
    )
    comparison = compare.compare([find("bicubic", 3)], photo[:60, :90], 3, title="cat")
    text = page.build(gathered, [comparison])
    assert not re.search(r"(src|href)=[\"']?http|<script|<link", text)
    assert "&lt;chip&gt;" in text
    assert "&lt;script&gt;" in text
    for part in ("<h2>What was found</h2>", "33.66 / 0.9000", "37.00 / 0.9558", 'alt="cat ×3"', "fsrcnn is better"):
        assert part in text
    assert text.count("<svg role") == 2
    bare = page.build(page.Gathered((evaluation("mine", 30, protocol="rgb"),), (), (), ()))
    assert "<svg" not in bare
    assert "30.00" in bare


def test_plots_show_every_model(monkeypatch):
    figures = []
    monkeypatch.setattr(page, "_svg", lambda figure, alternative: figures.append(figure) or "")
    page._trade_offs(EVALUATIONS)
    speed, size = figures[0].axes[0], figures[0].axes[2]
    assert [(line.get_label(), *np.ravel(line.get_data())) for line in speed.lines][:2] == [
        ("OpenCV FSRCNN", 50.0, pytest.approx(34.83)),
        ("fsrcnn", 20.0, pytest.approx(37.02)),
    ]
    papers = [line.get_ydata()[0] for line in size.lines if line.get_markerfacecolor() == "none"]
    assert papers == [37.00]  # OpenCV's FSRCNN has another number of parameters than the paper's
