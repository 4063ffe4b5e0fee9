"""Which steps get the network: those that ask a service, and no other one, in every dataset that ships."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from engines import ROOT

sys.path.insert(0, str(ROOT / "volume" / "src"))
from volume.datasets import load_definition  # isort: skip  # noqa: E402
from volume.paths import DatasetPaths  # isort: skip  # noqa: E402
from volume.steps import asks_service, build_steps  # isort: skip  # noqa: E402

# By hand from the definitions: `synth` asks nobody; the paper's two have facts, verdicts second verdicts and questions
# from a chat model, and compare answers by rules; `medqa` asks for relevance, too.
ASKING: dict[str, set[str]] = {
    "synth": set(),
    "bio": {"factscoring.factscore", "factscoring.rejudge", "confscoring.questions"},
    "medqa": {"factscoring.factscore", "factscoring.rejudge", "confscoring.questions", "confscoring.relevance"},
}


@pytest.mark.parametrize("dataset", ASKING)
def test_a_step_gets_the_network_only_where_it_asks_a_service(dataset: str, tmp_path: Path) -> None:
    definition = load_definition(dataset)
    steps = build_steps(definition, DatasetPaths(tmp_path / f"dataset_{definition.name}"), tmp_path)
    with_network = {step.module for step in steps.values() if asks_service(step, definition)}
    without = {step.module for step in steps.values() if not asks_service(step, definition)}
    assert with_network == ASKING[dataset]
    assert {"dpo.train", "confscoring.answers", "confscoring.rewards", "confscoring.report"} <= without and len(steps) > 20
