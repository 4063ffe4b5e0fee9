"""A small spaCy pipeline, trained here in seconds and saved to a folder as the published ones are.

It has an entity ruler for a few names, and a tagger of parts of speech and a parser that know their training sentences by heart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Words with their part of speech, head (counted from 0) and dependency.
_TREES = (
    "She/PRON/1/nsubj won/VERB/1/ROOT the/DET/4/det Nobel/PROPN/4/compound Prize/PROPN/1/dobj in/ADP/1/prep 1903/NUM/5/pobj ./PUNCT/1/punct",
    "Marie/PROPN/1/compound Curie/PROPN/2/nsubj discovered/VERB/2/ROOT polonium/NOUN/2/dobj with/ADP/2/prep her/PRON/6/poss husband/NOUN/4/pobj ./PUNCT/2/punct",
    "The/DET/1/det drug/NOUN/2/nsubj reduces/VERB/2/ROOT the/DET/4/det pain/NOUN/2/dobj ,/PUNCT/4/punct which/PRON/7/nsubj causes/VERB/4/relcl "
    "swelling/NOUN/7/dobj of/ADP/8/prep the/DET/11/det skin/NOUN/9/pobj ./PUNCT/2/punct",
    "A/DET/2/det rare/ADJ/2/amod disease/NOUN/2/ROOT of/ADP/2/prep the/DET/5/det heart/NOUN/3/pobj ./PUNCT/2/punct",
    "The/DET/1/det prize/NOUN/3/nsubjpass was/AUX/3/auxpass given/VERB/3/ROOT to/ADP/3/prep Marie/PROPN/6/compound Curie/PROPN/4/pobj ./PUNCT/3/punct",
    "They/PRON/1/nsubj gave/VERB/1/ROOT it/PRON/1/dobj to/ADP/1/prep her/PRON/5/poss sister/NOUN/3/pobj ./PUNCT/1/punct",
)
NAMES = ({"label": "PERSON", "pattern": "Marie Curie"}, {"label": "DATE", "pattern": "1903"}, {"label": "WORK_OF_ART", "pattern": "Nobel Prize"})


def write_pipeline(folder: Path, names: bool = True, parser: bool = True) -> Path:
    """Train a pipeline and write it; return the folder."""
    import spacy
    from spacy.tokens import Doc
    from spacy.training import Example

    spacy.util.fix_random_seed(0)
    pipeline: Any = spacy.blank("en")
    if parser:
        pipeline.add_pipe("morphologizer")
        pipeline.add_pipe("parser", config={"min_action_freq": 1})
        examples = []
        for tree in _TREES:
            words, parts, heads, dependencies = zip(*(word.rsplit("/", 3) for word in tree.split()), strict=True)
            spaces = [following not in ".," for following in (*words[1:], ".")]
            doc = Doc(pipeline.vocab, list(words), spaces, pos=list(parts), heads=[int(head) for head in heads], deps=list(dependencies))
            examples.append(Example(pipeline.make_doc(doc.text), doc))
        pipeline.initialize(lambda: examples)
        for _ in range(60):
            pipeline.update(examples)
    if names:
        pipeline.add_pipe("entity_ruler").add_patterns(list(NAMES))
    pipeline.meta["name"], pipeline.meta["version"] = "tiny", "1.2.3"
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.to_disk(folder)
    return folder


def change_meta(folder: Path, **changes: str) -> None:
    """Change what a model says of itself."""
    path = folder / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
