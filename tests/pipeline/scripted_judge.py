"""A judge that knows the synthetic world's truth and errs at a known rate, as a service over real HTTP.

By hand, after `make demo`, to see it in the report beside the verifier that rewarded:
    python3 tests/pipeline/scripted_judge.py --data-dir data --errs 0.1
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from toy import ROOT, run

sys.path.insert(0, str(ROOT / "tests"))
from scripted_service import ScriptedService, prompt_of  # noqa: E402

JUDGE = '\n[llm]\nbase_url = "{url}"\ninput_price = 1.0\noutput_price = 2.0\n[judges.service]\nbackend = "llm"\nmodel = "scripted"\n'


def errs(topic: str, atom: str, share: float) -> bool:
    """Return whether the judge errs on a claim: on this share of the claims, the same ones in every run."""
    return int.from_bytes(hashlib.sha256(f"{topic}|{atom}".encode()).digest()[:4], "big") < share * 2**32


def truthful_but(root: Path, runs: Iterable[str], share: float) -> Callable[[dict[str, Any]], str]:
    """Return the judge's answer to a request.

    Args:
        root: The dataset's folder, with the world's truth and the scored responses of ``runs``.
    """
    facts = {person["name"]: person["facts"] for person in json.loads((root / "world" / "world.json").read_text())["people"]}
    truth = {}
    for path in (path for name in runs for path in sorted((root / "eval" / name / "factscore_outputs").glob("*.json"))):
        for response in json.loads(path.read_text()):
            for decision in response["decisions"][0]:
                truth[response["topic"], decision["atom"]] = facts[response["topic"]].get(decision["attribute"] or "") == decision["value"]

    def answer(body: dict[str, Any]) -> str:
        found = re.search(r"\n\nClaim about (.+?): (.*)\nTrue or False\?$", prompt_of(body), re.DOTALL)
        assert found is not None
        return str(truth[found[1], found[2]] != errs(found[1], found[2], share))

    return answer


def main() -> int:
    """Judge the evaluated claims of `synth` and print what the report says of both verifiers."""
    parser = argparse.ArgumentParser(description="A judge that errs at a known rate, on `synth`.")
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data")
    parser.add_argument("--errs", type=float, default=0.1, help="share of the claims on which it errs")
    given = parser.parse_args()
    root = given.data_dir / "dataset_synth"
    runs = [path.name for path in sorted((root / "eval").iterdir())]
    with ScriptedService(truthful_but(root, runs, given.errs)) as service:
        definition = given.data_dir / "synth.toml"
        definition.write_text((ROOT / "volume" / "src" / "volume" / "datasets" / "synth.toml").read_text() + JUDGE.format(url=service.url))
        done = run("report", given.data_dir, dataset=definition)
        print(done.stdout[-1500:] + done.stderr[-1500:])
    for row in json.loads((root / "report" / "summary.json").read_text())["runs"]:
        for name, judged in {"lexical": row["decodings"]["sample"]["verifier_vs_truth"], "service": row["judges_vs_truth"]["service"]["sample"]}.items():
            rates = judged["rates"]
            print(f"{row['name']:10} {name:8} claims {sum(list(judged['claims'].values())[:4]):6} " + " ".join(f"{rate} {value:.1f} %" for rate, value in rates.items()))
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
